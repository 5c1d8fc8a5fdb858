"""The command line of scripts/bench."""

import argparse
import os
import sys

import benchmark.bars as bars
import benchmark.peers as peers
import benchmark.scenarios as scenarios

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build/release")

DESCRIPTION = """lb4 beside other forwarders, and beside none, on this machine.

Each scenario has a network namespace of its own and interleaved rounds; figures are medians, and
ratios are those of each round to the first contestant in the same round. Without options: all
scenarios, about an hour. --quick --bars tells within minutes where lb4 stands."""


def words(text):
    return [word for word in text.split(",") if word]


def add_choices(parser):
    parser.add_argument("--only", action="extend", type=words, default=[], metavar="SCENARIO,...",
                        help="by name, group or pattern (bulk-*); repeatable; --list shows them")
    parser.add_argument("--peers", "--contestant", action="extend", type=words, default=[],
                        metavar="NAME,...", help="these contestants only; repeatable")
    parser.add_argument("--bars", action="store_true", help="the scenarios that have bars")
    parser.add_argument("--pin", action="store_true",
                        help="each scenario of TCP once more with the proxy on one CPU")
    parser.add_argument("--udp", dest="only", action="append_const", const="udp",
                        help="the same as --only udp")
    parser.add_argument("--servers", dest="only", action="append_const", const="servers",
                        help="the same as --only servers")
    parser.add_argument("--against", metavar="BINARY",
                        help="a second lb4, in the same rounds, as lb4-against")


def add_measures(parser):
    parser.add_argument("--quick", action="store_true", help="runs of 1 s in place of 3 s")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default 3")
    parser.add_argument("--seconds", type=float, metavar="S", help="of a timed run")
    parser.add_argument("--no-trace", dest="traces", action="store_false",
                        help="do not count system calls (strace)")


def add_others(parser):
    parser.add_argument("--list", action="store_true", help="list scenarios and contestants")
    parser.add_argument("--show-configs", action="store_true",
                        help="print how contestants are configured for the chosen scenarios")
    parser.add_argument("--validate", action="store_true",
                        help="the load generator beside iperf3, redis-benchmark and wrk")
    parser.add_argument("--compare", nargs=2, metavar=("BEFORE", "AFTER"),
                        help="two files of --json; nothing is run")
    parser.add_argument("--access", action="store_true",
                        help="what long lists of networks cost (--access --help)")


def add_files(parser):
    parser.add_argument("--json", metavar="FILE", help="write all rounds there")
    parser.add_argument("--html", metavar="FILE", default=os.path.join(ROOT, "build/bench",
                                                                       "report.html"),
                        help="the report; default build/bench/report.html")
    parser.add_argument("--lb4", default=os.path.join(BUILD, "lb4"), metavar="BINARY")
    for tool in ("load", "datagrams"):
        parser.add_argument(f"--{tool}", default=os.path.join(BUILD, "tests/tools", tool),
                            metavar="BINARY", help="the load generator")


def make_parser():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for title, add in (("what", add_choices), ("how", add_measures), ("instead", add_others),
                       ("files", add_files)):
        add(parser.add_argument_group(title))
    return parser


def parse(arguments):
    """With `scenarios` and `contestants` chosen, and how long things take."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    options.seconds = options.seconds or (1.0 if options.quick else 3.0)
    options.warm_up = min(0.5, options.seconds / 5)
    try:
        choose(options)
    except ValueError as error:
        parser.error(str(error))
    if options.rounds < 1:
        parser.error("--rounds: at least 1")
    return options


def choose(options):
    options.only = list(options.only) + (bars.scenario_names() if options.bars else [])
    options.scenarios = scenarios.choose(options.only)
    if options.pin:
        options.scenarios = scenarios.with_twins(options.scenarios)
    options.known = peers.make_all(options.lb4, options.against)
    options.contestants = peers.choose(options.known, options.peers)


def list_all(options, out=sys.stdout):
    chosen = {one.name for one in options.scenarios}
    barred = set(bars.scenario_names())
    print("scenarios (*: chosen, b: has bars; also by group)", file=out)
    for name, one in scenarios.SCENARIOS.items():
        marks = f"{'*' if name in chosen else ' '}{'b' if name in barred else ' '}"
        print(f"{marks} {name:24} {one.group:10} {one.title}", file=out)
    print("contestants", file=out)
    for name, peer in options.known.items():
        print(f"{'*' if peer in options.contestants else ' '}  {name:24} {peer.kind:10} "
              f"{peer.note}", file=out)
