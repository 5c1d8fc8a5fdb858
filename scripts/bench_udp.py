"""UDP beside nginx stream, and beside no proxy at all; started by scripts/bench --udp inside a
network namespace of its own.

A measurement is one fresh proxy, a short warm-up and one run of tests/tools/datagrams.c. Rounds are
interleaved, figures are medians of the rounds, and ratios those of each round to nginx in the same
round. Both proxies have as many workers as there are CPUs, and ask for the same receive buffers.
CPU is that of the proxy for each unit: user and system time of its process tree from
/proc/PID/stat. "Sent" is what the load tool could offer; of a request that waits for its answer,
"lost" means none within half a second.

The rate of "overload" is four times what nginx serves of the same questions when each waits for its
answer, measured in the same round.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pwd
import statistics
import subprocess
import sys
import tempfile
import time

import bench
from bench_peers import NGINX_HEAD, NGINX_MODULE, Contestant

SERVER = "127.0.0.1:9001"
FIRST_PORT = 9100
START_DEADLINE_S = 5
OVERLOAD = 4


@dataclasses.dataclass
class Scenario:
    title: str
    load: str  # scenario of the load tool
    flows: int
    size: int
    rate: int = 0  # datagrams/s; 0: none, or as the overload needs
    cpu_bar: float = 0  # of nginx's CPU for a unit, at most; 0: the bar is nginx's goodput


SCENARIOS = {
    "pingpong": Scenario("64 B request and answer over 64 flows", "pingpong", 64, 64, 0, 0.85),
    "oneway1": Scenario("1,200 B one-way, 150,000/s, 1 flow", "oneway", 1, 1200, 150000, 0.5),
    "oneway16": Scenario("1,200 B one-way, 150,000/s, 16 flows", "oneway", 16, 1200, 150000, 0.8),
    "overload": Scenario("overload, 64 B echo over 64 flows", "flood", 64, 64),
}


@dataclasses.dataclass
class Figures:
    rate: float  # units/s
    proxy_us: float  # CPU for a unit
    loss: float  # share of what was sent
    sent: float  # datagrams/s
    p99_us: float
    errors: int
    strangers: float  # CPUs


# --- contestants --------------------------------------------------------------------------------


def lb4(name, binary, port):
    text = (f"service u {{\n    listen udp 127.0.0.1:{port}\n    timeout udp 10m\n"
            f"    server s {SERVER}\n}}\n")
    return Contestant(name, {"udp": port}, text, (binary, "-c", "CONFIG"))


def nginx(name, port, folder):
    text = (NGINX_HEAD.format(module=NGINX_MODULE, folder=folder) +
            f"    server {{\n        listen 127.0.0.1:{port} udp reuseport rcvbuf=2m sndbuf=2m;\n"
            f"        proxy_pass {SERVER};\n    }}\n}}\n")
    return Contestant(name, {"udp": port}, text,
                      ("/usr/sbin/nginx", "-e", "stderr", "-p", folder, "-c", "CONFIG"))


def make_contestants(options):
    makers = [lambda port: nginx("nginx", port, options.folder),
              lambda port: lb4("lb4", options.lb4, port)]
    if options.against:
        makers.append(lambda port: lb4("lb4-against", options.against, port))
    makers.append(lambda port: Contestant("direct", {"udp": 9001}))
    return [make(FIRST_PORT + index) for index, make in enumerate(makers)]


# --- measuring ----------------------------------------------------------------------------------


def wait_bound(process, port):
    """A UDP socket has no accept: the kernel's table tells."""
    wanted = f":{port:04X} "
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"exited with {process.returncode} before it was bound")
        with open("/proc/net/udp", encoding="ascii") as file:
            if sum(wanted in line for line in file) >= os.cpu_count():
                return
        time.sleep(0.01)
    raise RuntimeError(f"is not bound to port {port}, once for each worker")


@contextlib.contextmanager
def running(options, contestant):
    if not contestant.command:
        yield None
        return
    with open(os.path.join(options.folder, contestant.name + ".log"), "w+", encoding="utf-8",
              errors="replace") as log:
        process = subprocess.Popen(contestant.start_command(options.folder),
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   user=options.uid, group=options.gid, extra_groups=[],
                                   cwd=options.folder)
        try:
            wait_bound(process, contestant.ports["udp"])
            yield process
        except RuntimeError as error:
            log.seek(0)
            sys.exit(f"bench: {contestant.name} {error}\n{log.read()[-2000:]}")
        finally:
            bench.stop(process)


def run_load(options, scenario, port, rate, seconds):
    command = [options.datagrams, scenario.load, f"127.0.0.1:{port}", SERVER,
               "-n", str(scenario.flows), "-b", str(scenario.size), "-t", str(seconds),
               *(["-r", str(rate)] if rate else [])]
    process = subprocess.run(command, stdout=subprocess.PIPE, timeout=seconds + 60, check=False)
    return json.loads(process.stdout)


def read_clocks(process):
    children = os.times()
    return {
        "system": bench.system_cpu(),
        "proxy": bench.tree_cpu(process.pid) if process else 0.0,
        "load": children.children_user + children.children_system,
    }


def measure(options, scenario, contestant, rate):
    port = contestant.ports["udp"]
    with running(options, contestant) as process:
        run_load(options, scenario, port, rate, options.warm_up)
        before, begin = read_clocks(process), time.monotonic()
        result = run_load(options, scenario, port, rate, options.seconds)
        after, took = read_clocks(process), time.monotonic() - begin
    spent = {name: after[name] - before[name] for name in after}
    n_lost = (result["errors"] if scenario.load == "pingpong"
              else max(0, result["sent"] - result["units"]))
    return Figures(result["units_per_second"], spent["proxy"] * 1e6 / max(result["units"], 1),
                   n_lost / max(result["sent"], 1),
                   result["sent"] / result["seconds"], result["p99_us"], result["errors"],
                   max(spent["system"] - spent["proxy"] - spent["load"], 0) / took)


def rate_of(options, scenario, contestants):
    """What is offered in this round."""
    if scenario.load != "flood":
        return scenario.rate
    asked = dataclasses.replace(scenario, load="pingpong")
    served = measure(options, asked, contestants[0], 0).rate
    return int(OVERLOAD * served)


def run_rounds(options, contestants):
    """{(scenario, contestant): [Figures]}; every scenario has its own rounds."""
    results = {}
    for name in options.only or SCENARIOS:
        for _ in range(options.rounds):
            rate = rate_of(options, SCENARIOS[name], contestants)
            for contestant in contestants:
                results.setdefault((name, contestant.name), []).append(
                    measure(options, SCENARIOS[name], contestant, rate))
        print_table(options, name, {key[1]: rounds for key, rounds in results.items()
                                    if key[0] == name})
        sys.stdout.flush()
    return results


# --- tables -------------------------------------------------------------------------------------


def median(rounds):
    return Figures(*(statistics.median(getattr(figures, field.name) for figures in rounds)
                     for field in dataclasses.fields(Figures)))


def ratios(rounds, base, name):
    """Of each round to the base's same round: (median, least, most)."""
    found = [getattr(mine, name) / getattr(theirs, name) if getattr(theirs, name) else 0
             for mine, theirs in zip(rounds, base)]
    return statistics.median(found), min(found), max(found)


def spread(values):
    return "{:6.2f} ({:.2f}..{:.2f})".format(*values)


def print_table(options, name, results):
    scenario = SCENARIOS[name]
    base = results["nginx"]
    print(f"\n{scenario.title}: median of {options.rounds} rounds of {options.seconds:g} s; ratios "
          "to nginx (least..most of the rounds)")
    print(f"{'':12} {'sent/s':>9} {'units/s':>9} {'ratio':>19} {'CPU us':>7} {'ratio':>19}"
          f" {'lost %':>7} {'p99 us':>7} errors strangers")
    for contestant, rounds in results.items():
        now = median(rounds)
        print(f"{contestant:12} {now.sent:9,.0f} {now.rate:9,.0f}"
              f" {spread(ratios(rounds, base, 'rate')):>19} {now.proxy_us:7.2f}"
              f" {spread(ratios(rounds, base, 'proxy_us')):>19} {100 * now.loss:7.2f}"
              f" {now.p99_us:7,.0f} {now.errors:6.0f} {now.strangers:9.2f}"
              + (" disturbed" if now.strangers > bench.STRANGERS_LIMIT else ""))
    if "lb4" in results:
        print_verdict(scenario, results["lb4"], base)


def print_verdict(scenario, rounds, base):
    ours, theirs = median(rounds), median(base)
    if not scenario.cpu_bar:
        ratio = ratios(rounds, base, "rate")[0]
        print(f"bar: goodput at least nginx's: {'held' if ratio >= 1 else 'MISSED'} ({ratio:.2f})")
        return
    ratio = ratios(rounds, base, "proxy_us")[0]
    held = ratio <= scenario.cpu_bar and ours.loss <= theirs.loss
    print(f"bar: CPU at most {scenario.cpu_bar} of nginx's, loss not above:"
          f" {'held' if held else 'MISSED'} ({ratio:.2f})")


# --- command line -------------------------------------------------------------------------------


def parse_arguments():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(prog="scripts/bench --udp", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--udp", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="runs of 1 s in place of 3 s")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=SCENARIOS, metavar="SCENARIO",
                        help="repeatable; one of " + ", ".join(SCENARIOS))
    parser.add_argument("--against", metavar="BINARY", help="a second lb4, to compare two versions")
    parser.add_argument("--json", metavar="FILE", help="write all rounds there too")
    parser.add_argument("--show-configs", action="store_true", help="print them and do nothing")
    parser.add_argument("--lb4", default=os.path.join(root, "build/release/lb4"), metavar="BINARY")
    parser.add_argument("--datagrams", metavar="BINARY", help="the load tool",
                        default=os.path.join(root, "build/release/tests/tools/datagrams"))
    options = parser.parse_args()
    options.seconds, options.warm_up = (1.0, 0.2) if options.quick else (3.0, 0.3)
    return options


def main():
    options = parse_arguments()
    user = pwd.getpwnam("nobody")
    options.uid, options.gid = user.pw_uid, user.pw_gid
    with tempfile.TemporaryDirectory() as options.folder:
        contestants = make_contestants(options)
        if options.show_configs:
            bench.show_configs(contestants)
            return
        os.chown(options.folder, options.uid, options.gid)
        bench.widen_ports()
        results = run_rounds(options, contestants)
    if options.json:
        with open(options.json, "w", encoding="ascii") as file:
            json.dump({f"{name} {contestant}": [dataclasses.asdict(figures) for figures in rounds]
                       for (name, contestant), rounds in results.items()}, file, indent=1)


if __name__ == "__main__":
    main()
