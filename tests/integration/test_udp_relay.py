"""Datagrams arrive whole, at the right client, from the very address that it asked."""
import collections
import os
import socket
import time

import pytest

import namespace
import servers
import udp_drill

SIZES = [0, 1, 512, 1471, 1472, 1473, 8972, 65506, 65507]


def service(listen, *words, servers_at, kind="udp"):
    lines = [f"service u {{\n    listen {kind} {listen}", *words]
    lines += [f"server s{i + 1} {address}" for i, address in enumerate(servers_at)]
    return "\n    ".join(lines) + "\n}\n"


def test_sizes_arrive_whole_both_ways(start_lb4, family):
    listen = namespace.address(family, namespace.take_port())
    with udp_drill.UdpServer(namespace.LOOPBACK[family]) as server:
        lb4 = start_lb4(["-w", "2"], config=service(listen, "timeout udp 500ms",
                                                    servers_at=[server.address]))
        for size in SIZES:
            payload = os.urandom(size)
            with udp_drill.udp_socket(namespace.LOOPBACK[family]) as client:
                client.connect(udp_drill.split(listen))
                for _ in range(3):
                    assert udp_drill.ask(client, payload) == payload, f"{size} bytes"
        now = udp_drill.totals(lb4, "u")
        print(dict(now))
        assert now["datagrams_in"] == now["datagrams_out"] == 3 * len(SIZES)
        assert now["in"] == now["out"] == 3 * sum(SIZES)
        assert now["dropped"] == 0


def test_many_sizes_in_one_go_keep_their_borders(start_lb4, family):
    """Equal and unequal sizes behind one another, as a sender that fills its batches sends them."""
    listen = namespace.address(family, namespace.take_port())
    sizes = [100, 100, 100, 0, 100, 99, 99, 1400, 1400, 1400, 7, 0, 0, 3000, 3000, 2999]
    with udp_drill.UdpServer(namespace.LOOPBACK[family]) as server:
        start_lb4(["-w", "2"], config=service(listen, "timeout udp 500ms",
                                              servers_at=[server.address]))
        with udp_drill.udp_socket(namespace.LOOPBACK[family]) as client:
            client.connect(udp_drill.split(listen))
            client.settimeout(udp_drill.ANSWER_LIMIT_S)
            for _ in range(50):
                payloads = [os.urandom(size) for size in sizes]
                for payload in payloads:
                    client.send(payload)
                assert [client.recv(udp_drill.LONGEST) for _ in payloads] == payloads


@pytest.mark.parametrize("listen_host", ["", "0.0.0.0"])
def test_answers_come_from_the_asked_address(start_lb4, listen_host):
    """On a wildcard; IPv4 clients, IPv6 clients, and IPv4 through an IPv6 socket."""
    port = namespace.take_port()
    asked = [(socket.AF_INET, f"127.0.0.{i}") for i in (1, 2, 3)]
    if not listen_host:
        asked += [(socket.AF_INET6, "::1")]
        asked += [(socket.AF_INET6, f"::ffff:127.0.0.{i}") for i in (1, 2)]
    with udp_drill.UdpServer() as server:
        lb4 = start_lb4(["-w", "2"], config=service(
            f"{listen_host}:{port}", "timeout udp 500ms", servers_at=[server.address]))
        for family, host in asked:
            with socket.socket(family, socket.SOCK_DGRAM) as client:
                client.settimeout(udp_drill.ANSWER_LIMIT_S)
                # Twice: the second datagram finds a session.
                for payload in (b"one", b"two"):
                    client.sendto(payload, (host, port))
                    answer, came_from = client.recvfrom(udp_drill.LONGEST)
                    assert (answer, came_from[:2]) == (payload, (host, port))
        # One socket that asks two addresses has two sessions.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(udp_drill.ANSWER_LIMIT_S)
            for i in (1, 2, 3, 2, 1):
                client.sendto(b"x", (f"127.0.0.{i}", port))
                assert client.recvfrom(udp_drill.LONGEST)[1] == (f"127.0.0.{i}", port)
        assert udp_drill.totals(lb4, "u")["total"] == len(asked) + 3


def test_every_answer_reaches_its_own_flow(start_lb4, is_full):
    n_flows, n_rounds = (1000, 1000) if is_full else (200, 100)
    ports = [namespace.take_port() for _ in range(2)]
    listen = f"127.0.0.1:{namespace.take_port()}"
    with udp_drill.UdpProcess("s1", ports[0]) as one, udp_drill.UdpProcess("s2", ports[1]) as two, \
            udp_drill.Flows(listen, n_flows) as flows:
        lb4 = start_lb4(["-w", "2"], config=service(
            listen, "balance roundrobin", "timeout udp 30s",
            servers_at=[one.address, two.address]))
        n_missing = sum(flows.round() for _ in range(n_rounds))
        now = udp_drill.totals(lb4, "u")
        print(f"{n_flows * n_rounds} asked, {n_missing} missing, {flows.n_foreign} misdelivered,"
              f" {flows.servers}, {dict(now)}")
        assert flows.n_foreign == 0
        assert n_missing == 0
        assert now["total"] == now["active"] == n_flows
        assert set(flows.servers) == {"s1", "s2"}
        assert max(flows.servers.values()) - min(flows.servers.values()) <= n_flows * 0.1
        lb4.finish(checks_descriptors=False)


def test_tcp_and_udp_on_one_port(start_lb4):
    listen = f"127.0.0.1:{namespace.take_port()}"
    with servers.EchoServer() as tcp, udp_drill.UdpServer(port=tcp.port) as udp:
        assert tcp.address == udp.address
        lb4 = start_lb4(["-w", "2"], config=service(
            listen, "timeout udp 300ms", servers_at=[tcp.address], kind="both"))
        for i in range(10):
            payload = f"tcp {i}".encode()
            servers.ask_once(listen, payload)
        with udp_drill.Flows(listen, 20) as flows:
            assert flows.round() == 0 and flows.round() == 0
            assert udp_drill.totals(lb4, "u")["active"] == 20
            now = lb4.totals()
            assert now["server", "u/s1"]["active"] == 20, "sessions count as active"
            udp_drill.wait_totals(lb4, "u", lambda t: t["active"] == 0, what="idle sessions end")
            lb4.wait_descriptors()
        ends = udp_drill.closed_sessions(lb4)
        assert {end["reason"] for end in ends} == {"idle"} and len(ends) == 20
        assert all(300 <= int(end["ms"]) < 3000 for end in ends)
        lb4.finish()
        total = udp_drill.totals(lb4, "u")
        summary = lb4.summary()
        print(dict(total), summary)
        assert (total["total"], total["datagrams_in"], total["datagrams_out"]) == (20, 40, 40)
        assert summary["service", "u"]["total"] == 10
        assert summary["server", "u/s1"]["total"] == 30


def test_one_answer_ends_a_session_with_udp_responses_1(start_lb4):
    listen = f"127.0.0.1:{namespace.take_port()}"
    with udp_drill.UdpServer() as server:
        lb4 = start_lb4(["-w", "1"], config=service(
            listen, "udp-responses 1", "timeout udp 60s", servers_at=[server.address]))
        with udp_drill.Flows(listen, 50) as flows:
            assert flows.round() == 0 and flows.round() == 0
        now = udp_drill.wait_totals(lb4, "u", lambda t: t["active"] == 0, what="sessions end")
        assert now["total"] == 100
        ends = udp_drill.closed_sessions(lb4)
        assert {end["reason"] for end in ends} == {"responses"}
        assert max(int(end["ms"]) for end in ends) < 5000


@pytest.mark.parametrize("client_family, server_family", [("v4", "v6"), ("v6", "v4")])
def test_clients_and_servers_of_different_families(start_lb4, client_family, server_family):
    listen = namespace.address(client_family, namespace.take_port())
    with udp_drill.UdpServer(namespace.LOOPBACK[server_family]) as server:
        lb4 = start_lb4(["-w", "2"], config=service(listen, "timeout udp 500ms",
                                                    servers_at=[server.address]))
        with udp_drill.udp_socket(namespace.LOOPBACK[client_family]) as client:
            client.connect(udp_drill.split(listen))
            for size in SIZES:
                payload = os.urandom(size)
                assert udp_drill.ask(client, payload) == payload, f"{size} bytes"
            if client_family == "v6":
                # More than an IPv4 datagram can hold: counted, and the session lives on.
                client.send(bytes(65527))
                udp_drill.wait_totals(lb4, "u", lambda t: t["drop_large"] == 1, what="drop")
                assert udp_drill.ask(client, b"x") == b"x"
        assert udp_drill.totals(lb4, "u")["total"] == 1


def test_a_range_of_ports_reaches_the_same_ports(start_lb4):
    first = namespace.take_ports(3)
    with udp_drill.UdpServer("127.0.0.2", first, lambda p: b"0" + p), \
            udp_drill.UdpServer("127.0.0.2", first + 1, lambda p: b"1" + p), \
            udp_drill.UdpServer("127.0.0.2", first + 2, lambda p: b"2" + p):
        start_lb4(["-w", "2"], config=service(f"127.0.0.1:{first}-{first + 2}",
                                              "timeout udp 500ms", servers_at=["127.0.0.2"]))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(udp_drill.ANSWER_LIMIT_S)
            for i in (0, 1, 2, 1, 0):
                client.sendto(b"x", ("127.0.0.1", first + i))
                assert client.recvfrom(10) == (b"%dx" % i, ("127.0.0.1", first + i))


def asks(sock):
    try:
        return udp_drill.ask(sock, b"x" * 4000, 0.2) is not None
    except OSError:
        return False


@pytest.mark.parametrize("ours, theirs", [("10.77.0.1", "10.77.0.2"), ("[fd77::1]", "fd77::2")],
                         ids=["v4", "v6"])
def test_what_is_larger_than_the_mtu_passes_in_fragments(start_lb4, ours, theirs):
    """Both ways, alone and many of one size in one go, which the kernel refuses to join."""
    listen = f"{ours}:{namespace.take_port()}"
    with namespace.Neighbour(mtu=1280) as neighbour, \
            neighbour.run(udp_drill.UdpServer, theirs) as server, \
            neighbour.run(udp_drill.udp_socket, theirs) as client:
        # IPv6 needs a moment on a new link, and lb4 tells a send that failed as it would any other.
        with udp_drill.udp_socket(ours.strip("[]")) as first:
            first.connect(udp_drill.split(server.address))
            servers.wait_until(lambda: asks(first), what="the neighbour answers")
        lb4 = start_lb4(["-w", "2"], config=service(listen, "timeout udp 500ms",
                                                    servers_at=[server.address]))
        client.connect(udp_drill.split(listen))
        client.settimeout(udp_drill.ANSWER_LIMIT_S)
        sizes = [4000, 1200, 1253, 1281, 65507]
        for size in sizes:
            payload = os.urandom(size)
            assert udp_drill.ask(client, payload) == payload, f"{size} bytes"
        for size in [4000, 1400, 1200]:
            payloads = [os.urandom(size) for _ in range(20)]
            for payload in payloads:
                client.send(payload)
            assert [client.recv(udp_drill.LONGEST) for _ in payloads] == payloads
        now = udp_drill.totals(lb4, "u")
        print(dict(now))
        assert now["datagrams_in"] == now["datagrams_out"] == len(sizes) + 60
        assert now["total"] == 1 and now["dropped"] == 0
        udp_drill.wait_totals(lb4, "u", lambda t: t["active"] == 0, what="the session ends")
        lb4.finish()


class LateServer(udp_drill.UdpServer):
    """Answers each datagram a while after it came, unless another one has come from there since:
    who gets the port of a session that has ended is heard as if it were that one."""

    def __init__(self, after_s):
        self.after_s = after_s
        self.waiting = collections.deque()
        self.latest = {}
        self.n_done = 0
        super().__init__()

    def serve(self):
        self.sock.settimeout(0.01)
        while not self.is_ending:
            while self.waiting and self.waiting[0][0] <= time.monotonic():
                _, payload, client = self.waiting.popleft()
                if self.latest[client] is payload:
                    self.sock.sendto(payload, client)
                self.n_done += 1
            try:
                payload, client = self.sock.recvfrom(udp_drill.LONGEST)
            except OSError:
                continue  # nothing has come, or a session has gone
            self.latest[client] = payload
            self.waiting.append((time.monotonic() + self.after_s, payload, client))


def test_a_late_answer_reaches_nobody(start_lb4):
    """The session has ended; others have begun since, of the same clients too."""
    listen = f"127.0.0.1:{namespace.take_port()}"
    with LateServer(after_s=0.7) as server, udp_drill.Flows(listen, 100) as flows:
        lb4 = start_lb4(["-w", "2"], config=service(listen, "timeout udp 200ms",
                                                    servers_at=[server.address]))
        for total in (100, 200, 300):
            for flow in range(len(flows)):
                flows.send(flow)
            udp_drill.wait_totals(lb4, "u", what="sessions begin and end",
                                  condition=lambda t: (t["total"], t["active"]) == (total, 0))
        deadline = time.monotonic() + 10
        while server.n_done < 300:
            assert time.monotonic() < deadline, "not all answers were sent"
            flows.collect(0.05)
        assert flows.collect(0.1) == 0
        assert flows.n_foreign == 0 and sum(flows.n_answers) == 0
        now = udp_drill.totals(lb4, "u")
        print(dict(now))
        assert (now["total"], now["datagrams_out"]) == (300, 0)
        lb4.wait_descriptors()
