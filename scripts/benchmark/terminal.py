"""Tables for a terminal, as text."""

import statistics

import benchmark.bars as bars
import benchmark.figures as figures
import benchmark.machine as machine
import benchmark.rounds as rounds

STRANGERS_LIMIT = 0.1  # share of one CPU, above which a run is called disturbed
SHOWN_CALLS = 0.02  # for a unit


def align(rows):
    """Lines; the first column to the left, all others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join([row[0].ljust(widths[0])] +
                               [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])])
                     .rstrip() for row in rows)


def ratio_text(found, base, name):
    """Beside the first line's; `~` where the difference is under the noise."""
    ratios = rounds.ratios(rounds.values_of(found, name), rounds.values_of(base, name))
    if not ratios or found is base:
        return ""
    return f"{'~' if rounds.is_tie(ratios) else ''}{statistics.median(ratios):.2f}"


def shown_columns(one):
    """Those of which there is something to show."""
    return [name for name in one["columns"]
            if any(rounds.median_of(found, name) is not None for found in one["rounds"].values())]


def is_disturbed(found):
    return (rounds.median_of(found, "strangers") or 0) > STRANGERS_LIMIT


def figure_cells(one, found):
    """[(figure, ratio to the first contestant)] for each of the shown columns."""
    base = next(iter(one["rounds"].values()))
    return [(figures.FIGURES[name].text(rounds.median_of(found, name)),
             ratio_text(found, base, name)) for name in shown_columns(one)]


def other_cells(found):
    """[errors, strangers]"""
    strangers = figures.FIGURES["strangers"].text(rounds.median_of(found, "strangers"))
    return [str(sum(figures_of["errors"] for figures_of in found)),
            strangers + " disturbed" * is_disturbed(found)]


def figure_rows(one):
    heads = [cell for name in shown_columns(one) for cell in (figures.FIGURES[name].short, "ratio")]
    return [["", *heads, "errors", "strangers"],
            *([contestant, *(cell for pair in figure_cells(one, found) for cell in pair),
               *other_cells(found)] for contestant, found in one["rounds"].items())]


def facts_text(facts):
    """Of `machine` and its packages: the date, the kernel and the CPUs on a line; then versions."""
    packages = [f"{name} {version}" for name, version in facts.items() if name in machine.PACKAGES]
    return "\n".join([", ".join(facts[name] for name in ("date", "kernel", "cpus")),
                      ", ".join(packages)])


def scenario_text(name, one, run):
    lines = [f"{name}: {one['title']}", f"medians of {run['rounds']} rounds of "
             f"{run['seconds']:g} s, and ratios to the first line (~: a tie)"]
    if one["rounds"]:
        lines.append(align(figure_rows(one)))
    if one["left_out"]:
        lines.append("left out: " + "; ".join(f"{contestant}, {reason}" for contestant, reason in
                                              one["left_out"].items()))
    return "\n".join(lines)


def calls_text(one):
    lines = []
    for contestant, calls in one["calls"].items():
        shown = [f"{call} {n:.2f}" for call, n in calls.items() if n >= SHOWN_CALLS]
        lines.append(f"system calls of {contestant}: {', '.join(shown)}")
    return "\n".join(lines)


# --- bars -----------------------------------------------------------------------------------------


def verdict_cells(verdict):
    """[scenario, bar, verdict, ours, theirs, ratio and its noise, reference]"""
    figure = figures.FIGURES[verdict.bar.figure]
    if verdict.verdict == bars.NOT_RUN:
        return [verdict.bar.scenario, verdict.bar.text, verdict.verdict, "", "", "", ""]
    ratio = ("" if verdict.ratio is None
             else f"{verdict.ratio:.2f} ({verdict.low:.2f}..{verdict.high:.2f})")
    return [verdict.bar.scenario, verdict.bar.text, verdict.verdict, figure.text(verdict.ours),
            figure.text(verdict.theirs), ratio, verdict.reference]


BAR_HEADS = ["scenario", "bar", "", "lb4", "reference", "ratio (noise)", "which is"]


def bars_text(verdicts):
    counts = [f"{sum(one.verdict == word for one in verdicts)} {word}"
              for word in (rounds.HELD, rounds.TIE, rounds.MISSED, bars.NOT_RUN)]
    rows = [BAR_HEADS, *(verdict_cells(one) for one in verdicts)]
    return f"bars: {', '.join(counts)}\n{align([[f'{r[0]}: {r[1]}', *r[2:]] for r in rows])}"


# --- two runs -------------------------------------------------------------------------------------


def changes_text(changes):
    rows = [["scenario, contestant", "figure", "before", "after", "ratio", ""]]
    for change in changes:
        figure = figures.FIGURES[change.figure]
        ratio = "" if change.ratio is None else f"{change.ratio:.2f}"
        rows.append([f"{change.scenario}, {change.contestant}", figures.head(change.figure),
                     figure.text(change.before), figure.text(change.after), ratio, change.verdict])
    return align(rows)
