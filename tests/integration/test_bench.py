"""scripts/bench: its arithmetic, its verdicts, its files, and one tiny run. Nothing here asks how
fast anything is."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

import pytest

import daemon
import namespace
import servers

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from benchmark import bars, cpu, drivers, memory, options, page, peers, plot, processes
from benchmark import results, rounds, runner, scenarios, syscalls, terminal

TOOLS = pathlib.Path(os.environ.get("LB4", ROOT / "build/release/lb4")).parent / "tests/tools"
RUN_LIMIT_S = 60
PLACE = peers.Place("/tmp", 2)


# --- medians, noise and ties

@pytest.mark.parametrize("n, kept", [(1, (0, 0)), (2, (0, 1)), (3, (0, 2)), (5, (0, 4)),
                                     (6, (0, 5)), (7, (1, 5)), (9, (1, 7)), (11, (2, 8))])
def test_interval_has_the_median_with_its_chance(n, kept):
    """By the binomial distribution: of 7, all but the two extremes have 87.5 %; of 9, the middle
    five would have 82 %, which is too little."""
    assert rounds.interval(list(range(n))[::-1]) == kept


def test_a_difference_under_the_noise_is_a_tie():
    assert rounds.is_tie([0.97, 1.02, 1.01])
    assert not rounds.is_tie([1.01, 1.02, 1.03])
    assert not rounds.is_tie([0.5, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07]), "one round is no noise"


@pytest.mark.parametrize("values, relation, limit, verdict", [
    ([0.7, 0.8, 0.9], "<=", 0.8, rounds.HELD),
    ([0.79, 0.81, 0.9], "<=", 0.8, rounds.TIE),
    ([0.81, 0.82, 0.9], "<=", 0.8, rounds.MISSED),
    ([1.0, 1.05, 1.1], ">=", 1.05, rounds.HELD),
    ([1.0, 1.04, 1.06], ">=", 1.05, rounds.TIE),
    ([1.0, 1.01, 1.02], ">=", 1.05, rounds.MISSED),
    ([0.0, 0.0, 0.0], "<=", 0, rounds.HELD),
])
def test_judge(values, relation, limit, verdict):
    assert rounds.judge(values, relation, limit) == verdict


def test_ratios_are_those_of_each_round():
    assert rounds.ratios([2, 3, 4], [1, 3, 8]) == [2, 1, 0.5]
    assert rounds.ratios([1, 2], [0, 1]) is None
    assert rounds.values_of([{"rate": 1}, {}], "rate") is None


# --- bars

def in_rounds(figure, *values):
    return [{figure: value, "errors": 0} for value in values]


def test_a_bar_compares_with_the_best_peer_of_the_same_rounds():
    found = {"crr": {"lb4": in_rounds("proxy_us", 60, 90, 61),
                     "haproxy": in_rounds("proxy_us", 80, 120, 81),
                     "pen": in_rounds("proxy_us", 62, 91, 63),
                     "direct": in_rounds("proxy_us", 0, 0, 0)}}
    bar = bars.Bar("crr", "proxy_us", "<=", 0.98, bars.BEST)
    verdict = bars.judge(bar, found, ["haproxy", "pen"])
    assert (verdict.reference, verdict.verdict) == ("pen", rounds.HELD)
    assert (verdict.ours, verdict.theirs) == (61, 63)
    assert verdict.ratio == pytest.approx(61 / 63)
    strict = bars.Bar("crr", "proxy_us", "<=", 0.5, bars.BEST)
    assert bars.judge(strict, found, ["haproxy", "pen"]).verdict == rounds.MISSED
    other = bars.Bar("crr", "proxy_us", "<=", 0.98, "nginx")
    assert bars.judge(other, found, ["haproxy"]).verdict == bars.NOT_RUN
    rates = {"crr": {"lb4": in_rounds("rate", 10), "haproxy": in_rounds("rate", 8),
                     "pen": in_rounds("rate", 9), "direct": in_rounds("rate", 20)}}
    most = bars.judge(bars.Bar("crr", "rate", ">=", 1.05, bars.BEST), rates, ["haproxy", "pen"])
    assert (most.reference, most.verdict) == ("pen", rounds.HELD)


def test_a_bar_on_its_own_and_beside_another_scenario():
    found = {"servers-1": {"lb4": in_rounds("proxy_us", 50, 60, 70)},
             "servers-1000": {"lb4": in_rounds("proxy_us", 52, 61, 72)},
             "idle": {"lb4": in_rounds("bytes_each", 350, 351, 352)}}
    than = bars.judge(bars.Bar("servers-1000", "proxy_us", "<=", 1.05, than="servers-1"), found, [])
    assert (than.verdict, than.theirs) == (rounds.HELD, 60)
    own = bars.judge(bars.Bar("idle", "bytes_each", "<=", 350), found, [])
    assert (own.verdict, own.ours, own.ratio) == (rounds.TIE, 351, None)


def test_bars_name_scenarios_figures_and_peers_that_exist():
    known = peers.make_all("lb4")
    for bar in bars.BARS:
        scenario = scenarios.SCENARIOS[bar.scenario]
        assert bar.figure in (*scenario.columns, "errors"), bar
        assert not bar.than or scenarios.SCENARIOS[bar.than].together == scenario.together, bar
        assert bar.peer in ("", bars.BEST) or not known[bar.peer].lacks(scenario), bar


# --- scenarios and contestants

def test_choosing():
    def names(*patterns):
        return [one.name for one in scenarios.choose(patterns)]
    assert names("crr", "pingpong-1") == ["pingpong-1", "crr"]
    assert names("bulk-up-*")[:3] == ["bulk-up-1", "bulk-up-2", "bulk-up-16"]
    assert "udp-overload" in names("udp") and "servers-1000-source" not in names("servers")
    with pytest.raises(ValueError, match="no scenario 'nonsense'"):
        names("nonsense")
    batches = scenarios.batches(scenarios.choose(["servers-1", "crr", "servers-1000"]))
    assert [[one.name for one in batch] for batch in batches] == [["crr"],
                                                                  ["servers-1", "servers-1000"]]


def test_everybody_has_a_configuration_or_a_reason_for_each_scenario():
    for scenario in scenarios.SCENARIOS.values():
        for peer in peers.make_all("/usr/bin/lb4", "/usr/bin/other").values():
            shown = peer.shown(scenario, PLACE)
            assert peer.lacks(scenario) or peer.name == "direct" or "127.0.0.1" in shown
            assert "CONFIG" not in peer.text(scenario, PLACE)


def test_lb4_takes_its_configurations(binary, tmp_path):
    for name in ("crr", "udp-pingpong", "servers-1000-checked", "servers-1000-source",
                 "ports-10000"):
        path = tmp_path / name
        path.write_text(peers.Lb4("lb4", binary).text(scenarios.SCENARIOS[name], PLACE))
        subprocess.run([binary, "-t", "-c", path], check=True, timeout=RUN_LIMIT_S)


def test_command_line():
    parsed = options.parse(["--quick", "--only", "crr,idle", "--peers", "lb4,direct"])
    assert [one.name for one in parsed.scenarios] == ["crr", "idle"]
    assert [one.name for one in parsed.contestants] == ["lb4", "direct"]
    assert (parsed.seconds, parsed.rounds) == (1, 3)
    with_bars = options.parse(["--bars"]).scenarios
    assert {one.name for one in with_bars} == set(bars.scenario_names())
    assert "crr@1" in [one.name for one in options.parse(["--only", "crr", "--pin"]).scenarios]
    with pytest.raises(SystemExit):
        options.parse(["--peers", "nobody"])


# --- what other programs say

def test_reading_pgbench():
    text = """scaling factor: 1
number of transactions actually processed: 2000
number of failed transactions: 3 (0.150%)
latency average = 0.5 ms
tps = 1000.0 (without initial connection time)
"""
    outcome = drivers.read_pgbench(text, [100.0] * 99 + [900.0])
    assert (outcome.units, outcome.rate, outcome.errors) == (2000, 1000, 3)
    assert (outcome.p50_us, outcome.p99_us) == (100, 100)


def test_who_lets_nothing_through_has_no_figures():
    spent = {"proxy": 1.0, "server": 1.0, "load": 0.5, "kernel": 0.5, "machine": 3.0}
    with pytest.raises(processes.Failure, match="nothing came through, 7 errors"):
        drivers.make_figures(scenarios.SCENARIOS["crr"], drivers.Outcome(0, 1, 7), spent, 1)
    figures = drivers.make_figures(scenarios.SCENARIOS["bulk-up-1"], drivers.Outcome(2e9, 2, 0),
                                   {**spent, "machine": 3.5}, 2)
    assert figures == {"throughput": 8, "proxy_s_per_gb": 0.5, "system_s_per_gb": 1.5, "errors": 0,
                       "strangers": 0.25}


def test_reading_strace():
    table = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000600           1       600           sendto
 40.00    0.000400           1       400        20 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000           1      1000        20 total
"""
    assert syscalls.read_summary(table) == {"sendto": 600, "recvfrom": 400}


# --- files and pages

def a_run(*rates):
    """Results as a run leaves them: of lb4 with these rates, and of two others."""
    def figures(rate, cpu):
        return [{"rate": value * rate, "p50_us": 10.0, "p99_us": 20.0, "proxy_us": cpu,
                 "system_us": 2 * cpu, "errors": 0, "strangers": 0.2} for value in rates]
    record = runner.Record({"lb4": figures(1.0, 50.0), "haproxy": figures(0.9, 70.0),
                            "direct": figures(2.0, 0.0)}, {"pen": "is <away> & gone"},
                           {"lb4": "service <bench> {\n", "direct": ""},
                           {"lb4": {"sendto": 2.0}, "haproxy": {}})
    runner.add_calls(record)
    found = {"format": results.FORMAT, "machine": {"kernel": "Linux <6>", "date": "today"},
             "run": {"rounds": len(rates), "seconds": 1.0, "warm_up": 0.2}, "scenarios": {},
             "peers": {name: {"kind": kind, "note": "", "version": ""} for name, kind in
                       (("lb4", "lb4"), ("haproxy", "peer"), ("direct", "limit"))}}
    results.add(found, scenarios.SCENARIOS["crr"], record)
    return found


def test_json_comes_back_and_is_compared(tmp_path):
    before, after = a_run(100, 101, 102), a_run(120, 121, 122)
    results.save(before, tmp_path / "before")
    assert results.load(tmp_path / "before") == before
    changes = {(one.contestant, one.figure): one for one in results.compare(before, after)}
    rate = changes["lb4", "rate"]
    assert (rate.before, rate.after, rate.verdict) == (101, 121, "better")
    assert changes["lb4", "proxy_us"].verdict == rounds.TIE
    assert {one.verdict for one in results.compare(after, before)} == {"worse", rounds.TIE}
    assert "better" in terminal.changes_text(list(changes.values()))
    (tmp_path / "other").write_text("[]")
    with pytest.raises(ValueError, match="not a result"):
        results.load(tmp_path / "other")


def test_tables_tell_of_strangers_ties_and_those_left_out():
    found = a_run(100, 101, 102)
    one = found["scenarios"]["crr"]
    text = terminal.scenario_text("crr", one, found["run"])
    row = next(line.split() for line in text.splitlines() if line.startswith("haproxy"))
    assert row[:5] == ["haproxy", "91", "0.90", "10", "~1.00"] and row[-1] == "disturbed"
    assert "left out: pen, is <away> & gone" in text
    verdicts = bars.judge_all(results.rounds_of(found), results.peer_names(found))
    told = terminal.bars_text(verdicts)
    assert "crr: CPU of the proxy <= 0.88 of haproxy" in told and "1 missed" not in told


def test_the_report_is_well_formed_and_needs_no_network():
    text = page.make(a_run(100, 101, 102))
    body = text.partition("<body>")[2].partition("</body>")[0]
    root = xml.etree.ElementTree.fromstring(
        "<body>" + body.replace("<p class=dim>", '<p class="dim">').replace("id=bars", 'id="bars"')
        + "</body>")
    assert len(root.findall(".//svg")) == 6, "a chart for each column"
    assert len(root.findall(".//svg[1]/rect")) >= 3
    assert "<away>" not in text and "&lt;away&gt; &amp; gone" in text
    assert not any(word in text for word in ("http://", "https://", "<script", "<link", "url("))


@pytest.mark.parametrize("value, top", [(0, 1), (0.004, 0.004), (0.73, 0.8), (1, 1), (7, 8),
                                        (62300, 80000), (1163000, 1500000)])
def test_charts_end_at_a_round_number(value, top):
    assert plot.nice_maximum(value) == pytest.approx(top)


# --- what programs take

BUSY = "from time import process_time as now\nwhile now() < 0.2: pass"


@pytest.mark.parametrize("has_groups", [True, False])
def test_accounts_count_what_has_ended(monkeypatch, has_groups):
    """A control group where there is one, else what was waited for."""
    if not has_groups:
        monkeypatch.setattr(cpu, "mounts", lambda *_: [])
    with cpu.Ledger() as ledger:
        before = ledger.read()
        processes.run([sys.executable, "-c", BUSY], ledger.accounts["load"], RUN_LIMIT_S)
        spent = drivers.spent_between(before, ledger.read())
        assert has_groups or ledger.method == "/proc/PID/stat"
    assert 0.185 <= spent["load"], spent  # as a sum of ticks it may be a hair under 0.19
    assert spent["proxy"] == spent["server"] == 0


def test_memory_counts_pipes_and_descriptors():
    before = memory.read(os.getpid())
    ends = os.pipe()
    after = memory.read(os.getpid())
    for end in ends:
        os.close(end)
    assert (after.n_descriptors - before.n_descriptors, after.n_pipes - before.n_pipes) == (2, 1)
    assert after.rss_bytes > 1 << 20


# --- a run

pytestmark = pytest.mark.skipif(daemon.IS_SANITIZED, reason="the benchmark is the same in any build")
needs_root = pytest.mark.skipif(not daemon.can_change_uid(), reason="needs root")


def start(directory, *options):
    command = [sys.executable, "-B", "-m", "benchmark", "--quick", "--rounds", "2", "--no-trace",
               "--load", TOOLS / "load", "--datagrams", TOOLS / "datagrams", "--json",
               directory / "json", "--html", directory / "html", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"),
                                 "TMPDIR": str(directory)})


def call(directory, *options):
    process = start(directory, "--seconds", "0.2", *options)
    out, errors = process.communicate(timeout=RUN_LIMIT_S)
    return process.returncode, out, errors


@pytest.fixture
def folder():
    """One that an unprivileged user may enter."""
    with tempfile.TemporaryDirectory(prefix="lb4-bench-test-", dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


@needs_root
@pytest.mark.skipif(not namespace.has_nft(), reason="needs nft")
def test_a_tiny_run(binary, folder):
    """Real namespaces, accounts and processes: lb4, the kernel and nobody, at two scenarios."""
    code, out, errors = call(folder, "--lb4", binary, "--only", "pingpong-1,udp-pingpong",
                             "--peers", "lb4,nft-dnat,direct")
    assert code == 0, errors
    found = json.loads((folder / "json").read_text())
    for name in ("pingpong-1", "udp-pingpong"):
        one = found["scenarios"][name]["rounds"]
        assert [len(one[name]) for name in ("lb4", "nft-dnat", "direct")] == [2, 2, 2], out
        for figures in one["lb4"]:
            assert figures["rate"] > 0 and figures["errors"] == 0
            assert 0 < figures["proxy_us"] < figures["system_us"]
        assert all(figures["proxy_us"] == 0 for figures in one["direct"] + one["nft-dnat"])
        assert all(figures["rate"] > 0 for figures in one["nft-dnat"])
    assert "4/12 " in errors, "progress"
    assert "<svg" in (folder / "html").read_text()
    assert sorted(os.listdir(folder)) == ["html", "json"]


@needs_root
def test_who_does_not_start_is_left_out_and_told_of(folder):
    code, _, errors = call(folder, "--lb4", "/bin/false", "--only", "pingpong-1", "--peers",
                           "lb4,direct")
    assert code == 1 and "not everywhere measured: lb4" in errors, errors
    one = json.loads((folder / "json").read_text())["scenarios"]["pingpong-1"]
    assert "exited with 1 before it listened" in one["left_out"]["lb4"]
    assert len(one["rounds"]["direct"]) == 2 and "lb4" not in one["rounds"]


def commands_with(text):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            line = pathlib.Path("/proc", pid, "cmdline").read_bytes().decode(errors="replace")
            found += [line] if text in line else []
    return found


@needs_root
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_runs_on_when_it_is_stopped(binary, folder, number):
    """The proxy is known by its folder, the load tool by its name, in a copy of the test's."""
    load = str(shutil.copy(TOOLS / "load", folder / "load-of-the-test"))
    process = start(folder, "--lb4", binary, "--only", "pingpong-1", "--peers", "lb4", "--seconds",
                    "30", "--load", load)
    with process.stdout, process.stderr, contextlib.ExitStack() as stack:
        stack.callback(process.kill)
        servers.wait_until(lambda: len(commands_with(str(folder) + "/lb4-bench-")) == 1 and
                           len(commands_with(load)) == 3, RUN_LIMIT_S, "proxy, server and clients")
        process.send_signal(number)
        assert process.wait(RUN_LIMIT_S) != 0
        servers.wait_until(lambda: not commands_with(str(folder)), RUN_LIMIT_S, "all have ended")
    assert number == signal.SIGKILL or os.listdir(folder) == ["load-of-the-test"]
    with cpu.Ledger():
        assert f"lb4-bench-{process.pid}-" not in " ".join(
            name for kind in ("cgroup", "cgroup2") for path in cpu.mounts(kind)
            for name in os.listdir(path))
