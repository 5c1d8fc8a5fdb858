"""What operators see of limits, and do about them: bans that are seen and end by a wish, sources,
metrics, why, doctor, the log, and what a reload says; and which clients a server holds."""
import re
import socket

import pytest

import daemon
import reloading
import servers
import udp_drill
import web

PORT = 7000
LISTEN = f"127.0.0.1:{PORT}"
LIMIT_S = 10 if not daemon.IS_SANITIZED else 30
BAD, GOOD, OTHER = "127.9.0.1", "127.9.0.2", "127.9.0.3"
BAN = "ban after 3 refused in 1m for 1h"


@pytest.fixture
def server():
    with servers.EchoServer() as server:
        yield server


def config(desk, server, *lines, listen=f"tcp {LISTEN}", name="web"):
    return desk.directive + reloading.service(name, [listen], [("s1", server.address)], *lines)


def connect(source):
    return socket.create_connection(("127.0.0.1", PORT), LIMIT_S, (source, 0))


def is_let_in(source):
    """Bytes come back; else the client is reset, perhaps while it still connects."""
    try:
        with connect(source) as client:
            client.sendall(b"hello")
            return client.recv(5) == b"hello"
    except (ConnectionResetError, BrokenPipeError):
        return False


def enter(source):
    """A connection that is in."""
    client = connect(source)
    client.sendall(b"hello")
    assert client.recv(5) == b"hello"
    return client


def is_reset(source, says):
    """It is never in; what it says is of no use."""
    try:
        with connect(source) as client:
            client.sendall(says)
            return client.recv(1) != b""
    except (ConnectionResetError, BrokenPipeError):
        return True


def metric(lb4, name, **labels):
    return web.Scrape(lb4.http).value(name, service="web", **labels)


def status(lb4, name="web"):
    return next(one for one in web.status(lb4.http)["services"] if one["name"] == name)


def test_a_ban_is_seen_and_ends(start_lb4, desk, server):
    lb4 = start_lb4(["-w", "2"], config=config(desk, server, "limit per-source 1", BAN))
    assert desk.json("show", "bans") == [] and desk.json("show", "sources", "web") == []
    with enter(BAD):
        assert "would be refused (per_source)" in desk.do("why", "web", BAD)
        for _ in range(3):
            assert not is_let_in(BAD)
        line = lb4.wait_line("banned client", LIMIT_S)
        assert re.search(rf"WARN worker \d+: banned client {BAD}:\d+ of web: source {BAD} for 1h, "
                         "refused 3 times, the last time: per_source;", line), line
        rows = desk.json("show", "sources", "web")
        assert len(rows) == 1 and rows[0]["source"] == BAD and rows[0]["live"] == 1
    assert not is_let_in(BAD) and is_let_in(GOOD)
    ban, = desk.json("show", "bans", "web")
    assert 3500 < ban.pop("ban_left") <= 3600
    assert ban == {"service": "web", "source": BAD, "refused": 3, "cause": "per_source"}
    assert metric(lb4, "lb4_bans") == metric(lb4, "lb4_bans_total") == 1
    assert metric(lb4, "lb4_refused_total", reason="per_source") == 3
    assert metric(lb4, "lb4_refused_total", reason="banned") == 1
    assert metric(lb4, "lb4_sources") == 2 and metric(lb4, "lb4_sources_limit") >= 8192
    assert status(lb4)["sources"]["banned"] == 1
    why = desk.json("why", "web", BAD)
    assert why["candidates"] == [] and "(banned)" in why["verdict"][0], why
    assert desk.json("why", "web", GOOD)["candidates"] == ["s1"]

    done = desk.run("unban", "web", GOOD)
    assert done.returncode == 1 and f"{GOOD} is not banned in service web" in done.stderr
    assert desk.json("unban", "web", BAD) == [{"service": "web", "source": BAD, "unbanned": 1}]
    assert is_let_in(BAD)
    assert lb4.wait_line(f"admin: uid 0: service web: unban {BAD}, bans that ended: 1", LIMIT_S)
    assert metric(lb4, "lb4_bans") == 0 and metric(lb4, "lb4_bans_total") == 1
    assert desk.json("show", "bans") == []
    assert desk.json("unban", "web", "all")[0]["unbanned"] == 0


def test_a_reload_says_what_has_changed(start_lb4, desk, server):
    """A ban ends with its line; rates and limits are told as they were and are."""
    lb4 = start_lb4(["-w", "1"], config=config(desk, server, "limit per-source 1", BAN))
    with enter(BAD):
        for _ in range(3):
            assert not is_let_in(BAD)
    assert not is_let_in(BAD)
    changed = config(desk, server, "limit per-source 2", "rate per-source 5/m", "maxconn 9")
    _, lines = reloading.File(lb4).reload(changed)
    text = "\n".join(lines)
    assert "bans ended with their line of the configuration: 1" in text
    for words in ("~ limit per-source of web 1 -> 2", "+ rate per-source 5/m burst 5 of web",
                  "+ maxconn 9 of web", f"- {BAN} of web"):
        assert f"reload: {words}" in text, words
    assert is_let_in(BAD)
    row, = desk.json("show", "sources", "web")
    assert row["limit"] == 2 and row["rate_left"] == 4 and row["ban_after"] is None
    assert "bans nobody" in desk.run("show", "bans", "web").stderr


def test_strangers_are_banned_and_balancers_are_not(start_lb4, desk, server):
    """Behind accept-proxy. To ban a balancer for a wrong header would keep its probes out."""
    lb4 = start_lb4(["-w", "1"], config=config(
        desk, server, BAN, listen=f"tcp {LISTEN} accept-proxy from {BAD} {GOOD}"))
    for _ in range(2):
        assert is_reset(BAD, b"GET / HTTP/1.1\r\n\r\n")
        assert not is_let_in(OTHER)
    assert desk.json("show", "bans") == []
    assert not is_let_in(OTHER)
    assert is_reset(BAD, b"PROXY nonsense\r\n")
    bans = {row["source"]: row["cause"] for row in desk.json("show", "bans", "web")}
    assert bans == {OTHER: "peer"}
    for header in (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", b"PROXY UNKNOWN\r\n"):
        with connect(BAD) as client:
            client.sendall(header + b"hello")
            assert client.recv(5) == b"hello"
    assert metric(lb4, "lb4_bans") == 1


def test_udp(start_lb4, desk):
    """Datagrams of one source beyond its rate: dropped, told, and why says so."""
    with udp_drill.UdpServer() as echo:
        lb4 = start_lb4(["-w", "1"], config=config(
            desk, echo, "rate datagrams per-source 2/h", "timeout udp 2s",
            listen=f"udp {LISTEN}"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind((BAD, 0))
            client.settimeout(LIMIT_S)
            client.connect(("127.0.0.1", PORT))
            for _ in range(2):
                client.send(b"x")
                assert client.recv(9)
            client.send(b"x")
            lb4.wait_for(lambda: status(lb4)["udp"]["dropped"]["limit"] == 1, LIMIT_S, "a drop")
        row, = desk.json("show", "sources", "web")
        assert row["datagrams_left"] == 0 and row["rate_left"] is None
        assert "rate datagrams per-source 2/h burst 2" in desk.do("why", "web", BAD)
        lb4.wait_for(lambda: status(lb4)["udp"]["active"] == 0, LIMIT_S, "the session to end")


def test_doctor(start_lb4, desk, server):
    text = config(desk, server, "limit per-source 5", "maxconn 5", "rate per-source 1/h burst 1")
    start_lb4(["-w", "1"], config=text)
    assert is_let_in(BAD)
    for _ in range(10):
        assert not is_let_in(BAD)
    findings = {one["about"]: one["found"] for one in desk.json("doctor")["findings"]}
    assert "not below maxconn of the service: web" in findings["limits"]
    assert "come from one source: web" in findings["sources"]


def test_a_ban_that_does_nothing(start_lb4, desk, server):
    lb4 = start_lb4(["-w", "1"], config=config(desk, server, BAN))
    assert any("ban does nothing" in line for line in lb4.lines)


def test_affinity_is_shown(start_lb4, desk, server):
    start_lb4(["-w", "2"], config=config(desk, server, "affinity source 1h"))
    assert is_let_in(GOOD)
    with enter(BAD):
        held, other = desk.json("show", "affinity", "web")
        assert (held["source"], held["server"], held["live"]) == (BAD, "s1", 1)
        assert other["source"] == GOOD and 3500 < other["left"] <= 3600
        assert len(desk.json("show", "affinity", "--busiest", "1", "web")) == 1
    assert "has no" not in desk.do("show", "affinity", "web")
