"""What a connection costs with 100,000 networks to look it up in, beside what it costs without, and
what one costs that is refused; started by scripts/bench --access in a network namespace of its own.

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
import pwd
import random
import resource
import socket
import statistics
import tempfile
import time

import bench
import bench_servers
from bench_peers import Contestant

FIRST_PORT = 9100
SCENARIO = bench.SCENARIOS["crr"]


def write_list(path, count, chance):
    """Addresses and networks at random, half of them of IPv6."""
    with open(path, "w", encoding="ascii") as file:
        for _ in range(count // 2):
            file.write(f"10.{chance.randrange(256)}.{chance.randrange(256)}."
                       f"{chance.randrange(256)}/{chance.randrange(24, 33)}\n")
            file.write(f"2001:db8:{chance.randrange(65536):x}:{chance.randrange(65536):x}::/"
                       f"{chance.randrange(48, 65)}\n")


def lb4_text(port, *lines):
    rules = "".join(f"    {line}\n" for line in lines)
    return (f"workers 1\nservice web {{\n    listen tcp 127.0.0.1:{port}\n    check none\n{rules}"
            f"    server s1 127.0.0.1:{bench_servers.SERVER_PORT}\n}}\n")


def make_contestants(options):
    lists = os.path.join(options.folder, "list")
    cases = [("no rules", ()),
             (f"deny {options.count}", (f"deny file:{lists}",)),
             (f"allow {options.count}, all", (f"allow file:{lists}", "allow 127.0.0.0/8")),
             ("no rules, again", ())]
    return [Contestant(name, {"answer": FIRST_PORT + i}, lb4_text(FIRST_PORT + i, *lines),
                       (options.lb4, "-q", "-c", "CONFIG")) for i, (name, lines) in enumerate(cases)]


def measure(options, contestant, process):
    before = bench_servers.read_cpu(process.pid)[1]
    result = bench.run_load(options, SCENARIO, contestant.ports["answer"], options.seconds)
    assert result["errors"] == 0, result
    return (bench_servers.read_cpu(process.pid)[1] - before) * 1e6 / max(result["units"], 1)


# --- those that are refused -----------------------------------------------------------------------


def refuse_some(port, count):
    """Clients that connect and wait for the end."""
    for _ in range(count):
        # The reset may be there before connect(2) has returned.
        with socket.socket() as client, contextlib.suppress(ConnectionResetError):
            client.connect(("127.0.0.1", port))
            client.recv(1)


def measure_refused(options):
    """CPU of a refused connection, by the way in which it ends."""
    found = {}
    for i, way in enumerate(["reset", "close", "silent"]):
        port = FIRST_PORT + 50 + i
        contestant = Contestant(way, {"answer": port},
                                lb4_text(port, f"deny file:{options.folder}/list", "deny all",
                                         f"refuse {way}"), (options.lb4, "-q", "-c", "CONFIG"))
        with bench.running(options, contestant) as process:
            refuse_some(port, 200)
            before = bench_servers.read_cpu(process.pid)[1]
            refuse_some(port, options.refused)
            spent = bench_servers.read_cpu(process.pid)[1] - before
            found[f"refuse {way}"] = spent * 1e6 / options.refused
    return found


# --- command line ---------------------------------------------------------------------------------


def parse_arguments():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(prog="scripts/bench --access", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--access", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="10 rounds in place of 60")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--count", type=int, default=100000, help="of networks")
    parser.add_argument("--refused", type=int, default=5000, help="connections of each way")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--lb4", default=os.path.join(root, "build/release/lb4"), metavar="BINARY")
    parser.add_argument("--load", default=os.path.join(root, "build/release/tests/tools/load"),
                        metavar="BINARY", help="the load tool")
    options = parser.parse_args()
    options.rounds = options.rounds or (10 if options.quick else 60)
    options.seconds = 0.25
    return options


def run_rounds(options, contestants):
    """{name: [CPU of a connection in each round, us]}"""
    rounds = {contestant.name: [] for contestant in contestants}
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(bench.running(options, contestant))
                     for contestant in contestants]
        pairs = list(zip(contestants, processes))
        for pair in pairs:
            measure(options, *pair)
        for i in range(options.rounds):
            for contestant, process in pairs[i % len(pairs):] + pairs[:i % len(pairs)]:
                rounds[contestant.name].append(measure(options, contestant, process))
    return rounds


def main():
    options = parse_arguments()
    user = pwd.getpwnam("nobody")
    options.uid, options.gid = user.pw_uid, user.pw_gid
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as options.folder:
        os.chown(options.folder, options.uid, options.gid)
        bench.widen_ports()
        write_list(os.path.join(options.folder, "list"), options.count, random.Random(1))
        time.sleep(0.2)  # lb4 waits for a file that is being written
        with bench_servers.servers(options):
            rounds = run_rounds(options, make_contestants(options))
            refused = measure_refused(options)
    base = rounds["no rules"]
    figures = {}
    print(f"\n{SCENARIO.title}, CPU of lb4 for a connection: median of {options.rounds} rounds, and "
          "of the ratios to no rules")
    for name, values in rounds.items():
        ratios = [value / first for value, first in zip(values, base)]
        figures[name] = {"cpu_us": statistics.median(values), "ratio": statistics.median(ratios)}
        print(f"{name:28} {figures[name]['cpu_us']:8.2f} us {figures[name]['ratio']:8.3f}")
    for name, value in refused.items():
        figures[name] = {"cpu_us": value, "ratio": value / statistics.median(base)}
        print(f"{name:28} {value:8.2f} us {figures[name]['ratio']:8.3f}")
    if options.json:
        with open(options.json, "w", encoding="ascii") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
