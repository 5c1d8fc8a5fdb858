"""The clients. A driver measures one contestant once: figures by name (see `figures`).

Clients warm the proxy up; then the clocks are read, before and after the timed run. CPU of the
system is that of proxy, servers and clients together, and of the kernel's threads for network work;
`strangers` is the rest of what the machine counts as busy: other programs, and a little kernel work
that is nobody's.
"""

import csv
import dataclasses
import glob
import json
import os
import statistics
import subprocess
import time

import benchmark.memory as memory
import benchmark.processes as processes
from benchmark.backends import PG_BIN

GB, MB = 1e9, 1e6
IDLE_S = 2.0
PATIENCE_S = 60


@dataclasses.dataclass
class Rig:
    """What one measurement has at hand. @port is where clients connect; @process is None where
    nothing runs; @rate is what the overload sends, in datagrams per second."""

    bench: object
    scenario: object
    port: int
    process: object
    rate: int = 0
    seen_rate: float = 0  # of the run before; for clients that are told a number of requests

    @property
    def load(self):
        return self.bench.ledger.accounts["load"]


@dataclasses.dataclass
class Outcome:
    """What clients say of a run."""

    units: float
    seconds: float
    errors: int
    p50_us: float = 0
    p99_us: float = 0
    loss: float = 0
    sent_rate: float = 0  # of datagrams

    @property
    def rate(self):
        return self.units / self.seconds if self.seconds else 0


# --- one run of clients ---------------------------------------------------------------------------


def outcome_of(result, **more):
    return Outcome(result["units"], result["seconds"], result["errors"], result["p50_us"],
                   result["p99_us"], **more)


def run_tcp(rig, seconds):
    scenario = rig.scenario
    out = processes.run([rig.bench.load, "run", scenario.load, f"127.0.0.1:{rig.port}", "-n",
                         scenario.connections, "-t", seconds, "-b", scenario.size], rig.load,
                        seconds + PATIENCE_S, check=False)
    return outcome_of(json.loads(out))


def run_udp(rig, seconds):
    scenario = rig.scenario
    rate = rig.rate or scenario.rate
    out = processes.run([rig.bench.datagrams, scenario.load, f"127.0.0.1:{rig.port}",
                         scenario.servers[0], "-n", scenario.connections, "-b", scenario.size, "-t",
                         seconds, *(["-r", rate] if rate else [])], rig.load, seconds + PATIENCE_S,
                        check=False)
    result = json.loads(out)
    lost = (result["errors"] if scenario.load == "pingpong"
            else max(0, result["sent"] - result["units"]))
    return outcome_of(result, loss=lost / max(result["sent"], 1),
                      sent_rate=result["sent"] / result["seconds"])


def run_redis(rig, seconds):
    """So many requests as take about so long, going by the run before."""
    count = max(int((rig.seen_rate or 20000) * seconds), 2000)
    out = processes.run(["redis-benchmark", "-h", "127.0.0.1", "-p", rig.port, "-n", count, "--csv",
                         *rig.scenario.words], rig.load, 10 * seconds + PATIENCE_S)
    row = list(csv.DictReader(line for line in out.splitlines() if line.startswith('"')))[-1]
    rate = float(row["rps"])
    return Outcome(count, count / rate, 0, 1e3 * float(row["p50_latency_ms"]),
                   1e3 * float(row["p99_latency_ms"]))


def run_pgbench(rig, seconds):
    """Its seconds are whole ones. Latencies from its log of every tenth transaction."""
    prefix = os.path.join(rig.bench.folder, "transactions")
    for path in glob.glob(prefix + "*"):
        os.unlink(path)
    out = processes.run([f"{PG_BIN}/pgbench", "-n", "-T", max(1, round(seconds)), "-l",
                         "--sampling-rate=0.1", f"--log-prefix={prefix}", *rig.scenario.words,
                         "-h", "127.0.0.1", "-p", rig.port, "-U", "postgres", "postgres"], rig.load,
                        seconds + PATIENCE_S)
    return read_pgbench(out, read_latencies(prefix))


def read_latencies(prefix):
    found = []
    for path in glob.glob(prefix + "*"):
        with open(path, encoding="ascii") as file:
            found += [float(line.split()[2]) for line in file]
    return sorted(found) or [0.0]


def read_pgbench(text, latencies):
    """`tps = 123.4 (without initial connection time)`, or (including reconnection times)."""
    words = {line.partition(sep)[0].strip(): line.partition(sep)[2].split()[0]
             for line in text.splitlines() for sep in (":", "=") if line.partition(sep)[2].split()}
    units = float(words["number of transactions actually processed"].partition("/")[0])
    return Outcome(units, units / float(words["tps"]),
                   int(float(words.get("number of failed transactions", "0"))),
                   statistics.median(latencies), latencies[int(0.99 * (len(latencies) - 1))])


RUNS = {"tcp": run_tcp, "crowd": run_tcp, "udp": run_udp, "redis": run_redis,
        "pgbench": run_pgbench}


# --- figures --------------------------------------------------------------------------------------


def spent_between(before, after):
    return {name: after[name] - before[name] for name in after}


def system_s(spent):
    return sum(spent[name] for name in ("proxy", "server", "load", "kernel"))


def make_figures(scenario, outcome, spent, took):
    if not outcome.units:
        raise processes.Failure(f"nothing came through, {outcome.errors} errors")
    proxy = spent["proxy"]
    system = system_s(spent)
    units = outcome.units
    found = {"errors": outcome.errors, "strangers": max(spent["machine"] - system, 0) / took}
    if scenario.is_stream:
        return {**found, "throughput": outcome.rate * 8 / GB, "proxy_s_per_gb": proxy * GB / units,
                "system_s_per_gb": system * GB / units}
    return {**found, "rate": outcome.rate, "p50_us": outcome.p50_us, "p99_us": outcome.p99_us,
            "loss_percent": 100 * outcome.loss, "sent": outcome.sent_rate,
            "proxy_us": proxy * 1e6 / units,
            "system_us": system * 1e6 / units}


def measure_timed(rig):
    run = RUNS[rig.scenario.driver]
    rig.seen_rate = run(rig, rig.bench.warm_up).rate
    before, began = rig.bench.ledger.read(), time.monotonic()
    outcome = run(rig, rig.bench.seconds)
    after, took = rig.bench.ledger.read(), time.monotonic() - began
    return make_figures(rig.scenario, outcome, spent_between(before, after), took)


# --- connections that are held ------------------------------------------------------------------


class Holder:
    """Opens connections, each with an exchange, holds them for @seconds, and asks once more of
    each. As a context: held from the start; after the end, `n_lost` says how many did not live."""

    def __init__(self, rig, count, seconds):
        self.count, self.n_lost = count, None
        words = [rig.bench.load, "run", "idle", f"127.0.0.1:{rig.port}", "-n", count, "-t", seconds]
        self.limit_s = seconds + PATIENCE_S
        self.process = processes.start(words, rig.load, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        line = self.process.stderr.readline()
        if line != f"holding {self.count}\n":
            processes.stop(self.process)
            raise processes.Failure(f"of {self.count} connections: {line.strip() or 'none'}")
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                out, _ = self.process.communicate(timeout=self.limit_s)
                self.n_lost = self.count - json.loads(out)["units"]
        except subprocess.TimeoutExpired:
            raise processes.Failure("clients that hold connections do not end") from None
        finally:
            processes.stop(self.process)
            self.process.stdout.close()
            self.process.stderr.close()


def measure_idle(rig):
    pid = rig.process.pid
    start = memory.read(pid)
    with Holder(rig, rig.scenario.connections, IDLE_S + 2) as holder:
        held = memory.read(pid)
        before, began = rig.bench.ledger.read(), time.monotonic()
        time.sleep(IDLE_S)
        spent = spent_between(before, rig.bench.ledger.read())
        took = time.monotonic() - began
    count = rig.scenario.connections
    return {"start_kib": start.rss_bytes / 1024,
            "bytes_each": (held.rss_bytes - start.rss_bytes) / count,
            "descriptors_each": (held.n_descriptors - start.n_descriptors) / count,
            "pipes_each": (held.n_pipes - start.n_pipes) / count,
            "idle_percent": 100 * spent["proxy"] / took, "errors": holder.n_lost,
            "strangers": max(spent["machine"] - system_s(spent), 0) / took}


def measure_crowd(rig):
    """Ping-pong beside connections that are served before and after it."""
    if not rig.scenario.held:
        return measure_timed(rig)
    with Holder(rig, rig.scenario.held, rig.bench.warm_up + rig.bench.seconds + 1) as holder:
        found = measure_timed(rig)
    found["errors"] += holder.n_lost
    return found


def measure(rig):
    drivers = {"idle": measure_idle, "crowd": measure_crowd}
    return drivers.get(rig.scenario.driver, measure_timed)(rig)
