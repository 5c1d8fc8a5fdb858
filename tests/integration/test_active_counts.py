"""The counters of active connections are what the kernel has, whatever ended the connections: each
second under a mixture of refusals, silence, resets and time-outs; and 0 at the end."""
import collections
import contextlib
import random
import shutil
import subprocess
import threading

import pytest

import drill
import namespace
import servers

N_CLIENTS = 100_000 if drill.IS_FULL else 2_400
PER_S = 800 if drill.IS_FULL else 400
CONNECT_S = 0.5
IDLE_S = 1.5
N_LOOKS = 4  # in each pause
TRIES = 25  # looks that may find the kernel in motion
KINDS = ["fin"] * 6 + ["rst"] * 2 + ["early_rst", "server_rst", "silent"]

pytestmark = pytest.mark.skipif(not shutil.which("ss") or not namespace.has_nft(),
                                reason="ss or nft is not installed")


def kernel_counts(pool):
    """Sockets towards each server, by name and state. They are lb4's, as nobody else connects to
    servers; those without an inode belong to no process any more."""
    text = subprocess.run(["ss", "-tneH", "state", "connected"], capture_output=True, text=True,
                          check=True).stdout
    by_port = {server.port: server.name for server in pool}
    states = collections.Counter()
    for line in text.splitlines():
        words = line.split()
        name = by_port.get(int(words[4].rsplit(":", 1)[1]))
        if name and " ino:" in line and " ino:0 " not in line:
            states[name, words[0]] += 1
    return states


def compare(lb4, pool):
    """One comparison: the kernel's sockets before and after the counters. None if these differ."""
    before = kernel_counts(pool)
    totals = lb4.totals()
    if kernel_counts(pool) != before:
        return None
    counted = {server.name: totals["server", f"web/{server.name}"]["active"] for server in pool}
    held = {server.name: sum(n for (name, _), n in before.items() if name == server.name)
            for server in pool}
    return counted, held, sum(n for (_, state), n in before.items() if state == "SYN-SENT")


class Comparison:
    """What was seen over all pauses."""

    def __init__(self):
        self.n_equal = 0
        self.n_moving = 0
        self.n_connecting = 0  # sockets seen that were still connecting
        self.most = 0

    def look(self, lb4, pool):
        """Within a pause. A difference must not last: a worker may be between two counters."""
        n_seen = n_unequal = 0
        for _ in range(TRIES):
            found = compare(lb4, pool)
            if not found:
                self.n_moving += 1
                continue
            counted, held, n_connecting = found
            if counted != held:
                n_unequal += 1
                assert n_unequal < 5, f"lb4 says {counted}, the kernel {held}"
                continue
            self.n_connecting += n_connecting
            self.most = max(self.most, sum(held.values()))
            n_seen += 1
            if n_seen == N_LOOKS:
                break
        self.n_equal += n_seen  # 0 where the kernel was never at rest; their sum must be enough


class Trouble:
    """Makes one server after the other silent, and kills and restarts them, until the end of the
    block; always one is left."""

    def __init__(self, pool, chance):
        self.pool = pool
        self.chance = chance
        self.is_over = threading.Event()
        self.problem = None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        try:
            while not self.is_over.is_set():
                silent, dead, _ = self.chance.sample(self.pool, 3)
                with namespace.filtered_port("held", silent.port):
                    dead.kill()
                    self.is_over.wait(self.chance.uniform(0.3, 1.2))
                    dead.start()
                self.is_over.wait(self.chance.uniform(0.1, 0.6))
        except (OSError, AssertionError, subprocess.SubprocessError) as problem:
            self.problem = problem

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()


@pytest.fixture
def pool():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(servers.ServerProcess(f"s{i}")) for i in (1, 2, 3, 4)]


def run_clients(lb4, pool, script):
    seen = Comparison()
    chance = random.Random(4)
    with drill.Drill(drill.LISTEN, PER_S, script) as clients, Trouble(pool, chance) as trouble:
        while len(clients.records) < N_CLIENTS:
            clients.wait_records(len(clients.records) + PER_S)
            clients.pause(waits=False)
            seen.look(lb4, pool)
            clients.resume()
    assert not trouble.problem, trouble.problem
    return clients, seen


@pytest.mark.parametrize("policy", ["leastconn", "roundrobin"])
def test_counters_are_what_the_kernel_has(start_lb4, pool, policy):
    """Probes go to a port of their own, that always answers: suspects are cleared at once and
    clients meet the trouble again, and every socket towards a server's port is a client's."""
    chance = random.Random(3)

    def script(_):
        return drill.Script(chance.choice(KINDS), chance.choice([0, 0, chance.uniform(0, 3)]))
    with servers.ServerProcess("health") as health:
        lb4 = drill.start_lb4_before(
            start_lb4, pool, policy, f"timeout connect {CONNECT_S * 1000:.0f}ms",
            f"timeout idle {IDLE_S * 1000:.0f}ms", check=f"check tcp port {health.port}")
        clients, seen = run_clients(lb4, pool, script)
        ends = collections.Counter(end["reason"] for end in
                                   lb4.wait_n_closed("web", len(clients.records)))
        lb4.finish()
    outcomes = collections.Counter(record.outcome + record.cut for record in clients.records)
    totals = lb4.summary()
    n_failed = sum(totals["server", f"web/{server.name}"]["connect_failures"] for server in pool)
    print(f"{len(clients.records)} clients {dict(outcomes)}; lb4 {dict(ends)}, {n_failed} failed "
          f"connects; {seen.n_equal} comparisons equal with up to {seen.most} connections and "
          f"{seen.n_connecting} connecting ones, {seen.n_moving} set aside as the kernel moved")
    assert seen.n_equal >= N_CLIENTS / PER_S / 2
    assert n_failed and {"client_rst", "server_rst", "idle", "client_fin"} <= set(ends)
    assert "foreign" not in outcomes
    assert not any(values.get("active") for values in totals.values())
