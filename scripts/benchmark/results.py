"""The results of a run as plain data, which is what a JSON file holds:

format    1
machine   facts of `machine`
run       rounds, seconds, warm_up
peers     {contestant: {kind, note, version}}
scenarios {name: {title, columns, rounds {contestant: [{figure: value}]}, left_out {contestant:
          reason}, configs {contestant: text}, calls {contestant: {system call: per unit}}}}
"""

import dataclasses
import json

import benchmark.figures as figures
import benchmark.rounds as rounds

FORMAT = 1


def begin(bench, contestants, facts):
    return {"format": FORMAT, "machine": facts,
            "run": {"rounds": bench.rounds, "seconds": bench.seconds, "warm_up": bench.warm_up},
            "peers": {peer.name: {"kind": peer.kind, "note": peer.note, "version": peer.version()}
                      for peer in contestants},
            "scenarios": {}}


def add(results, scenario, record):
    results["scenarios"][scenario.name] = {
        "title": scenario.title, "columns": list(scenario.columns), **dataclasses.asdict(record)}


def rounds_of(results):
    """{scenario: {contestant: [figures]}}"""
    return {name: one["rounds"] for name, one in results["scenarios"].items()}


def peer_names(results):
    return [name for name, peer in results["peers"].items() if peer["kind"] == "peer"]


def save(results, path):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
        file.write("\n")


def load(path):
    """ValueError if it is not such a file."""
    with open(path, encoding="utf-8") as file:
        results = json.load(file)
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise ValueError(f"{path}: not a result of scripts/bench in format {FORMAT}")
    return results


# --- two runs -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Change:
    scenario: str
    contestant: str
    figure: str
    before: float  # medians
    after: float
    verdict: str  # better, worse, tie

    @property
    def ratio(self):
        return self.after / self.before if self.before else None


def compare(before, after):
    """[Change] of what both runs have. Runs have no rounds in common: a tie is where the noises
    overlap."""
    return [change for name, one in after["scenarios"].items() if name in before["scenarios"]
            for contestant, found in one["rounds"].items()
            for change in compare_rounds(
                (name, contestant), before["scenarios"][name]["rounds"].get(contestant, []), found,
                [*one["columns"], "errors"])]


def compare_rounds(key, before, after, columns):
    for figure in columns:
        old, new = rounds.values_of(before, figure), rounds.values_of(after, figure)
        if old is not None and new is not None:
            yield Change(*key, figure, rounds.median_of(before, figure),
                         rounds.median_of(after, figure), judge_change(figure, old, new))


def judge_change(figure, old, new):
    (low, high), (new_low, new_high) = rounds.interval(old), rounds.interval(new)
    if low <= new_high and new_low <= high:
        return rounds.TIE
    return "better" if (new_low > high) == figures.FIGURES[figure].is_more_better else "worse"
