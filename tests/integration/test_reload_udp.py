"""Reload and UDP: flows of unchanged servers keep server and source port; those of removed servers
move; a listener that is removed serves its sessions for `drain`, and comes back as it was."""
import contextlib
import signal
import socket
import time

import pytest

import reloading
import servers
import udp_drill

LISTEN = "127.0.0.1:7000"
OTHER = "127.0.0.1:7001"
N_FLOWS = 100
TOP = "drain 600ms\n"
DRAIN_S = 0.6


@pytest.fixture
def pool():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(reloading.PortServer(f"u{i + 1}")) for i in range(4)]


def dns(pool, *directives, listens=(f"udp {LISTEN}",), name="dns"):
    return reloading.service(name, listens, [(server.name, server.address) for server in pool],
                             "check none", *(directives or ["timeout udp 1s"]))


def of(flows, server):
    return [i for i, last in enumerate(flows.last) if last[0].startswith(server.name + ":")]


def ask(address=LISTEN, limit_s=udp_drill.ANSWER_LIMIT_S, sock=None):
    """The name of the server that answers a new client, None if nobody does."""
    with contextlib.ExitStack() as stack:
        if sock is None:
            host, port = udp_drill.split(address)
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            sock.connect((host, port))
        try:
            answer = udp_drill.ask(sock, b"x", limit_s)
        except ConnectionRefusedError:
            return "refused"
        return answer and answer.partition(b":")[0].decode()


def test_flows_of_unchanged_servers_do_not_move(start_lb4, pool):
    lb4, file = reloading.start(start_lb4, TOP + dns(pool[:3]))
    with udp_drill.Flows(LISTEN, N_FLOWS) as flows:
        assert flows.round() == 0
        before = list(flows.last)
        changes = [dns(pool), dns(reversed(pool)), dns(pool, "balance random", "timeout udp 1s"),
                   dns(pool[:3], "timeout udp 900ms"),
                   dns(pool[:3], listens=[f"udp {LISTEN}", f"udp {OTHER}"]),
                   dns(pool[:3]), dns(pool[:2])]
        for text in changes:
            file.change(TOP + text)
            stay = of(flows, pool[0]) + of(flows, pool[1])
            assert flows.round() == 0
            assert len(stay) > N_FLOWS / 3
            assert [flows.last[i][0] for i in stay] == [before[i][0] for i in stay]
        assert of(flows, pool[2]) == [], "it was removed, and its flows moved"
        reloading.wait_gone(lb4, "server dns/u3")
        assert flows.n_refused == 0 and flows.n_foreign == 0


def test_a_removed_listener_serves_its_sessions_for_drain(start_lb4, pool):
    both = TOP + dns(pool[:1], listens=[f"udp {LISTEN}", f"udp {OTHER}"])
    lb4, file = reloading.start(start_lb4, both)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as old:
        old.connect(udp_drill.split(OTHER))
        assert ask(sock=old) == "u1"
        removed = time.monotonic()
        file.change(TOP + dns(pool[:1]), f"- listener udp {OTHER} of dns")
        assert ask(sock=old) == "u1"
        assert ask(OTHER, 0.1) is None, "new ones are dropped"
        assert udp_drill.totals(lb4, "dns")["drop_drain"] == 1
        if time.monotonic() < removed + DRAIN_S:
            assert ask(sock=old) == "u1"
        servers.wait_until(lambda: ask(OTHER, 0.1) == "refused", what="it is closed")
        assert time.monotonic() >= removed + DRAIN_S
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(udp_drill.split(OTHER))
    file.change(both)
    assert ask(OTHER) == "u1"


def test_a_listener_comes_back_within_its_drain(start_lb4, pool):
    """The same socket, and its sessions with the same source ports."""
    both = "drain 20s\n" + dns(pool[:1], listens=[f"udp {LISTEN}", f"udp {OTHER}"])
    one = "drain 20s\n" + dns(pool[:1])
    lb4, file = reloading.start(start_lb4, both)
    inodes = bound_inodes(OTHER)
    assert len(inodes) == 2
    with udp_drill.Flows(OTHER, 10) as flows:
        assert flows.round() == 0
        before = [last[0] for last in flows.last]
        for _ in range(3):
            file.change(one)
            assert flows.round() == 0
            file.change(both, f"+ listener udp {OTHER} of dns")
            assert flows.round() == 0
            assert ask(OTHER) == "u1"
        assert [last[0] for last in flows.last] == before
    assert bound_inodes(OTHER) == inodes


def bound_inodes(address):
    host, port = udp_drill.split(address)
    words = f"{int.from_bytes(socket.inet_aton(host), 'little'):08X}:{port:04X}"
    with open("/proc/thread-self/net/udp") as table:
        rows = [line.split() for line in table]
    return {row[9] for row in rows if row[1] == words and row[2].endswith(":0000")}


@pytest.mark.parametrize("before, after, host", [
    ("127.0.0.1:7000", ":7000", "127.0.0.1"), ("[::1]:7000", ":7000 v6only", "::1"),
    (":7000", ":7000 v6only", "::1"), (":7000 v6only", ":7000", "::1"),
    (":7000", "0.0.0.0:7000", "127.0.0.1"), ("127.0.0.1:7000 interface lo", ":7000", "127.0.0.1")])
def test_who_comes_to_the_old_socket_is_served(start_lb4, pool, before, after, host):
    """The kernel brings it what is meant for the new one, which has the same port."""
    _, file = reloading.start(start_lb4, "drain 3s\n" + dns(pool[:1], listens=[f"udp {before}"]))
    address = udp_drill.join(host, 7000)
    assert ask(address) == "u1"
    file.change("drain 3s\n" + dns(pool[1:2], listens=[f"udp {after}"]))
    assert [ask(address) for _ in range(10)] == ["u2"] * 10


def test_a_listener_outlives_its_service(start_lb4, pool):
    """Service and listener are removed, the service has no session: what still comes to the port in
    its `drain` is dropped, and harms nobody."""
    web = dns(pool[:1])
    both = "drain 3s\n" + web + dns(pool[1:2], listens=[f"udp {OTHER}"], name="old")
    lb4, file = reloading.start(start_lb4, both)
    assert ask(LISTEN) == "u1"
    file.change("drain 3s\n" + web, "- service old")
    until = time.monotonic() + 2
    while time.monotonic() < until:
        assert ask(OTHER, 0.05) is None
        assert ask(LISTEN) == "u1"
    more = dns(pool[2:3], listens=["udp 127.0.0.1:7002"], name="more")
    file.change("drain 3s\n" + web + more)
    assert ask("127.0.0.1:7002") == "u3"
    ask(OTHER, 0.05)
    assert udp_drill.totals(lb4, "more")["dropped"] == 0
    servers.wait_until(lambda: ask(OTHER, 0.1) == "refused", what="it is closed")
    reloading.wait_gone(lb4, "service old")
    lb4.descriptors_at_start = None


def test_a_listener_comes_back_for_another_service(start_lb4, pool):
    both = "drain 20s\n" + dns(pool[:1]) + dns(pool[1:2], listens=[f"udp {OTHER}"], name="old")
    lb4, file = reloading.start(start_lb4, both)
    with udp_drill.Flows(OTHER, 4) as flows:
        assert flows.round() == 0
        file.change("drain 20s\n" + dns(pool[:1]))
        file.change("drain 20s\n" + dns(pool[:1]) +
                    dns(pool[2:3], listens=[f"udp {OTHER}"], name="new"))
        assert ask(OTHER) == "u3"
    lb4.descriptors_at_start = None


def test_the_first_udp_service_comes_by_reload(start_lb4, pool):
    with servers.EchoServer() as echo:
        web = reloading.service("web", ["tcp 127.0.0.1:7003"], [("s1", echo.address)])
        lb4, file = reloading.start(start_lb4, TOP + web)
        for _ in range(3):
            file.change(TOP + web + dns(pool[:2], "timeout udp 500ms"),
                        "+ service dns")
            with udp_drill.Flows(LISTEN, 20) as flows:
                assert flows.round() == 0
                assert len(of(flows, pool[0])) == len(of(flows, pool[1])) == 10
            servers.ask_once("127.0.0.1:7003")
            file.change(TOP + web, "- service dns")
            reloading.wait_gone(lb4, "service dns", len(lb4.lines) - 3)
            servers.wait_until(lambda: ask(limit_s=0.1) == "refused", what="it is closed")
        lb4.wait_n_closed("web", 3)


def test_the_only_server_gets_a_new_address(start_lb4, pool):
    """New clients always find one."""
    def text(server):
        return reloading.service("dns", [f"udp {LISTEN}"], [("ns", server.address)], "check none",
                                 "timeout udp 200ms")
    lb4, file = reloading.start(start_lb4, text(pool[0]))
    for server in [pool[1], pool[2], pool[3], pool[0]] * 2:
        start = len(lb4.lines)
        file.put(text(server))
        lb4.signal(signal.SIGHUP)
        while not any("reload: done" in line for line in lb4.lines[start:]):
            assert ask() is not None
        assert ask() == server.name
    assert udp_drill.totals(lb4, "dns")["dropped"] == 0
