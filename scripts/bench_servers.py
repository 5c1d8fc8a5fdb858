"""What a connection costs with many servers, beside what it costs with one; started by
scripts/bench --servers inside a network namespace of its own.

Connect-request-close of 64 clients, as in scripts/bench. The servers are addresses 127.2.x.y of one
program. A measurement is one fresh proxy; rounds are interleaved, figures are medians. CPU is what
the scheduler has counted for each thread (/proc/PID/task/TID/schedstat): "serving" leaves lb4's
prober out, "all" does not. Ratios are to the same proxy and policy with one server.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pwd
import resource
import socket
import statistics
import subprocess
import sys
import tempfile

import bench
from bench_peers import HAPROXY_GLOBAL, NGINX_HEAD, NGINX_MODULE, Contestant

SERVER_PORT = 9002
FIRST_PORT = 9100
SCENARIO = bench.SCENARIOS["crr"]
BALANCE = {
    "leastconn": ("leastconn", "least_conn;"),
    "roundrobin": ("roundrobin", ""),
    "random": ("random(2)", "random two least_conn;"),
    "source": ("source", "hash $remote_addr consistent;"),
}


@dataclasses.dataclass
class Figures:
    rate: float  # connections/s
    serving_us: float  # CPU of a connection
    all_us: float
    errors: int


# --- contestants --------------------------------------------------------------------------------


def addresses(count):
    return [f"127.2.{i // 250}.{i % 250 + 1}:{SERVER_PORT}" for i in range(count)]


def lb4_text(port, count, policy, check):
    servers = "".join(f"    server s{i} {address}\n" for i, address in enumerate(addresses(count)))
    return (f"service many {{\n    listen tcp 127.0.0.1:{port}\n    balance {policy}\n"
            f"    check {check}\n{servers}}}\n")


def haproxy_text(port, count, policy):
    servers = "".join(f"    server s{i} {address}\n" for i, address in enumerate(addresses(count)))
    return (HAPROXY_GLOBAL.format(tuning="", options="") +
            f"listen many\n    bind 127.0.0.1:{port}\n    balance {BALANCE[policy][0]}\n{servers}")


def nginx_text(port, count, policy, folder):
    servers = "".join(f"        server {address};\n" for address in addresses(count))
    return (NGINX_HEAD.format(module=NGINX_MODULE, folder=folder) +
            f"    upstream many {{\n        zone many 4m;\n        {BALANCE[policy][1]}\n{servers}"
            f"    }}\n    server {{\n        listen 127.0.0.1:{port} reuseport backlog=4096;\n"
            "        proxy_pass many;\n    }\n}\n")


def make_contestants(options):
    """[(group, contestant)]: ratios are to the first of a group."""
    found = []

    def add(group, name, text, *command):
        ports = {"answer": FIRST_PORT + len(found)}
        found.append((group, Contestant(name, ports, text(ports["answer"]), command)))

    for policy in options.policy:
        for count, check in [(1, "none"), (options.count, "none"), (options.count, "tcp")]:
            add(f"lb4 {policy}", f"lb4-{policy}-{count}-check-{check}",
                lambda port, n=count, p=policy, c=check: lb4_text(port, n, p, c),
                options.lb4, "-c", "CONFIG")
        for count in (1, options.count) if options.peers else ():
            add(f"haproxy {policy}", f"haproxy-{policy}-{count}",
                lambda port, n=count, p=policy: haproxy_text(port, n, p),
                "/usr/sbin/haproxy", "-db", "-f", "CONFIG")
            add(f"nginx {policy}", f"nginx-{policy}-{count}",
                lambda port, n=count, p=policy: nginx_text(port, n, p, options.folder),
                "/usr/sbin/nginx", "-e", "stderr", "-p", options.folder, "-c", "CONFIG")
    return found


# --- measuring ----------------------------------------------------------------------------------


def tree(root):
    processes = bench.read_processes()
    members = [root]
    for pid in members:
        members += [child for child, (parent, _) in processes.items() if parent == pid]
    return members


def read_cpu(root):
    """(seconds of the threads that serve, seconds of all)."""
    serving = probing = 0
    for pid in tree(root):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                folder = f"/proc/{pid}/task/{task}"
                with open(f"{folder}/comm", encoding="ascii", errors="replace") as file:
                    is_prober = file.read().strip() == "prober"
                with open(f"{folder}/schedstat", encoding="ascii") as file:
                    spent = int(file.read().split()[0]) / 1e9
                serving, probing = ((serving, probing + spent) if is_prober
                                    else (serving + spent, probing))
    return serving, serving + probing


@contextlib.contextmanager
def held(options, port):
    with contextlib.ExitStack() as stack:
        for _ in range(options.held):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
        yield


def measure(options, contestant):
    port = contestant.ports["answer"]
    with bench.running(options, contestant) as process, held(options, port):
        bench.run_load(options, SCENARIO, port, options.warm_up)
        before = read_cpu(process.pid)
        result = bench.run_load(options, SCENARIO, port, options.seconds)
        after = read_cpu(process.pid)
    per_unit = 1e6 / max(result["units"], 1)
    return Figures(result["units_per_second"], (after[0] - before[0]) * per_unit,
                   (after[1] - before[1]) * per_unit, result["errors"])


def median(rounds):
    return Figures(*(statistics.median(getattr(figures, field.name) for figures in rounds)
                     for field in dataclasses.fields(Figures)[:3]),
                   sum(figures.errors for figures in rounds))


@contextlib.contextmanager
def servers(options):
    command = [options.load, "serve", f"0.0.0.0:{SERVER_PORT}", "answer"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        if process.stdout.readline() != b"ready\n":
            sys.exit("bench: the load tool does not serve")
        yield process
    finally:
        process.terminate()
        process.wait()


def print_table(options, results):
    print(f"\n{SCENARIO.title}: median of {options.rounds} rounds of {options.seconds:g} s, and "
          "its ratio to one server")
    print(f"{'':34} {'connections/s':>18} {'serving us':>18} {'all us':>18}  errors")
    base = {}
    for (group, name), figures in results.items():
        row = dataclasses.astuple(figures)
        first = base.setdefault(group, row)
        cells = "".join(" " + bench.with_ratio(row[i], first[i], digits)
                        for i, digits in enumerate([0, 2, 2]))
        print(f"{name:34}{cells}  {figures.errors:6}")


# --- command line -------------------------------------------------------------------------------


def parse_arguments():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(prog="scripts/bench --servers", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="runs of 1 s in place of 3 s")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=1000, help="of servers")
    parser.add_argument("--held", type=int, default=0, help="connections beside the measured ones")
    parser.add_argument("--policy", action="append", choices=BALANCE,
                        help="repeatable; default leastconn and roundrobin")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="lb4 alone")
    parser.add_argument("--json", metavar="FILE", help="write the medians there too")
    parser.add_argument("--lb4", default=os.path.join(root, "build/release/lb4"), metavar="BINARY")
    parser.add_argument("--load", default=os.path.join(root, "build/release/tests/tools/load"),
                        metavar="BINARY", help="the load tool")
    options = parser.parse_args()
    options.policy = options.policy or ["leastconn", "roundrobin"]
    options.seconds, options.warm_up = (1.0, 0.2) if options.quick else (3.0, 0.5)
    return options


def main():
    options = parse_arguments()
    user = pwd.getpwnam("nobody")
    options.uid, options.gid = user.pw_uid, user.pw_gid
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as options.folder:
        os.chown(options.folder, options.uid, options.gid)
        bench.widen_ports()
        contestants = make_contestants(options)
        rounds = {(group, contestant.name): [] for group, contestant in contestants}
        with servers(options):
            for _ in range(options.rounds):
                for group, contestant in contestants:
                    rounds[group, contestant.name].append(measure(options, contestant))
    results = {key: median(value) for key, value in rounds.items()}
    print_table(options, results)
    if options.json:
        with open(options.json, "w", encoding="ascii") as file:
            json.dump({name: dataclasses.asdict(figures) for (_, name), figures in results.items()},
                      file, indent=1)


if __name__ == "__main__":
    main()
