"""Rounds. A measurement is one fresh proxy, a warm-up, and one timed run of clients. Rounds are
interleaved (A B C, B C A, ...), so that whatever else the machine does hits all alike. A contestant
that fails is left out of the scenario, with its reason."""

import contextlib
import dataclasses
import os
import statistics
import sys
import time

import benchmark.backends as backends
import benchmark.drivers as drivers
import benchmark.peers as peers
import benchmark.processes as processes
import benchmark.space as space
import benchmark.syscalls as syscalls

OVERLOAD = 4  # times what is served when each question waits for its answer


@dataclasses.dataclass
class Record:
    """Of one scenario."""

    rounds: dict  # {contestant: [figures]}
    left_out: dict  # {contestant: reason}
    configs: dict  # {contestant: text}
    calls: dict  # {contestant: {system call: per unit}}


# --- one contestant -------------------------------------------------------------------------------


def place_of(bench, scenario):
    return peers.Place(bench.folder, 1 if scenario.is_pinned else len(os.sched_getaffinity(0)))


def is_ready(peer, scenario, place):
    if scenario.transport == "udp":
        return processes.count_bound(scenario.ports[-1]) >= peer.n_sockets(place)
    return processes.accepts(scenario.ports[-1])


@contextlib.contextmanager
def ruled(bench, peer, scenario, place):
    """The kernel does it, or nobody."""
    words = peer.write_and_command(scenario, place)
    load = bench.ledger.accounts["load"]
    if words:
        processes.run(words, load, 10, env=environment())
    try:
        yield None
    finally:
        if words:
            processes.run(peer.undo, load, 10, env=environment())


def environment():
    return {**os.environ, "PATH": peers.PATH}


@contextlib.contextmanager
def running(bench, peer, scenario):
    """Its process, ready; None where nothing runs."""
    place = place_of(bench, scenario)
    if peer.kind == "limit":
        with ruled(bench, peer, scenario, place) as nothing:
            yield nothing
        return
    path = os.path.join(bench.folder, peer.name + ".log")
    with open(path, "w+", encoding="utf-8", errors="replace") as log:
        process = processes.start(
            peer.write_and_command(scenario, place), bench.ledger.accounts["proxy"],
            unprivileged=True, n_files=scenario.n_files,
            cpus={min(os.sched_getaffinity(0))} if scenario.is_pinned else None, stdout=log,
            stderr=log, cwd=bench.folder, env=environment())
        try:
            processes.wait_until(process, lambda: is_ready(peer, scenario, place), "it listened")
            yield process
        except processes.Failure as failure:
            log.seek(0)
            said = " / ".join(log.read().strip().splitlines()[-2:])
            raise processes.Failure(f"{failure} {said[-300:]}".strip()) from None
        finally:
            processes.stop(process)


def measure(bench, peer, scenario, rate=0):
    with running(bench, peer, scenario) as process:
        rig = drivers.Rig(bench, scenario, peer.port(scenario), process, rate)
        return drivers.measure(rig)


def count_calls(bench, peer, scenario, rate=0):
    with running(bench, peer, scenario) as process:
        return syscalls.count(drivers.Rig(bench, scenario, peer.port(scenario), process, rate))


# --- scenarios that share their rounds ------------------------------------------------------------


def overload_rate(bench, contestants, scenario):
    """What an overload sends: a multiple of what nginx serves now, or else the first."""
    if scenario.load != "flood":
        return 0
    asked = dataclasses.replace(scenario, load="pingpong")
    usual = [peer for peer in contestants if peer.name == "nginx"] or contestants[:1]
    return int(OVERLOAD * measure(bench, usual[0], asked)["rate"])


class Batch:
    """@watch is told of every step: step(scenario, peer, what)."""

    def __init__(self, bench, scenarios, contestants, watch):
        self.bench, self.scenarios, self.watch = bench, scenarios, watch
        self.contestants = contestants
        self.records = {one.name: Record({}, {}, {}, {}) for one in scenarios}
        self.turns = []
        for scenario in scenarios:
            for peer in contestants:
                self.take_in(scenario, peer)

    def take_in(self, scenario, peer):
        record, reason = self.records[scenario.name], peer.why_not(scenario)
        if reason:
            record.left_out[peer.name] = reason
            return
        place = place_of(self.bench, scenario)
        record.configs[peer.name] = peer.shown(scenario, place)
        record.rounds[peer.name] = []
        self.turns.append((scenario, peer))

    @contextlib.contextmanager
    def spaces(self):
        """The namespace, with the servers in it, and one more for those who need to be apart. All
        scenarios of a batch share them: they differ in nothing that the servers would see, but for
        their number."""
        most = max(self.scenarios, key=lambda one: (one.n_servers, one.n_ports))
        with contextlib.ExitStack() as stack:
            found = {}
            for is_apart in sorted({peer.is_apart for _, peer in self.turns}):
                found[is_apart] = stack.enter_context(space.enter(most.first_ephemeral))
                stack.enter_context(backends.BACKENDS[most.backend](
                    self.bench, most, processes.make_folder(self.bench.folder)))
            yield found

    def run(self):
        try:
            with self.spaces() as self.namespaces:
                for i in range(self.bench.rounds):
                    self.run_round(i)
                self.run_traced()
        except processes.Failure as failure:
            for scenario, peer in list(self.turns):
                self.leave_out(scenario, peer, str(failure))
        for record in self.records.values():
            add_calls(record)
        return self.records

    def run_round(self, number):
        shift = number % max(len(self.turns), 1)
        rates = {}
        for scenario, peer in self.turns[shift:] + self.turns[:shift]:
            space.return_to(self.namespaces[peer.is_apart])
            self.watch(scenario, peer, f"round {number + 1} of {self.bench.rounds}")
            try:
                if scenario.name not in rates:
                    rates[scenario.name] = overload_rate(self.bench, self.contestants, scenario)
                self.records[scenario.name].rounds[peer.name].append(
                    measure(self.bench, peer, scenario, rates[scenario.name]))
            except processes.Failure as failure:
                self.leave_out(scenario, peer, str(failure))

    def leave_out(self, scenario, peer, reason):
        record = self.records[scenario.name]
        record.left_out[peer.name] = reason
        record.rounds.pop(peer.name, None)
        self.turns.remove((scenario, peer))

    def run_traced(self):
        for scenario, peer in self.turns:
            if not self.bench.traces or peer.kind == "limit" or scenario.driver == "idle":
                continue
            space.return_to(self.namespaces[peer.is_apart])
            self.watch(scenario, peer, "system calls")
            with contextlib.suppress(processes.Failure):
                rounds = self.records[scenario.name].rounds[peer.name]
                rate = int(statistics.median(one.get("rate", 0) for one in rounds))
                self.records[scenario.name].calls[peer.name] = count_calls(
                    self.bench, peer, scenario, rate if scenario.load == "flood" else 0)


def add_calls(record):
    """The count is one for all rounds."""
    for name, calls in record.calls.items():
        for figures in record.rounds.get(name, []) if calls else ():
            figures["syscalls"] = figures["syscalls_per_mb"] = sum(calls.values())


# --- what people see while it runs ----------------------------------------------------------------


class Progress:
    """A line for each step on stderr: in place on a terminal. What is left is told from what the
    steps so far have taken, and what they were expected to take."""

    def __init__(self, n_steps):
        self.n_steps, self.n_done = n_steps, 0
        self.began = time.monotonic()
        self.is_terminal = sys.stderr.isatty()

    def __call__(self, scenario, peer, what):
        passed = time.monotonic() - self.began
        left = passed / self.n_done * (self.n_steps - self.n_done) if self.n_done else None
        told = "" if left is None else f", {as_time(left)} left"
        line = f"{self.n_done + 1}/{self.n_steps} {scenario.name}, {what}: {peer.name}{told}"
        self.n_done += 1
        sys.stderr.write(f"\r\x1b[K{line}" if self.is_terminal else f"{line}\n")
        sys.stderr.flush()

    def clear(self):
        if self.is_terminal:
            sys.stderr.write("\r\x1b[K")

    def skip_to(self, n_done):
        """Contestants that were left out on the way take no more steps."""
        self.n_done = n_done


def as_time(seconds):
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def n_steps(bench, batch):
    traced = sum(peer.kind != "limit" and scenario.driver != "idle"
                 for scenario, peer in batch.turns) if bench.traces else 0
    return len(batch.turns) * bench.rounds + traced


def run(bench, batches, contestants, on_done):
    """on_done(scenario, record) as soon as a scenario's rounds are through."""
    watch = []
    todo = [Batch(bench, scenarios, contestants, lambda *step: watch[0](*step))
            for scenarios in batches]
    sizes = [n_steps(bench, batch) for batch in todo]
    watch.append(Progress(sum(sizes)))
    for i, batch in enumerate(todo):
        records = batch.run()
        watch[0].skip_to(sum(sizes[:i + 1]))
        watch[0].clear()
        for scenario in batch.scenarios:
            on_done(scenario, records[scenario.name])
