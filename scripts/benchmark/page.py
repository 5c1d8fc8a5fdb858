"""The report: one HTML file that needs nothing else, light or dark as the reader likes."""

import html

import benchmark.bars as bars
import benchmark.figures as figures
import benchmark.plot as plot
import benchmark.results as results_
import benchmark.rounds as rounds
import benchmark.terminal as terminal

STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #1c2128; --dim: #57606a; --line: #d5dae0;
  --soft: #f4f6f8; --ours: #1769c2; --peer: #9aa7b5; --limit: #c9b458; --dot: #1c2128;
  --good: #1a7f37; --bad: #c62828; --tie: #8a6100; }
@media (prefers-color-scheme: dark) { :root { --page: #14181d; --text: #e3e8ee; --dim: #9aa5b1;
  --line: #333b45; --soft: #1d232a; --ours: #58a6ff; --peer: #6b7885; --limit: #8f7f35;
  --dot: #e3e8ee; --good: #56d364; --bad: #ff7b72; --tie: #e3b341; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 24px; background: var(--page);
  color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 36px 0 6px; }
p, dl { margin: 6px 0; } .dim { color: var(--dim); } a { color: var(--ours); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 16px; font-size: 13px; }
dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums;
  margin: 8px 0; }
th, td { padding: 3px 10px 3px 0; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; } th { font-weight: 600; color: var(--dim); vertical-align: bottom; }
th.wrap { white-space: normal; min-width: 76px; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
tr.lb4 td { font-weight: 600; }
td small { display: inline-block; min-width: 3.6em; color: var(--dim); font-weight: 400; }
.held, .better { color: var(--good); } .missed, .worse { color: var(--bad); }
.tie { color: var(--tie); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(360px, 1fr));
  gap: 12px 28px; margin: 10px 0; }
.chart { width: 100%; height: auto; } .chart text { font: 12px system-ui, sans-serif;
  fill: var(--text); } .chart .title { font-weight: 600; } .chart .hint, .chart .name.peer,
.chart .name.limit { fill: var(--dim); } .chart .name.lb4 { font-weight: 600; }
.chart .axis { stroke: var(--line); } .bar.lb4 { fill: var(--ours); }
.bar.peer { fill: var(--peer); } .bar.limit { fill: var(--limit); }
.dot { fill: var(--dot); opacity: .55; }
pre { background: var(--soft); padding: 10px; overflow-x: auto; font-size: 12px; margin: 6px 0;
  max-height: 420px; }
summary { cursor: pointer; color: var(--dim); font-size: 13px; }
nav { font-size: 13px; line-height: 1.9; } nav a { margin-right: 12px; white-space: nowrap; }
"""

CONFIG_CAP = 6000  # characters of one configuration that are shown


def escape(text):
    return html.escape(str(text))


def table(heads, rows, classes=()):
    """@rows of cells that are HTML; @classes of the rows; a head that begins with "<" is text."""
    head = "".join(f'<th class="{"text" if one[:1] == "<" else "wrap"}">{escape(one.lstrip("<"))}'
                   "</th>" for one in heads)
    body = "".join(
        f'<tr class="{classes[i] if classes else ""}">' +
        "".join(f'<td class="{"text" if heads[k][:1] == "<" else ""}">{cell}</td>'
                for k, cell in enumerate(row)) + "</tr>\n" for i, row in enumerate(rows))
    return (f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody>'
            "</table></div>")


def make_head(results):
    run, facts = results["run"], results["machine"]
    rows = {**facts, "rounds": f"{run['rounds']}, of {run['seconds']:g} s after a warm-up of "
            f"{run['warm_up']:g} s; interleaved"}
    rows.update((name, f"{peer['version']}{' (' + peer['note'] + ')' if peer['note'] else ''}")
                for name, peer in results["peers"].items() if peer["version"] or peer["note"])
    facts = "".join(f"<dt>{escape(key.replace('_', ' '))}</dt><dd>{escape(value)}</dd>"
                    for key, value in rows.items())
    return (f"<h1>lb4: benchmark</h1><dl>{facts}</dl>"
            "<p class=dim>Figures are medians of the rounds. A ratio is the median of those of each"
            " round to the first contestant in the same round; ~ marks a tie: the difference is"
            " under the noise, which is the interval that holds the true median with a chance of"
            f" {rounds.COVERAGE:.0%}, or all rounds where there are fewer than four. CPU of the"
            " system is that of proxy, servers and clients, and of ksoftirqd. A dot is a"
            " round.</p>")


def make_bars(results):
    verdicts = bars.judge_all(results_.rounds_of(results), results_.peer_names(results))
    if not verdicts or "lb4" not in results["peers"]:
        return ""
    rows = []
    for verdict in verdicts:
        cells = [escape(cell) for cell in terminal.verdict_cells(verdict)]
        cells[2] = f'<b class="{verdict.verdict.replace(" ", "-")}">{cells[2]}</b>'
        rows.append(cells)
    heads = ["<scenario", "<bar", "<", "lb4", "reference", "ratio (noise)", "<which is"]
    return f"<h2 id=bars>Bars</h2>{table(heads, rows)}"


def make_chart(results, one, name):
    figure = figures.FIGURES[name]
    rows = []
    for contestant, found in one["rounds"].items():
        values = rounds.values_of(found, name)
        if values is not None:
            median = rounds.median_of(found, name)
            rows.append((contestant, median, values if len(set(values)) > 1 else [],
                         figure.text(median), results["peers"][contestant]["kind"]))
    better = "more is better" if figure.is_more_better else "less is better"
    return plot.bar_chart(figures.head(name), rows, better) if rows else ""


def make_table(results, one):
    """Ratios are beside the figures."""
    heads = ["<", *(figures.FIGURES[name].short for name in terminal.shown_columns(one)), "errors",
             "strangers"]
    rows = [[escape(contestant), *(f"{value} <small>{ratio}</small>" for value, ratio in
                                   terminal.figure_cells(one, found)),
             *terminal.other_cells(found)] for contestant, found in one["rounds"].items()]
    return table(heads, rows, [results["peers"][name]["kind"] for name in one["rounds"]])


def folded(title, text):
    return f"<details><summary>{title}</summary><pre>{escape(text)}</pre></details>"


def make_details(one):
    parts = []
    if any(one["calls"].values()):
        calls = "\n".join(f"{name}: " + ", ".join(f"{call} {n:.2f}" for call, n in found.items())
                          for name, found in one["calls"].items())
        parts.append(folded("system calls", calls))
    texts = []
    for name, text in one["configs"].items():
        if text:
            left = f"\n... {len(text) - CONFIG_CAP} characters more" * (len(text) > CONFIG_CAP)
            texts.append(f"# {name}\n{text[:CONFIG_CAP]}{left}")
    if texts:
        parts.append(folded("configurations", "\n".join(texts)))
    return "".join(parts)


def make_scenario(results, name, one):
    parts = [f'<h2 id="{escape(name)}">{escape(name)}</h2><p>{escape(one["title"])}</p>']
    if one["rounds"]:
        charts = "".join(make_chart(results, one, column)
                         for column in terminal.shown_columns(one))
        parts += [f'<div class="charts">{charts}</div>', make_table(results, one)]
    if one["left_out"]:
        reasons = "; ".join(f"{escape(key)}: {escape(why)}" for key, why in one["left_out"].items())
        parts.append(f"<p class=dim>Left out: {reasons}.</p>")
    return "\n".join([*parts, make_details(one)])


def make(results):
    """The page as text."""
    names = ["bars"] * bool(make_bars(results)) + list(results["scenarios"])
    links = "".join(f'<a href="#{escape(name)}">{escape(name)}</a> ' for name in names)
    sections = "\n".join(make_scenario(results, name, one)
                         for name, one in results["scenarios"].items())
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>lb4: benchmark</title><style>{STYLE}</style></head><body>\n"
            f"{make_head(results)}\n<nav>{links}</nav>\n{make_bars(results)}\n{sections}\n"
            "</body></html>\n")
