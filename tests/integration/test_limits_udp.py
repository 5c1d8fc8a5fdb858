"""Limits and rates of UDP: of sessions and of datagrams, among sources that balancers name as well."""
import time

import pytest

import guarded
import namespace
import proxied
import reloading
import servers
import udp_drill
import web

TARGET = ("127.0.0.1", guarded.PORT)
LISTEN = f"udp 127.0.0.1:{guarded.PORT}"


class Flow:
    """A socket of a source, whose datagrams are a session; behind a balancer if it has a header."""

    def __init__(self, source, header):
        self.sock = udp_drill.udp_socket(source)
        self.sock.connect(TARGET)
        self.header = header
        self.n_asked = 0

    def ask(self):
        """Was it answered?"""
        self.n_asked += 1
        payload = b"%d" % self.n_asked
        return udp_drill.ask(self.sock, self.header + payload, guarded.LIMIT_S) == payload

    def send(self):
        self.sock.send(self.header + b"x")


class Rig:
    """lb4 with sessions that last as long as the test."""

    def __init__(self, start_lb4, desk, server):
        self.start_lb4 = start_lb4
        self.desk = desk
        self.server = server
        self.flows = []
        self.lb4 = self.file = None

    def text(self, *words, listen=LISTEN):
        return guarded.config(self.server, *words, listen=listen, top=self.desk.directive)

    def start(self, *words, n_workers=2, **options):
        self.lb4 = self.start_lb4(["-w", n_workers], config=self.text(*words, **options))
        self.file = reloading.File(self.lb4)
        return self.lb4

    def change(self, *words):
        self.file.change(self.text(*words))

    def new(self, source="127.0.0.1", header=b""):
        self.flows.append(Flow(source, header))
        return self.flows[-1]

    def turn_away(self, flow):
        """It sends one and is refused."""
        before = self.n_refused()
        flow.send()
        servers.wait_until(lambda: self.n_refused() == before + 1, guarded.LIMIT_S, "a refusal")

    def n_refused(self):
        return web.Scrape(self.lb4.http).sum("lb4_refused_total", service="web")

    def end_sessions(self):
        self.desk.do("kill", "web/s1")
        udp_drill.wait_totals(self.lb4, "web", lambda t: t["active"] == 0, what="all sessions end")

    def close(self):
        for flow in self.flows:
            flow.sock.close()
        if self.lb4:
            self.end_sessions()


@pytest.fixture
def rig(start_lb4, desk):
    with udp_drill.UdpServer(port=namespace.take_port()) as server:
        rig = Rig(start_lb4, desk, server)
        yield rig
        rig.close()


def n_let_in(totals):
    return totals["datagrams_in"] - totals["dropped"]


@pytest.mark.parametrize("n_workers", [1, 4])
def test_sessions_of_a_source(rig, n_workers):
    """Those that are in go on; a place is free again when a session has ended."""
    lb4 = rig.start("limit per-source 3", n_workers=n_workers)
    inside = [rig.new() for _ in range(3)]
    assert all(flow.ask() for flow in inside)
    late = [rig.new() for _ in range(4)]
    for flow in late:
        rig.turn_away(flow)
    assert rig.new("127.0.0.2").ask()
    assert all(flow.ask() for flow in inside)
    assert udp_drill.totals(lb4, "web")["active"] == 4
    assert guarded.refused(lb4, "per_source") == 4
    now = web.Scrape(lb4.http)
    assert now.value("lb4_udp_dropped_total", service="web", reason="limit") == 4
    rig.end_sessions()
    assert all(flow.ask() for flow in late[:3])
    rig.turn_away(late[3])


def test_a_place_is_free_when_a_session_times_out(rig):
    lb4 = rig.start("limit per-source 1", "timeout udp 200ms")
    first, second = rig.new(), rig.new()
    assert first.ask()
    servers.wait_until(lambda: udp_drill.totals(lb4, "web")["active"] == 0, guarded.LIMIT_S, "end")
    assert second.ask()


def test_many_sockets_of_a_source_at_once(rig):
    """Over all workers exactly so many sessions."""
    lb4 = rig.start("limit per-source 7", n_workers=4)
    for round_ in range(1, 6):
        for flow in [rig.new(f"127.0.0.{1 + i % 2}") for i in range(100)]:
            flow.send()
        now = udp_drill.wait_totals(lb4, "web", lambda t: t["datagrams_in"] == round_ * 100,
                                    what="all came")
        assert now["active"] == 14 and now["dropped"] == 86 * round_
        guarded.wait_refused(lb4, "per_source", 86 * round_)
        rig.end_sessions()


def test_rate_of_sessions(rig):
    """Of those that begin; datagrams of those that are in are as free as ever."""
    lb4 = rig.start("rate per-source 3/h")
    inside = [rig.new() for _ in range(3)]
    assert all(flow.ask() for flow in inside)
    rig.turn_away(rig.new())
    for _ in range(50):
        assert all(flow.ask() for flow in inside)
    assert rig.new("127.0.0.2").ask()
    assert guarded.refused(lb4, "rate_source") == 1


@pytest.mark.parametrize("n_flows", [1, 5])
def test_rate_of_datagrams(rig, n_flows):
    """What is due, however many sessions they are of, comes to the server and the rest is dropped
    and counted; other sources are free."""
    rate = 200
    lb4 = rig.start(f"rate datagrams per-source {rate}/s")
    mine = [rig.new() for _ in range(n_flows)]
    other = rig.new("127.0.0.2")
    began = time.monotonic()
    n_sent = took_s = 0
    while time.monotonic() - began < 1.2:
        while n_sent < 3 * rate * (time.monotonic() - began):
            mine[n_sent % n_flows].send()
            took_s = time.monotonic() - began
            n_sent += 1
            if n_sent % 20 == 0:
                assert other.ask()
        time.sleep(0.002)
    now = udp_drill.wait_totals(lb4, "web", lambda t: t["datagrams_in"] == n_sent + other.n_asked,
                                what="all came")
    guarded.assert_due(n_let_in(now) - other.n_asked, rate + rate * took_s)
    assert now["dropped"] == now["drop_limit"]
    servers.wait_until(lambda: rig.server.n_received == n_let_in(now), guarded.LIMIT_S,
                       "the server has them")


def test_a_source_is_who_the_header_names(rig):
    """Sessions and bans behind one balancer."""
    lb4 = rig.start("limit per-source 2", "ban after 2 refused in 1m for 1h",
                    listen=f"{LISTEN} accept-proxy from 127.0.0.1")

    def new(host, port):
        asked = "2001:db8::2" if ":" in host else "10.0.0.1"
        return rig.new(header=proxied.wrap(b"", (host, port), (asked, 53)))
    inside = [new(host, port) for host in ("192.0.2.1", "192.0.2.2", "2001:db8::1")
              for port in (1, 2)]
    assert all(flow.ask() for flow in inside)
    for port in (3, 4):
        rig.turn_away(new("192.0.2.1", port))
    lb4.wait_line(r"banned client \S+ of web: source 192\.0\.2\.1 for 1h, refused 2 times")
    rig.turn_away(new("2001:db8::ff", 1))  # of the same /64
    rig.turn_away(new("192.0.2.1", 5))
    guarded.wait_refused(lb4, "banned", 1)
    assert new("192.0.2.3", 1).ask()
    assert all(flow.ask() for flow in inside), "who was in before the ban"


def test_limits_of_sessions_follow_reloads(rig):
    """Sessions of before go on, those that the limits know are counted as long as they last."""
    rig.start()
    live = [rig.new() for _ in range(3)]
    assert all(flow.ask() for flow in live)
    rig.change("limit per-source 2")
    live += [rig.new() for _ in range(2)]
    assert all(flow.ask() for flow in live)
    rig.turn_away(rig.new())
    # A rate of datagrams is of them all: the three take places, too.
    rig.change("limit per-source 4", "rate datagrams per-source 1000/s")
    assert all(flow.ask() for flow in live)
    rig.turn_away(rig.new())
    rig.change("limit per-source 6", "rate datagrams per-source 1000/s")
    live.append(rig.new())
    assert live[-1].ask()
    rig.turn_away(rig.new())
    rig.change()
    live.append(rig.new())
    assert all(flow.ask() for flow in live)
    rig.end_sessions()
    rig.change("limit per-source 2")
    assert rig.new().ask() and rig.new().ask()
    rig.turn_away(rig.new())


@pytest.mark.parametrize("words", ["limit per-source 1", "rate per-source 1/h", "maxconn 1"])
def test_both_transports(rig, words):
    """A source is one, whichever way it comes; maxconn is of connections."""
    with servers.EchoServer(port=udp_drill.split(rig.server.address)[1]):
        lb4 = rig.start(words, listen=f"both {TARGET[0]}:{TARGET[1]}")
        with guarded.Guests(lb4) as guests:
            assert guests.enter(2) == 1
            if words.startswith("maxconn"):
                assert rig.new().ask()
            else:
                rig.turn_away(rig.new())
                assert rig.new("127.0.0.2").ask() and not guarded.is_let_in("127.0.0.2")
