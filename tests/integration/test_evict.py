"""evict: a server that clients fail to reach is down for a while, whatever its probes say."""
import contextlib
import time

import pytest

import admin
import farewells
import servers

OUT_S = 1.0
RULE = f"evict after 3 failures in 10s for {OUT_S * 1000:.0f}ms"


class Moody(servers.EchoServer):
    """Takes all connections; while it `is_bad`, what a client sends is answered by a reset."""
    is_bad = False

    def echo(self, sock):
        if not self.is_bad:
            super().echo(sock)
            return
        try:
            if sock.recv(65536):
                servers.reset_now(sock)
        except OSError:
            pass
        self.selector.unregister(sock)
        with self.lock:
            self.connections.discard(sock)
        sock.close()


@pytest.fixture
def pair():
    with Moody() as first, Moody() as second:
        yield [first, second]


def start(start_lb4, desk, pair, *words):
    text = desk.directive + farewells.pools.config(
        farewells.LISTEN, [server.address for server in pair], "balance roundrobin", *words)
    return start_lb4(["-w", "2"], config=text)


def ask():
    """Is a client served?"""
    try:
        servers.ask_once(farewells.LISTEN)
    except OSError:
        return False
    return True


def fail_until_out(lb4, desk, name="s1"):
    """How many clients failed until it was out."""
    n_failed = 0
    deadline = time.monotonic() + 20
    while desk.server(f"web/{name}")["state"] != "down":
        assert time.monotonic() < deadline, lb4.tail()
        n_failed += not ask()
    return n_failed


@pytest.mark.parametrize("check", ["check none", farewells.CHECK], ids=["unprobed", "probed"])
def test_out_and_back(start_lb4, desk, pair, check):
    lb4 = start(start_lb4, desk, pair, check, RULE)
    pair[0].is_bad = True
    n_failed = fail_until_out(lb4, desk)
    out = time.monotonic()
    told = lb4.wait_line(r"server web/s1 is DOWN: evicted: \d+ clients could not reach it in 10s")
    print(f"{n_failed} clients failed; {told}")
    assert n_failed <= 6
    answer = desk.json("why", "web", "127.0.0.1")
    assert answer["candidates"] == ["s2"]
    assert "evicted: 3 clients could not reach it in 10s" in answer["servers"][0]["why"]
    n_before = pair[0].n_echoes
    while time.monotonic() < out + OUT_S * 0.6:
        assert ask()
    assert desk.server("web/s1")["state"] == "down"
    assert pair[0].n_echoes == n_before
    pair[0].is_bad = False
    servers.wait_until(lambda: desk.server("web/s1")["state"] != "down", what="its return")
    servers.wait_until(lambda: ask() and desk.server("web/s1")["state"] == "up", what="a client")
    servers.wait_until(lambda: ask() and pair[0].n_echoes > n_before + 3, what="its share")
    print([line for line in lb4.lines if "web/s1" in line and "probe server" not in line])


def test_on_down_is_for_checks(start_lb4, desk, pair):
    """Who is connected to an evicted server stays."""
    lb4 = start(start_lb4, desk, pair, "check none", RULE, "on-down reset")
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(servers.connect(farewells.LISTEN)) for _ in range(4)]
        for sock in held:
            servers.ask(sock)
        pair[0].is_bad = True
        fail_until_out(lb4, desk)
        pair[0].is_bad = False
        for sock in held:
            servers.ask(sock)


def test_the_last_one_stays(start_lb4, desk, pair):
    lb4 = start(start_lb4, desk, pair, "check none", RULE.replace("1000ms", "60s"))
    for server in pair:
        server.is_bad = True
    lines = r"would be evicted: \d+ clients could not reach it in 10s; but it is the last usable"
    deadline = time.monotonic() + 20
    while not any("last usable" in line for line in lb4.lines):
        assert time.monotonic() < deadline, lb4.tail()
        ask()
    for _ in range(10):
        assert not ask()
    lb4.wait_line(lines)
    states = sorted(row["state"] for row in desk.json("show", "servers", "web"))
    assert states[0] == "down" and states[1] != "down"
    assert sum("last usable" in line for line in lb4.lines) == 1


def test_not_without_the_word(start_lb4, desk, pair):
    lb4 = start(start_lb4, desk, pair, "check none")
    pair[0].is_bad = True
    for _ in range(30):
        ask()
    assert desk.server("web/s1")["state"] != "down"
    assert not any("evicted" in line for line in lb4.lines)


def test_again_and_again_is_told_seldom(start_lb4, desk, pair):
    """Down and up in every second for 8 s: what is told is one flapping server."""
    lb4 = start(start_lb4, desk, pair, "check tcp interval 400ms fall 2 rise 2",
                "evict after 1 failures in 1s for 200ms")
    pair[0].is_bad = True
    began = time.monotonic()
    while time.monotonic() < began + 8:
        ask()
    took = time.monotonic() - began
    told = [line for line in lb4.lines
            if "server web/s1 is DOWN" in line or "server web/s1 is UP" in line]
    print("\n".join(told))
    assert 1 <= len(told) <= took / (4 * 0.4) + 1
    pair[0].is_bad = False


def test_not_longer_than_the_word(start_lb4, desk, pair):
    """A reload has taken it away."""
    lb4 = start(start_lb4, desk, pair, farewells.CHECK,
                "evict after 3 failures in 10s for 1h")
    pair[0].is_bad = True
    fail_until_out(lb4, desk)
    pair[0].is_bad = False
    admin.put_config(lb4, desk.directive + farewells.pools.config(
        farewells.LISTEN, [server.address for server in pair], "balance roundrobin",
        farewells.CHECK))
    desk.do("reload")
    servers.wait_until(lambda: desk.server("web/s1")["state"] == "up", what="its return")


def test_on_down_holds_when_probes_fail_too(start_lb4, desk, pair):
    """Clients met it first, and it is down in truth."""
    lb4 = start(start_lb4, desk, pair, farewells.CHECK, "evict after 1 failures in 10s for 1h",
                "on-down reset")
    with servers.connect(farewells.LISTEN) as first, servers.connect(farewells.LISTEN) as second:
        for sock in (first, second):
            servers.ask(sock)
        pair[0].is_bad = True
        fail_until_out(lb4, desk)
        pair[0].listener.close()
        told = lb4.wait_line(r"s1: it is down \(on-down\): 1 connections were reset")
        print(told)
        assert "connection refused" in desk.server("web/s1")["why"]


@pytest.mark.parametrize("check", ["check none", farewells.CHECK], ids=["unprobed", "probed"])
def test_back_when_it_is_the_last(start_lb4, desk, pair, check):
    """An operator takes the other one out."""
    lb4 = start(start_lb4, desk, pair, check, "evict after 3 failures in 10s for 1h")
    pair[0].is_bad = True
    fail_until_out(lb4, desk)
    pair[0].is_bad = False
    desk.do("maint", "web/s2")
    servers.wait_until(ask, what="a client that is served")
    servers.wait_until(lambda: desk.server("web/s1")["state"] == "up", what="its return")
