"""Side-by-side benchmark; started by scripts/bench inside a network namespace of its own.

A measurement is one fresh proxy process (tree), a short warm-up and one run of the load tool.
Rounds are interleaved (A B C D, A B C D, ...), so that whatever else the machine does hits all
alike, and every figure is the median of the rounds. CPU of the proxy is user and system time of
its process tree from /proc/PID/stat; the total adds the clients and the servers. "strangers" is
the rest of what /proc/stat counts as busy, in CPUs: other programs, and a little kernel work that
is nobody's.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pwd
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from bench_peers import SERVER_PORTS, make_contestants

TICKS = os.sysconf("SC_CLK_TCK")
START_DEADLINE_S = 5
STRANGERS_LIMIT = 0.1  # share of one CPU, above which a run is called disturbed


@dataclasses.dataclass
class Scenario:
    title: str
    load: str  # scenario of the load tool
    mode: str  # of its server
    connections: int
    is_bulk: bool = False
    is_extra: bool = False  # only when asked for


SCENARIOS = {
    "pingpong": Scenario("64 B ping-pong over 64 connections", "pingpong", "echo", 64),
    "crr": Scenario("connect-request-close, 64 clients", "crr", "answer", 64),
    "bulk1": Scenario("bulk, 1 stream down", "bulk-down", "source", 1, True),
    "bulk16": Scenario("bulk, 16 streams down", "bulk-down", "source", 16, True),
    "up1": Scenario("bulk, 1 stream up", "bulk-up", "sink", 1, True, True),
    "up16": Scenario("bulk, 16 streams up", "bulk-up", "sink", 16, True, True),
}


@dataclasses.dataclass
class Figures:
    """rate: units/s or Gbit/s; CPU: microseconds per unit or seconds per GB."""

    rate: float
    proxy_cpu: float
    total_cpu: float
    p99_us: float
    errors: int
    strangers: float  # CPUs


# --- CPU time -----------------------------------------------------------------------------------


def read_stat(pid):
    """(parent, CPU seconds) of a process."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS


def read_processes():
    processes = {}
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, IndexError):
            if name.isdigit():
                processes[int(name)] = read_stat(name)
    return processes


def tree_cpu(root):
    processes = read_processes()
    members, todo = set(), [root]
    while todo:
        pid = todo.pop()
        members.add(pid)
        todo += [child for child, (parent, _) in processes.items() if parent == pid]
    return sum(processes[pid][1] for pid in members if pid in processes)


def system_cpu():
    """Busy seconds of all CPUs: everything but idle and iowait (fields 4 and 5 of proc(5))."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(word) for word in file.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


# --- processes ----------------------------------------------------------------------------------


def wait_for_port(process, port):
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"exited with {process.returncode} before it listened")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.01)
    raise RuntimeError(f"does not listen on port {port}")


def stop(process):
    process.send_signal(signal.SIGINT)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def running(bench, contestant):
    """The process of a contestant, or None for `direct`."""
    if not contestant.command:
        yield None
        return
    with open(os.path.join(bench.folder, contestant.name + ".log"), "w+", encoding="utf-8",
              errors="replace") as log:
        process = subprocess.Popen(contestant.start_command(bench.folder), stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log, user=bench.uid, group=bench.gid,
                                   extra_groups=[], cwd=bench.folder)
        try:
            for port in contestant.ports.values():
                wait_for_port(process, port)
            yield process
        except RuntimeError as error:
            log.seek(0)
            sys.exit(f"bench: {contestant.name} {error}\n{log.read()[-2000:]}")
        finally:
            stop(process)


@contextlib.contextmanager
def servers(bench):
    words = [word for mode, port in SERVER_PORTS.items() for word in (f"127.0.0.1:{port}", mode)]
    process = subprocess.Popen([bench.load, "serve", *words], stdout=subprocess.PIPE)
    try:
        if process.stdout.readline() != b"ready\n":
            sys.exit("bench: the load tool does not serve")
        yield process
    finally:
        process.terminate()
        process.wait()


# --- measuring ----------------------------------------------------------------------------------


def run_load(bench, scenario, port, seconds):
    command = [bench.load, "run", scenario.load, f"127.0.0.1:{port}",
               "-n", str(scenario.connections), "-t", str(seconds)]
    process = subprocess.run(command, stdout=subprocess.PIPE, timeout=seconds + 60, check=False)
    return json.loads(process.stdout)


def read_clocks(bench, process):
    children = os.times()
    return {
        "system": system_cpu(),
        "proxy": tree_cpu(process.pid) if process else 0.0,
        "load": tree_cpu(bench.server.pid) + children.children_user + children.children_system,
    }


def measure(bench, scenario, contestant):
    port = contestant.ports[scenario.mode]
    with running(bench, contestant) as process:
        run_load(bench, scenario, port, bench.warm_up)
        before, begin = read_clocks(bench, process), time.monotonic()
        result = run_load(bench, scenario, port, bench.seconds)
        after, took = read_clocks(bench, process), time.monotonic() - begin
    spent = {name: after[name] - before[name] for name in after}
    return make_figures(scenario, result, spent, took)


def make_figures(scenario, result, spent, took):
    total = spent["proxy"] + spent["load"]
    units = max(result["units"], 1) / (1e9 if scenario.is_bulk else 1e6)
    rate = result["units_per_second"] * (8e-9 if scenario.is_bulk else 1)
    strangers = max(spent["system"] - total, 0) / took
    return Figures(rate, spent["proxy"] / units, total / units, result["p99_us"], result["errors"],
                   strangers)


def median_figures(rounds):
    def median(name):
        return statistics.median(getattr(figures, name) for figures in rounds)

    return Figures(median("rate"), median("proxy_cpu"), median("total_cpu"), median("p99_us"),
                   sum(figures.errors for figures in rounds), median("strangers"))


# --- tables -------------------------------------------------------------------------------------


def with_ratio(value, base, digits):
    ratio = f"{value / base:6.2f}" if base else "     -"
    return f"{value:11,.{digits}f} {ratio}"


def print_table(bench, name, results):
    scenario = SCENARIOS[name]
    base = next(iter(results.values()))
    heads = (["Gbit/s", "proxy s/GB", "total s/GB"] if scenario.is_bulk else
             ["units/s", "proxy us/unit", "total us/unit", "p99 us"])
    digits = [1, 3, 3] if scenario.is_bulk else [0, 1, 1, 0]
    print(f"\n{scenario.title}: median of {bench.rounds} rounds of {bench.seconds:g} s, "
          "and its ratio to the first line")
    print(f"{'':14}" + "".join(f" {head:>18}" for head in heads) + "  errors  strangers")
    for contestant, figures in results.items():
        row = dataclasses.astuple(figures)
        first = dataclasses.astuple(base)
        cells = "".join(" " + with_ratio(row[i], first[i], digits[i]) for i in range(len(heads)))
        note = " disturbed" if figures.strangers > STRANGERS_LIMIT else ""
        print(f"{contestant:14}{cells}  {figures.errors:6}  {figures.strangers:9.2f}{note}")


def run_rounds(bench, names, contestants):
    """Every scenario has its own rounds; a finished one is printed at once."""
    results = {}
    for name in names:
        rounds = {contestant.name: [] for contestant in contestants}
        for _ in range(bench.rounds):
            for contestant in contestants:
                rounds[contestant.name].append(measure(bench, SCENARIOS[name], contestant))
        results[name] = {key: median_figures(value) for key, value in rounds.items()}
        print_table(bench, name, results[name])
        sys.stdout.flush()
    return results


# --- command line -------------------------------------------------------------------------------


def parse_arguments():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="runs of 1 s in place of 3 s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=SCENARIOS, metavar="SCENARIO",
                        help="repeatable; one of " + ", ".join(SCENARIOS))
    parser.add_argument("--contestant", action="append", metavar="NAME",
                        help="repeatable; the first one named is what the others are compared with")
    parser.add_argument("--against", metavar="BINARY", help="a second lb4, to compare two versions")
    parser.add_argument("--json", metavar="FILE", help="write the medians there too")
    parser.add_argument("--show-configs", action="store_true", help="print them and do nothing")
    parser.add_argument("--lb4", default=os.path.join(root, "build/release/lb4"), metavar="BINARY")
    parser.add_argument("--load", default=os.path.join(root, "build/release/tests/tools/load"),
                        metavar="BINARY", help="the load tool")
    return parser.parse_args()


def choose(contestants, names):
    known = {contestant.name: contestant for contestant in contestants}
    unknown = [name for name in names or [] if name not in known]
    if unknown:
        sys.exit(f"bench: no contestant {unknown[0]!r}; there are: {', '.join(known)}")
    return [known[name] for name in names] if names else contestants


def show_configs(contestants):
    for contestant in contestants:
        if contestant.command:
            print(f"--- {contestant.name}: {' '.join(contestant.command)}\n{contestant.config}")


def widen_ports():
    """Connect-request-close uses up ports; the namespace ends with the benchmark."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", "w", encoding="ascii") as file:
        file.write("10240 65535")


def main():
    bench = parse_arguments()
    user = pwd.getpwnam("nobody")
    bench.uid, bench.gid = user.pw_uid, user.pw_gid
    bench.seconds, bench.warm_up = (1.0, 0.2) if bench.quick else (3.0, 0.5)
    names = bench.only or [name for name, scenario in SCENARIOS.items() if not scenario.is_extra]
    with tempfile.TemporaryDirectory() as bench.folder:
        os.chmod(bench.folder, 0o755)
        contestants = choose(make_contestants(bench.lb4, bench.against, bench.folder),
                             bench.contestant)
        if bench.show_configs:
            show_configs(contestants)
            return
        os.chown(bench.folder, bench.uid, bench.gid)
        widen_ports()
        with servers(bench) as bench.server:
            results = run_rounds(bench, names, contestants)
    if bench.json:
        with open(bench.json, "w", encoding="ascii") as file:
            json.dump({name: {key: dataclasses.asdict(value) for key, value in table.items()}
                       for name, table in results.items()}, file, indent=1)


if __name__ == "__main__":
    main()
