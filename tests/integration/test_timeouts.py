"""The timeouts end what they should, when they should, and nothing else; keepalive is on."""
import re
import shutil
import subprocess
import time

import pytest

import servers

LISTEN = "127.0.0.1:7000"
TICK_S = 0.1
SLACK_S = 0.5  # CI shares its processors


def start(start_lb4, server, directives, splice=True):
    lines = ["service web {", f"    listen tcp {LISTEN}", f"    server s1 {server.address}"]
    lines += ["    " + directive for directive in directives]
    return start_lb4(["-w", "2"], config="\n".join([*lines, "}"]) + "\n", splice=splice)


@pytest.fixture
def server():
    with servers.EchoServer() as server:
        yield server


def test_idle_counts_from_the_last_byte(start_lb4, server, splice):
    lb4 = start(start_lb4, server, ["timeout idle 1s"], splice)
    with servers.connect(LISTEN) as client:
        for _ in range(4):
            servers.ask(client)
            time.sleep(0.5)
        started = time.monotonic() - 0.5
        assert servers.read_end(client) == "rst"
        took = time.monotonic() - started
        print(f"idle 1 s: ended after {took:.3f} s")
        assert 1 - TICK_S <= took <= 1 + TICK_S + SLACK_S
    assert lb4.wait_n_closed("web", 1)[0]["reason"] == "idle"


def test_a_client_that_never_sends_is_idle_too(start_lb4, server):
    lb4 = start(start_lb4, server, ["timeout idle 500ms"])
    end, took = servers.connect_end(LISTEN)
    assert end == "rst" and 0.4 <= took <= 0.6 + SLACK_S
    assert lb4.wait_n_closed("web", 1)[0]["reason"] == "idle"


def test_many_idle_connections_end_together_without_a_storm(start_lb4, server):
    lb4 = start(start_lb4, server, ["timeout idle 700ms"])
    clients = [servers.connect(LISTEN) for _ in range(200)]
    ends = {servers.read_end(client) for client in clients}
    assert ends == {"rst"}
    assert {end["reason"] for end in lb4.wait_n_closed("web", 200)} == {"idle"}
    for client in clients:
        client.close()


def test_services_have_their_own_timeouts(start_lb4, server):
    config = "defaults {\n    timeout idle 600ms\n}\n"
    for name, port, extra in [("short", 7000, ""), ("long", 7001, "    timeout idle 1h\n")]:
        config += (f"service {name} {{\n    listen tcp 127.0.0.1:{port}\n{extra}"
                   f"    server s1 {server.address}\n}}\n")
    lb4 = start_lb4(config=config)
    with servers.connect("127.0.0.1:7001") as long:
        servers.ask(long)
        assert servers.connect_end(LISTEN)[0] == "rst"
        assert servers.read_end(long, 0.5) == "timeout"
        long.settimeout(5)
        servers.ask(long)
    lb4.wait_n_closed("long", 1)


@pytest.mark.skipif(not shutil.which("ss"), reason="ss (iproute2) is not installed")
def test_keepalive_is_on_at_both_sides(start_lb4, server):
    """60 s until the first probe, on the client's side from the start, on the server's once the
    connection has lived for a few seconds."""
    lb4 = start(start_lb4, server, [])

    def timers():
        text = subprocess.run(["ss", "-tnoHp", "state", "established"], capture_output=True,
                              text=True, check=True).stdout
        mine = [line for line in text.splitlines() if f"pid={lb4.pid}," in line]
        return [re.search(r"timer:\(keepalive,([^,]+)", line) for line in mine]

    with servers.connect(LISTEN) as client:
        servers.ask(client)
        servers.wait_until(lambda: len(timers()) == 2, what="two sockets")
        assert any(timers()), "no keepalive on the client's side"
        servers.wait_until(lambda: all(timers()), 15, "keepalive on the server's side")
        assert all(re.match(r"5\d(\.\d+)?sec|60sec|1min$", timer.group(1)) for timer in timers())
    lb4.wait_n_closed("web", 1)
