"""Failover drills side by side; started by scripts/drill inside a network namespace of its own.

Four writers, each with one connection that it renews when it must, write all the time; with
PostgreSQL pgbench works beside them, started anew whenever it ends. Then the primary is killed,
held up (SIGSTOP of all its processes), or shut down in order, and the replica is promoted at once.
The figure is the longest time in which no write went through. Rounds are interleaved, lb4 and
HAProxy in turn, each a fresh process in front of the same pair of servers, which change places each
time, at another phase of the checks' interval. "connects" and "cut": connects that failed, and
writes that met an error, of all rounds; each writer has one write that is cut by a failover.

detect: one of three servers hangs; seconds until its checks, which wait for an answer, have it down
(interval 500 ms, timeout 500 ms, fall 3: 2 s are due at most).
"""
import argparse
import collections
import json
import os
import pathlib
import statistics
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

import databases  # noqa: E402
import failovers  # noqa: E402
import proxies  # noqa: E402

CHECK_INTERVAL_S = 1

Drill = collections.namedtuple("Drill", "title pair event")

DRILLS = {
    "pg-kill": Drill("PostgreSQL, primary killed", failovers.PostgresPair, "kill"),
    "pg-hang": Drill("PostgreSQL, primary hangs", failovers.PostgresPair, "hang"),
    "pg-switch": Drill("PostgreSQL, switchover in order", failovers.PostgresPair, "stop"),
    "redis-kill": Drill("Redis, master killed", failovers.RedisPair, "kill"),
    "redis-hang": Drill("Redis, master hangs", failovers.RedisPair, "hang"),
}
NAMES = [*DRILLS, "detect"]


def run_rounds(drill, options, folder):
    rounds = {kind: [] for kind in options.contestants}
    with drill.pair(folder) as pair:
        for index in range(options.rounds):
            phase_s = CHECK_INTERVAL_S * index / options.rounds
            for kind in options.contestants:
                rounds[kind].append(failovers.measure(pair, kind, options.lb4, drill.event, folder,
                                                      phase_s))
                pair.repair()
    return rounds


def run_detection(options, folder):
    """Interleaved like the others."""
    rounds = {kind: [] for kind in options.contestants}
    for index in range(options.rounds):
        for kind in options.contestants:
            with tempfile.TemporaryDirectory(dir=folder) as place:
                os.chmod(place, 0o777)
                rounds[kind].append(proxies.detect_hung(
                    kind, options.lb4, place, proxies.DETECT_INTERVAL_S * index / options.rounds))
    return rounds


def print_detection(rounds):
    print("\nA server hangs: seconds until it is down, median and spread of "
          f"{len(next(iter(rounds.values())))} rounds")
    for kind, values in rounds.items():
        print(f"{kind:10} {spread(values):>20}")
    sys.stdout.flush()


def spread(values):
    return f"{statistics.median(values):6.2f} {min(values):6.2f}..{max(values):.2f}"


def print_table(drill, rounds):
    print(f"\n{drill.title}: seconds without a write, median and spread of "
          f"{len(next(iter(rounds.values())))} rounds")
    print(f"{'':10} {'writers':>20} {'pgbench':>20} {'connects':>9} {'cut':>5}")
    for kind, figures in rounds.items():
        bench = [figure.bench_gap_s for figure in figures]
        print(f"{kind:10} {spread([figure.gap_s for figure in figures]):>20} "
              f"{spread(bench) if None not in bench else '-':>20} "
              f"{sum(figure.connects for figure in figures):9} "
              f"{sum(figure.cut for figure in figures):5}")
    sys.stdout.flush()


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/drill", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=NAMES, metavar="DRILL",
                        help="repeatable; one of " + ", ".join(NAMES))
    parser.add_argument("--contestant", action="append", choices=("lb4", "haproxy"),
                        dest="contestants", help="repeatable; default both")
    parser.add_argument("--json", metavar="FILE", help="write all figures there too")
    parser.add_argument("--show-configs", action="store_true", help="print them and do nothing")
    parser.add_argument("--lb4", default=ROOT / "build/release/lb4", metavar="BINARY")
    return parser.parse_args()


def show_configs():
    for example in ("postgresql", "redis"):
        print(f"--- lb4, {example}\n{databases.example(example)}")
        print(f"--- haproxy, {example}\n{proxies.haproxy_config(example)}")


def main():
    options = parse_arguments()
    options.contestants = options.contestants or ["lb4", "haproxy"]
    if options.show_configs:
        show_configs()
        return
    results = {}
    for name in options.only or NAMES:
        with databases.folder() as folder:
            if name == "detect":
                results[name] = run_detection(options, folder)
                print_detection(results[name])
                continue
            rounds = run_rounds(DRILLS[name], options, folder)
        print_table(DRILLS[name], rounds)
        results[name] = {kind: [figure._asdict() for figure in figures]
                         for kind, figures in rounds.items()}
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1), encoding="ascii")


if __name__ == "__main__":
    main()
