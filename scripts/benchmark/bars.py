"""What lb4 is to reach, and whether a run shows it. No I/O.

A bar compares a figure of lb4 with one of another contestant, round by round in the same run: the
median of the ratios is to keep the limit. BEST is the best of all peers (`kind` peer) that were
measured there, by its median. A bar without a reference is about the figure itself; `than` names
another scenario, whose rounds lb4 shared.
"""

import dataclasses
import statistics

import benchmark.figures as figures
import benchmark.rounds as rounds

BEST = "the best peer"
NOT_RUN = "not run"


@dataclasses.dataclass(frozen=True)
class Bar:
    scenario: str
    figure: str
    relation: str  # <= or >=
    limit: float
    peer: str = ""
    than: str = ""  # scenario of the reference, if another

    @property
    def text(self):
        figure = figures.FIGURES[self.figure]
        limit = f"{self.relation} {self.limit:g}"
        if self.than:
            return f"{figure.title} {limit} of its own in {self.than}"
        return (f"{figure.title} {limit} of {self.peer}" if self.peer
                else f"{figure.title} {limit} {figure.unit}".rstrip())


@dataclasses.dataclass(frozen=True)
class Verdict:
    bar: Bar
    verdict: str  # held, tie, missed, not run
    ours: float = None
    theirs: float = None
    reference: str = ""  # who or what it was compared with
    ratio: float = None
    low: float = None  # noise of the ratio
    high: float = None


def transactions(name, cpu_haproxy, cpu_best, rate_best, system):
    """@system: share of what the clients and servers of two connections cost without a proxy."""
    return [Bar(name, "proxy_us", "<=", cpu_haproxy, "haproxy"),
            Bar(name, "proxy_us", "<=", cpu_best, BEST),
            Bar(name, "rate", ">=", rate_best, BEST),
            Bar(name, "p99_us", "<=", 1.10, "haproxy"),
            Bar(name, "system_us", "<=", 2 * system, "direct")]


def streams(name):
    return [Bar(name, "throughput", ">=", 1.0, "haproxy-tuned"),
            Bar(name, "throughput", ">=", 1.35, "haproxy"),
            Bar(name, "throughput", ">=", 1.35, "nginx"),
            Bar(name, "system_s_per_gb", "<=", 1.02, "haproxy-tuned")]


BARS = [
    *transactions("pingpong-64", 0.80, 0.95, 1.05, 1.05),
    *transactions("crr", 0.88, 0.98, 1.0, 1.08),
    *(bar for way in ("down", "up") for n in (1, 16) for bar in streams(f"bulk-{way}-{n}")),
    Bar("idle", "bytes_each", "<=", 400),
    Bar("idle", "start_kib", "<=", 8192),
    Bar("idle", "descriptors_each", "<=", 2),
    Bar("idle", "pipes_each", "<=", 0),
    Bar("idle", "idle_percent", "<=", 0.05),
    Bar("udp-pingpong", "proxy_us", "<=", 0.85, "nginx"),
    Bar("udp-oneway-1", "proxy_us", "<=", 0.5, "nginx"),
    Bar("udp-oneway-16", "proxy_us", "<=", 0.8, "nginx"),
    Bar("udp-overload", "rate", ">=", 1.0, "nginx"),
    Bar("redis-p1", "rate", ">=", 1.05, BEST),
    Bar("redis-p16", "rate", ">=", 1.05, BEST),
    Bar("pgbench", "rate", ">=", 1.05, BEST),
    Bar("servers-1000", "proxy_us", "<=", 1.05, than="servers-1"),
    Bar("crowd-9000", "rate", ">=", 0.9, than="crowd-0"),
    Bar("crowd-9000", "errors", "<=", 0),
]


def scenario_names():
    return list(dict.fromkeys(name for bar in BARS for name in (bar.scenario, bar.than) if name))


def best_peer(results, figure, peers):
    medians = {name: rounds.median_of(results[name], figure) for name in peers if name in results}
    medians = {name: value for name, value in medians.items() if value is not None}
    if not medians:
        return None
    choose = max if figures.FIGURES[figure].is_more_better else min
    return choose(medians, key=medians.get)


def judge(bar, scenarios, peers, ours="lb4"):
    """@scenarios {name: {contestant: [figures of a round]}}; @peers names of those that count."""
    results = scenarios.get(bar.scenario, {})
    mine = rounds.values_of(results.get(ours, []), bar.figure)
    if mine is None:
        return Verdict(bar, NOT_RUN)
    if not bar.peer and not bar.than:
        low, high = rounds.interval(mine)
        return Verdict(bar, rounds.judge(mine, bar.relation, bar.limit), statistics.median(mine),
                       bar.limit, "the limit", None, low, high)
    other = best_peer(results, bar.figure, peers) if bar.peer == BEST else bar.peer
    source = scenarios.get(bar.than, {}).get(ours, []) if bar.than else results.get(other, [])
    theirs = rounds.values_of(source, bar.figure)
    ratios = rounds.ratios(mine, theirs)
    if not ratios:
        return Verdict(bar, NOT_RUN)
    low, high = rounds.interval(ratios)
    return Verdict(bar, rounds.judge(ratios, bar.relation, bar.limit), statistics.median(mine),
                   statistics.median(theirs), bar.than or other, statistics.median(ratios), low,
                   high)


def judge_all(scenarios, peers, ours="lb4"):
    """Of the bars whose scenarios were run."""
    return [judge(bar, scenarios, peers, ours) for bar in BARS if bar.scenario in scenarios]
