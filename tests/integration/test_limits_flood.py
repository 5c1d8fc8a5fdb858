"""A flood of sources, which balancers' headers invent: memory stays at the cap of the table, and who
is at a limit stays so, during and after it."""
import random
import socket
import struct
import threading
import time

import pytest

import daemon
import guarded
import proxied
import servers
import udp_drill
import web

UDP = ("127.0.0.1", guarded.PORT)
LISTEN = (f"tcp :{guarded.PORT}", f"udp {UDP[0]}:{UDP[1]} accept-proxy from 127.0.0.1")
UDP_SEGMENT = 103
SEGMENTS = 60       # datagrams of a send
WINDOW = 20         # sends before a look at what lb4 has taken
N_BALANCERS = 4     # sockets, so that every worker has some
SET_BYTES, WAYS = 640, 8
# What lb4 may need beside the table: as in test_udp_flood, and for some connections and scrapes.
ONCE_BYTES = 3 << 20
SESSION_BYTES = 704

HEAD, TAIL = proxied.wrap(b"", ("1.2.3.4", 1234)).split(bytes((1, 2, 3, 4)))


def datagrams(numbers):
    """One of each source: equally long, as they are sent."""
    return b"".join(b"%s%s%sx" % (HEAD, struct.pack("!I", number), TAIL) for number in numbers)


class Flood:
    """Each datagram is of another source from 16.0.0.0 on, as a balancer says it, at the speed at which
    lb4 takes them. As a context it goes on in a thread, whose end is waited for."""

    def __init__(self, lb4, count, first=None):
        self.lb4 = lb4
        self.count = count
        self.n_sent = 0
        self.first = first or random.randrange(1 << 24) + (16 << 24)
        self.at_start = 0
        self.at_start = self.n_taken()
        self.problem = None
        self.socks = [udp_drill.udp_socket("127.0.0.1") for _ in range(N_BALANCERS)]
        self.thread = threading.Thread(target=self.run, daemon=True)

    def n_taken(self):
        return web.Scrape(self.lb4.http).value("lb4_udp_datagrams_total", service="web",
                                               direction="in") - self.at_start

    def run(self):
        try:
            while self.n_sent < self.count:
                deadline = time.monotonic() + guarded.LIMIT_S
                while not self.send_window():
                    assert time.monotonic() < deadline, "the kernel drops the flood"
                self.n_sent += WINDOW * SEGMENTS
        except (OSError, AssertionError) as problem:
            self.problem = problem

    def send_window(self):
        """Did lb4 take them all? If it is held up, the kernel drops some."""
        wanted = self.n_taken() + WINDOW * SEGMENTS
        for i in range(WINDOW):
            self.send(self.socks[i % N_BALANCERS], self.first + self.n_sent + i * SEGMENTS)
        n_taken = self.n_taken()
        while n_taken < wanted:
            time.sleep(0.002)
            n_before, n_taken = n_taken, self.n_taken()
            if n_taken == n_before:
                time.sleep(0.2)
                n_taken = self.n_taken()
                if n_taken == n_before:
                    return False
        return True

    def send(self, sock, first):
        size = len(HEAD) + 4 + len(TAIL) + 1
        sock.sendmsg([datagrams(range(first, first + SEGMENTS))],
                     [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("H", size))], 0, UDP)

    def is_running(self):
        return self.thread.is_alive()

    def __enter__(self):
        self.began = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join()
        for sock in self.socks:
            sock.close()
        print(f"{self.n_sent} sources in {time.monotonic() - self.began:.1f} s")
        assert self.problem is None, self.problem


class Table:
    """A table of sources by the directives that make it."""

    def __init__(self, top, n_sets):
        self.top = top
        self.n_places = n_sets * WAYS
        self.bytes = n_sets * SET_BYTES


SMALL = Table("maxconn 1000\n", 1024)
LARGE = Table("", 65536)
N_SESSIONS = 1000
MODES = {  # What a stranger has of lb4, and the words for that
    "refusals": ["deny 16.0.0.0/4", "ban after 10000 refused in 1h for 1h"],
    "a ban": ["deny 16.0.0.0/4", "ban after 1 refused in 1h for 1h"],
    "a debt": ["rate per-source 3/h burst 3"],
}


@pytest.fixture
def server():
    with servers.EchoServer() as tcp, udp_drill.UdpServer(
            port=tcp.port, answer=lambda _: None):
        yield tcp


def start(start_lb4, server, table, *words):
    text = guarded.config(server, "limit per-source 2", f"udp-sessions {N_SESSIONS}",
                          "timeout udp 300ms", *words, listen=LISTEN, top=table.top)
    return start_lb4(["-w", "2"], config=text, debug=False)


def allowed_bytes(table):
    return table.bytes + N_SESSIONS * SESSION_BYTES + ONCE_BYTES


class Marked:
    """Sources of which something is known, and what they meet because of it."""

    def __init__(self, lb4, guests, mode):
        self.lb4 = lb4
        self.known = {"127.0.0.1": "per_source"}
        assert guests.enter(2) == 2
        if mode == "a ban":
            with guarded.Guests(lb4) as others:
                assert others.enter(3, "127.0.0.2") == 2
            # A look at the first would ban it, too.
            self.known = {"127.0.0.2": "banned"}
        if mode == "a debt":
            for _ in range(3):
                with guarded.Guests(lb4) as others:
                    assert others.enter(1, "127.0.0.2") == 1
            self.known["127.0.0.2"] = "rate_source"
        self.n_looks = 0

    def look(self):
        for source, reason in self.known.items():
            before = guarded.refused(self.lb4, reason)
            assert not guarded.is_let_in(source), f"{source} should be refused: {reason}"
            servers.wait_until(lambda: guarded.refused(self.lb4, reason) > before, guarded.LIMIT_S,
                               reason)
        self.n_looks += 1


def check_table(lb4, table, evicts, shares):
    """What counters tell of it."""
    now = web.Scrape(lb4.http)
    assert now.value("lb4_sources_limit", service="web") == table.n_places
    assert now.value("lb4_sources", service="web") <= table.n_places
    assert (now.value("lb4_sources_evicted_total", service="web") > 0) == evicts
    assert (now.value("lb4_sources_shared_total", service="web") > 0) == shares


@pytest.mark.parametrize("mode", MODES)
def test_a_flood_of_sources_disarms_nothing(start_lb4, server, mode, is_full):
    """Many times more than the table has places for."""
    count = 1000000 if is_full else 100000 if not daemon.IS_SANITIZED else 20000
    lb4 = start(start_lb4, server, SMALL, *MODES[mode])
    with guarded.Guests(lb4) as guests:
        marked = Marked(lb4, guests, mode)
        before = lb4.rss_bytes()
        most = 0
        with Flood(lb4, count) as flood:
            while flood.is_running():
                marked.look()
                most = max(most, lb4.rss_bytes())
        marked.look()
        most = max(most, lb4.rss_bytes())
        print(f"{mode}: {marked.n_looks} looks, {(most - before) >> 10} KiB more,"
              f" {allowed_bytes(SMALL) >> 10} allowed")
        assert most - before <= allowed_bytes(SMALL) or daemon.IS_SANITIZED
        assert flood.n_taken() >= flood.n_sent
        # What was known of the first is known to the last.
        assert guests.enter() == 0
        guests.all_talk()
        guests.leave(1)
        if mode != "a ban":
            assert guests.enter(2) == 1
        check_table(lb4, SMALL, evicts=mode == "refusals", shares=mode != "refusals")
    if mode == "refusals":
        assert guarded.is_let_in("127.0.0.3"), "one who comes for the first time"


def test_nobody_has_two_allowances(start_lb4, server, is_full):
    """Each of many sources, with an allowance of one in an hour, comes twice: all are let in, once.
    Of a million, for whom the table is too small, none is let in twice, either."""
    count = 1000000 if is_full else 24000 if not daemon.IS_SANITIZED else 6000
    lb4 = start(start_lb4, server, LARGE, "rate per-source 1/h burst 1")
    before = lb4.rss_bytes()
    with Flood(lb4, count) as first:
        pass
    n_in = n_sessions(lb4)
    with Flood(lb4, count, first.first):
        pass
    print(f"{n_in} let in, {n_sessions(lb4) - n_in} more the second time;"
          f" {(lb4.rss_bytes() - before) >> 20} MiB more, {allowed_bytes(LARGE) >> 20} allowed")
    assert lb4.rss_bytes() - before <= allowed_bytes(LARGE) or daemon.IS_SANITIZED
    if count < LARGE.n_places / 4:
        assert n_in == n_sessions(lb4) == first.n_sent
    assert n_sessions(lb4) <= min(first.n_sent, LARGE.n_places + LARGE.n_places // WAYS)
    check_table(lb4, LARGE, evicts=False, shares=count > LARGE.n_places)


def n_sessions(lb4):
    return web.Scrape(lb4.http).value("lb4_udp_sessions_total", service="web")
