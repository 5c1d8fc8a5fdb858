"""lb4ctl rebalance: long connections leave servers that have too many, gently and only if asked."""
import contextlib
import selectors
import signal
import threading
import time

import pytest

import pools
import servers

LISTEN = "127.0.0.1:7000"
CHECK = "check tcp interval 50ms timeout 500ms fall 2 rise 2"
N_CLIENTS = 120
PULSE_S = 0.05  # of clients that are active
OVER_S = 3


class Client:
    """One long connection, opened again when it ends. `ends`: when, and at which server."""

    def __init__(self, is_active):
        self.is_active = is_active
        self.sock = None
        self.is_reset = False
        self.server = None
        self.ends = []

    def connect(self):
        self.sock = servers.connect(LISTEN)
        self.server = pools.read_name(self.sock)
        self.is_reset = False

    def pulse(self):
        """The kernel reports a reset once: here or to who reads."""
        try:
            self.sock.send(b"x")
        except ConnectionError:
            self.is_reset = True


class Clients:
    """All of them, in a thread of their own; every fourth is active."""

    def __init__(self):
        self.all = [Client(index % 4 == 0) for index in range(N_CLIENTS)]
        self.selector = selectors.DefaultSelector()
        self.problems = []
        self.n_pulses = 0  # of all that are active
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        for client in self.all:
            client.connect()
            self.selector.register(client.sock, selectors.EVENT_READ, client)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()
        for client in self.all:
            client.sock.close()
        self.selector.close()

    def run(self):
        try:
            while not self.is_over.is_set():
                for key, _ in self.selector.select(PULSE_S):
                    self.on_end(key.data)
                for client in self.all:
                    if client.is_active:
                        client.pulse()
                self.n_pulses += 1
        except (OSError, AssertionError) as problem:
            self.problems.append(repr(problem))

    def on_end(self, client):
        """And back again."""
        end = servers.read_end(client.sock)
        if end != "rst" and not client.is_reset:
            self.problems.append(end)
        client.ends.append((time.monotonic(), client.server))
        self.selector.unregister(client.sock)
        client.sock.close()
        client.connect()
        self.selector.register(client.sock, selectors.EVENT_READ, client)

    def ends(self):
        return sorted(end for client in self.all for end in client.ends)


@pytest.fixture
def pool():
    with pools.make(3) as pool:
        yield pool


def start(start_lb4, desk, pool, policy="leastconn", options=None, n_workers=2):
    text = desk.directive + pools.config(LISTEN, pool.texts, CHECK, f"balance {policy}",
                                         options=options)
    return start_lb4(["-w", n_workers], config=text)


def active(desk):
    return [row["active"] for row in desk.json("show", "servers")]


@contextlib.contextmanager
def third_is_back(lb4, desk, pool):
    """All long connections are on two servers, as the third was down when they came."""
    pool.close(2)
    lb4.wait_line("web/s3 is DOWN")
    with Clients() as clients:
        pool.open(2)
        lb4.wait_line("web/s3 is UP")
        assert active(desk)[2] == 0 and sum(active(desk)) == N_CLIENTS
        yield clients
        assert not clients.problems, clients.problems


@pytest.mark.serial  # gradually, within OVER_S
@pytest.mark.parametrize("policy, weights, n_workers", [
    ("leastconn", [1, 1, 1], 2), ("leastconn", [1, 1, 2], 1), ("roundrobin", [1, 1, 1], 1)])
def test_shares_follow_the_weights(start_lb4, desk, pool, policy, weights, n_workers):
    """Idle ones go first at each worker, which ends its part of a server's excess: one of two may
    have so few of them that they do not suffice."""
    lb4 = start(start_lb4, desk, pool, policy, [f"weight {weight}" for weight in weights],
                n_workers)
    with third_is_back(lb4, desk, pool) as clients:
        n_pulses = clients.n_pulses
        time.sleep(1)  # an observation: nothing happens unless it is asked for
        servers.wait_until(lambda: clients.n_pulses > n_pulses + 1, what="active ones are active")
        assert not clients.ends() and active(desk)[2] == 0
        answer, = desk.json("rebalance", "web", "--over", f"{OVER_S}s")
        wanted = [N_CLIENTS * weight / sum(weights) for weight in weights]
        assert answer["service"] == "web" and answer["over_seconds"] == OVER_S
        assert abs(answer["excess"] - wanted[2]) <= 1
        done = desk.run("rebalance", "web")
        assert done.returncode == 1 and "that of web is under way" in done.stderr
        line = lb4.wait_line("rebalance of web: .* connections were ended", 3 * OVER_S)
        print(line, active(desk))
        servers.wait_until(lambda: sum(active(desk)) == N_CLIENTS, what="all are back")
        for share, here in zip(wanted, active(desk)):
            assert abs(here - share) <= 0.1 * share, active(desk)
        ends = clients.ends()
        assert len(ends) >= answer["excess"]
        assert f" {len(ends)} connections were ended" in line
        assert ends[-1][0] - ends[0][0] >= OVER_S / 2, "gradually"
        # Idle ones that stayed have been so since before the first pulse, however late the others.
        assert n_workers > 1 or not any(client.ends for client in clients.all if client.is_active), \
            "idle ones first"
        assert desk.json("show", "services")[0]["closed_by_reason"]["admin"] == len(ends)


def test_active_ones_end_too_if_there_are_no_others(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    with third_is_back(lb4, desk, pool) as clients:
        for client in clients.all:
            client.is_active = True
        desk.do("rebalance", "web", "--over", "1s")
        lb4.wait_line("rebalance of web: .* connections were ended")
        servers.wait_until(lambda: sum(active(desk)) == N_CLIENTS, what="all are back")
        assert all(abs(here - 40) <= 4 for here in active(desk)), active(desk)


def test_nothing_to_do(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    with contextlib.ExitStack() as stack:
        for _ in range(7):
            pools.read_name(stack.enter_context(servers.connect(LISTEN)))
        assert desk.json("rebalance", "web")[0]["excess"] == 0
        lb4.wait_line("rebalance of web: every server has its share; 0 connections were ended")
        assert sum(active(desk)) == 7


def test_lists_and_kills_meanwhile(start_lb4, desk, pool):
    """Other sweeps have their turns between its steps."""
    lb4 = start(start_lb4, desk, pool)
    with third_is_back(lb4, desk, pool):
        desk.do("rebalance", "web", "--over", "2s")
        for _ in range(30):
            assert len(desk.json("show", "connections", "web")) <= N_CLIENTS
        desk.do("kill", "web/s1")
        lb4.wait_line("rebalance of web: .* connections were ended")


def test_it_ends_when_lb4_drains(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    with contextlib.ExitStack() as stack:
        pool.close(2)
        lb4.wait_line("web/s3 is DOWN")
        held = [stack.enter_context(servers.connect(LISTEN)) for _ in range(20)]
        for sock in held:
            pools.read_name(sock)
        pool.open(2)
        lb4.wait_line("web/s3 is UP")
        desk.do("rebalance", "web", "--over", "10s")
        lb4.signal(signal.SIGTERM)
        lb4.wait_line("rebalance of web: lb4 is on its way out")
        left = sum(active(desk))
        assert left >= 18, "one or two steps"
    lb4.is_finished = True
    lb4.check_end()


@pytest.mark.parametrize("words, said", [
    (["wub"], "no service 'wub'"), (["web", "--over"], "usage: rebalance"),
    (["web", "--over", "5"], "'5' is no time"), (["web", "now"], "usage: rebalance")])
def test_wrong_words(start_lb4, desk, pool, words, said):
    start(start_lb4, desk, pool)
    done = desk.run("rebalance", *words)
    assert done.returncode == 1 and said in done.stderr
