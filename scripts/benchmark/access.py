"""What a connection costs with 100,000 networks to look it up in, beside what it costs without, and
what one costs that is refused; scripts/bench --access, in a network namespace of its own.

Connect-request-close of 64 clients, as in scripts/bench. Each service is an lb4 of its own, all are
there at once, and turns of a fraction of a second go round among them, so that what disturbs the
machine disturbs all: the figures are CPU of the process for each connection, and the median of the
ratios to the service without rules in the same round. Clients come from 127.0.0.1; the lists are
addresses of 10.0.0.0/8 and 2001:db8::/32.
"""

import argparse
import contextlib
import json
import os
import random
import socket
import statistics
import tempfile
import time

import benchmark.backends as backends
import benchmark.cpu as cpu
import benchmark.options as options_
import benchmark.processes as processes
import benchmark.space as space
from benchmark.scenarios import SCENARIOS, SERVER_PORT

FIRST_PORT = 9100
SCENARIO = SCENARIOS["crr"]


def write_list(path, count, chance):
    """Addresses and networks at random, half of them of IPv6."""
    with open(path, "w", encoding="ascii") as file:
        for _ in range(count // 2):
            file.write(f"10.{chance.randrange(256)}.{chance.randrange(256)}."
                       f"{chance.randrange(256)}/{chance.randrange(24, 33)}\n")
            file.write(f"2001:db8:{chance.randrange(65536):x}:{chance.randrange(65536):x}::/"
                       f"{chance.randrange(48, 65)}\n")


def config(port, *lines):
    rules = "".join(f"    {line}\n" for line in lines)
    return (f"workers 1\nservice web {{\n    listen tcp 127.0.0.1:{port}\n    check none\n{rules}"
            f"    server s1 127.0.0.1:{SERVER_PORT}\n}}\n")


@contextlib.contextmanager
def running(bench, port, *lines):
    """lb4 with an account of its own."""
    path = os.path.join(bench.folder, f"access-{port}.conf")
    with open(path, "w", encoding="ascii") as file:
        file.write(config(port, *lines))
    account = bench.ledger.open(f"port-{port}")
    with open(path + ".log", "w", encoding="utf-8") as log:
        process = processes.start([bench.lb4, "-q", "-c", path], account, unprivileged=True,
                                  cwd=bench.folder, stdout=log, stderr=log)
        try:
            processes.wait_until(process, lambda: processes.accepts(port), "it listened")
            yield account
        finally:
            processes.stop(process)


def cases(bench):
    """{name: rules}"""
    list_file = f"file:{bench.folder}/list"
    return {"no rules": (), f"deny {bench.count}": (f"deny {list_file}",),
            f"allow {bench.count}, all": (f"allow {list_file}", "allow 127.0.0.0/8"),
            "no rules, again": ()}


def measure(bench, port, account):
    before = account.spent_s()
    out = processes.run([bench.load, "run", SCENARIO.load, f"127.0.0.1:{port}", "-t",
                         bench.seconds], bench.ledger.accounts["load"], 60, check=False)
    result = json.loads(out)
    if result["errors"]:
        raise processes.Failure(f"{result['errors']} errors")
    return (account.spent_s() - before) * 1e6 / max(result["units"], 1)


# --- those that are refused -----------------------------------------------------------------------


def refuse_some(port, count):
    """Clients that connect and wait for the end."""
    for _ in range(count):
        # The reset may be there before connect(2) has returned.
        with socket.socket() as client, contextlib.suppress(ConnectionResetError):
            client.connect(("127.0.0.1", port))
            client.recv(1)


def measure_refused(bench):
    """CPU of a refused connection, by the way in which it ends."""
    found = {}
    for i, way in enumerate(["reset", "close", "silent"]):
        port = FIRST_PORT + 50 + i
        with running(bench, port, f"deny file:{bench.folder}/list", "deny all",
                     f"refuse {way}") as account:
            refuse_some(port, 200)
            before = account.spent_s()
            refuse_some(port, bench.refused)
            found[f"refuse {way}"] = (account.spent_s() - before) * 1e6 / bench.refused
    return found


# --- command line ---------------------------------------------------------------------------------


def parse(arguments):
    parser = argparse.ArgumentParser(prog="scripts/bench --access", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--access", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="10 rounds in place of 60")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--count", type=int, default=100000, help="of networks")
    parser.add_argument("--refused", type=int, default=5000, help="connections of each way")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--lb4", default=os.path.join(options_.BUILD, "lb4"), metavar="BINARY")
    parser.add_argument("--load", default=os.path.join(options_.BUILD, "tests/tools/load"),
                        metavar="BINARY", help="the load tool")
    bench = parser.parse_args(arguments)
    bench.rounds = bench.rounds or (10 if bench.quick else 60)
    bench.seconds = 0.25
    return bench


def run_rounds(bench):
    """{name: [CPU of a connection in each round, us]}"""
    rounds = {name: [] for name in cases(bench)}
    with contextlib.ExitStack() as stack:
        turns = [(name, FIRST_PORT + i, stack.enter_context(running(bench, FIRST_PORT + i, *lines)))
                 for i, (name, lines) in enumerate(cases(bench).items())]
        for _, port, account in turns:
            measure(bench, port, account)
        for i in range(bench.rounds):
            for name, port, account in turns[i % len(turns):] + turns[:i % len(turns)]:
                rounds[name].append(measure(bench, port, account))
    return rounds


def figures_of(rounds, refused):
    base = rounds["no rules"]
    found = {}
    for name, values in rounds.items():
        ratios = [value / first for value, first in zip(values, base)]
        found[name] = {"cpu_us": statistics.median(values), "ratio": statistics.median(ratios)}
    for name, value in refused.items():
        found[name] = {"cpu_us": value, "ratio": value / statistics.median(base)}
    return found


def main(arguments):
    bench = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="lb4-bench-") as bench.folder, \
            cpu.Ledger() as bench.ledger:
        user = processes.nobody()
        os.chown(bench.folder, user["user"], user["group"])
        write_list(os.path.join(bench.folder, "list"), bench.count, random.Random(1))
        time.sleep(0.2)  # lb4 waits for a file that is being written
        with space.enter(SCENARIO.first_ephemeral), \
                backends.load_server(bench, SCENARIO, bench.folder):
            found = figures_of(run_rounds(bench), measure_refused(bench))
    print(f"\n{SCENARIO.title}, CPU of lb4 for a connection: median of {bench.rounds} rounds, and "
          "of the ratios to no rules")
    for name, one in found.items():
        print(f"{name:28} {one['cpu_us']:8.2f} us {one['ratio']:8.3f}")
    if bench.json:
        with open(bench.json, "w", encoding="ascii") as file:
            json.dump(found, file, indent=1)
