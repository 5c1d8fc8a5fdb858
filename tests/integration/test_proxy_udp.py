"""PROXY headers over UDP: one in each datagram, to servers that want it, and from balancers before
us that are believed."""
import os
import random
import re
import socket
import struct

import pytest

import namespace
import proxied
import reloading
import servers
import udp_drill

SIZES = [0, 1, 512, 1443, 1444, 1445, 1471, 1472, 1473, 8972]
LARGEST = 65507
UDP_SEGMENT = 103
N_MIXED = 40


def config(listen, *words, servers_at, options="send-proxy v2", kind="udp"):
    lines = [f"service u {{\n    listen {kind} {listen}", *words, "timeout udp 500ms"]
    lines += [f"server s{i + 1} {address} {options}" for i, address in enumerate(servers_at)]
    return "\n    ".join(lines) + "\n}\n"


def take_listen(family="v4"):
    return namespace.address(family, namespace.take_port())


def client_of(listen):
    host = udp_drill.split(listen)[0]
    sock = udp_drill.udp_socket(host)
    sock.settimeout(udp_drill.ANSWER_LIMIT_S)
    sock.connect(udp_drill.split(listen))
    return sock


def send_joined(sock, payload, size):
    """Many datagrams in one go, as they come from a sender that joins them."""
    control = [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("H", size))]
    assert sock.sendmsg([payload], control) == len(payload)


# --- to servers -----------------------------------------------------------------------------------


def test_each_datagram_says_who_and_where(start_lb4, family):
    listen = take_listen(family)
    largest = LARGEST - (28 if family == "v4" else 52)
    sizes = [*SIZES, largest - 1, largest]
    with proxied.EchoServer(namespace.LOOPBACK[family]) as server, client_of(listen) as client:
        lb4 = start_lb4(["-w", "2"], config=config(listen, servers_at=[server.address]))
        payloads = [os.urandom(size) for size in sizes for _ in range(3)]
        for payload in payloads:
            assert udp_drill.ask(client, payload) == payload, f"{len(payload)} bytes"
        who, where = client.getsockname()[:2], client.getpeername()[:2]
        assert server.said == [proxied.Said(who, where, payload) for payload in payloads]
        now = udp_drill.totals(lb4, "u")
        assert now["in"] == now["out"] == 3 * sum(sizes), "headers are not the client's bytes"
        assert now["dropped"] == 0


def test_what_has_no_room_for_the_header_is_dropped(start_lb4):
    listen = take_listen()
    with proxied.EchoServer() as server, client_of(listen) as client:
        lb4 = start_lb4(["-w", "1"], config=config(listen, servers_at=[server.address]))
        for size in [*range(LARGEST - 27, LARGEST + 1)] * 10:
            client.send(os.urandom(size))
        assert udp_drill.ask(client, b"last") == b"last"
        assert [said.payload for said in server.said] == [b"last"]
        now = udp_drill.totals(lb4, "u")
        assert now["dropped"] == now["drop_large"] + now["drop_kernel"] == 280 + 1 - 1
        told = [line for line in lb4.lines if "longer than a datagram can be" in line]
        assert 1 <= len(told) <= 5, "told of, at most once a second"
        assert f"client {udp_drill.join(*client.getsockname())}" in told[0]


@pytest.mark.parametrize("is_joined", [False, True], ids=["single", "joined"])
def test_bursts_have_a_header_each(start_lb4, is_joined):
    """Equal and unequal sizes behind one another, in what one send brings and leaves."""
    listen = take_listen()
    with proxied.EchoServer() as server, client_of(listen) as client:
        start_lb4(["-w", "2"], config=config(listen, servers_at=[server.address]))
        who, where = client.getsockname(), client.getpeername()
        for size in (1, 100, 1200, 1444, 1472):
            n = N_MIXED if size > 1 else 64
            payloads = [os.urandom(size) for _ in range(n - 1)] + [os.urandom(1 + size // 2)]
            if is_joined:
                send_joined(client, b"".join(payloads), size)
            else:
                payloads += [b"", b"", os.urandom(size), os.urandom(2 * size)]
                for payload in payloads:
                    client.send(payload)
            assert [client.recv(udp_drill.LONGEST) for _ in payloads] == payloads
            assert server.said == [proxied.Said(who, where, payload) for payload in payloads]
            server.said.clear()


def test_a_refused_datagram_goes_elsewhere_with_its_header(start_lb4):
    listen = take_listen()
    with proxied.EchoServer() as server:
        closed = f"127.0.0.1:{namespace.take_port()}"
        start_lb4(["-w", "1"], config=config(listen, "balance roundrobin",
                                             servers_at=[closed, server.address]))
        for i in range(6):
            with client_of(listen) as client:
                payload = b"%d" % i
                assert udp_drill.ask(client, payload) == payload
                assert server.said.pop() == proxied.Said(client.getsockname(),
                                                         client.getpeername(), payload)


def test_udp_responses_counts_answers(start_lb4):
    listen = take_listen()
    with proxied.EchoServer() as server:
        lb4 = start_lb4(["-w", "1"], config=config(listen, "udp-responses 1",
                                                   servers_at=[server.address]))
        for _ in range(20):
            with client_of(listen) as client:
                assert udp_drill.ask(client, b"x") == b"x"
        udp_drill.wait_totals(lb4, "u", lambda now: now["active"] == 0)
        ends = udp_drill.closed_sessions(lb4)
        assert [end["reason"] for end in ends] == 20 * ["responses"]


def test_a_server_without_the_word_gets_none(start_lb4):
    listen = take_listen()
    with udp_drill.UdpServer() as server, client_of(listen) as client:
        start_lb4(["-w", "1"], config=config(listen, servers_at=[server.address], options=""))
        assert udp_drill.ask(client, b"bare") == b"bare"


def test_a_reload_changes_what_is_said_to_a_living_session(start_lb4):
    listen = take_listen()
    with udp_drill.UdpServer() as server, client_of(listen) as client:
        with_it, without = (config(listen, servers_at=[server.address], options=words)
                            for words in ("send-proxy v2", ""))
        lb4, file = reloading.start(start_lb4, without)
        assert udp_drill.ask(client, b"one") == b"one"
        file.change(with_it)
        said = proxied.unwrap(udp_drill.ask(client, b"two"))
        assert (said.client, said.payload) == (client.getsockname(), b"two")
        file.change(without)
        assert udp_drill.ask(client, b"three") == b"three"
        assert udp_drill.totals(lb4, "u")["total"] == 1


# --- from a balancer before us --------------------------------------------------------------------


def behind(listen, *words, servers_at, from_="127.0.0.1/32", **options):
    return config(f"{listen} accept-proxy from {from_}", *words, servers_at=servers_at, **options)


def test_many_clients_behind_one_balancer(start_lb4, family):
    """Each is a session of its own, and its answers go back to the balancer."""
    host = namespace.LOOPBACK[family]
    listen = take_listen(family)
    net, asked = ("10.1.0.", ("10.0.0.1", 53)) if family == "v4" else ("2001:db8::",
                                                                      ("2001:db8::53", 53))
    clients = [(f"{net}{i % 50 + 1}", 1000 + i) for i in range(200)]
    with proxied.EchoServer(host) as server, client_of(listen) as balancer:
        lb4 = start_lb4(["-w", "2"], config=behind(
            listen, "access-log on", servers_at=[server.address], from_=f"{host}"))
        for turn in range(2):
            for client in clients:
                payload = f"{turn} {client}".encode()
                assert udp_drill.ask(balancer, proxied.wrap(payload, client, asked)) == payload
        assert server.said == [proxied.Said(client, asked, f"{turn} {client}".encode())
                               for turn in range(2) for client in clients]
        now = udp_drill.totals(lb4, "u")
        assert (now["total"], now["dropped"]) == (len(clients), 0)
        assert now["in"] == now["out"] == sum(len(said.payload) for said in server.said)
        who = re.escape(udp_drill.join(*clients[7]))
        lb4.wait_line(f"access client={who} service=u server=s1 .*transport=udp")


def test_the_balancer_is_part_of_who_it_is(start_lb4):
    """The same client by way of two balancers, and asking two addresses: each gets its own."""
    listen = take_listen()
    client = ("10.1.2.3", 4)
    with proxied.EchoServer() as server, client_of(listen) as one, client_of(listen) as two:
        lb4 = start_lb4(["-w", "1"], config=behind(listen, servers_at=[server.address]))
        for sock in (one, two):
            for asked in (("10.0.0.1", 53), ("10.0.0.2", 53)):
                for i in range(2):
                    payload = f"{asked} {i}".encode()
                    assert udp_drill.ask(sock, proxied.wrap(payload, client, asked)) == payload
                    assert server.said.pop() == proxied.Said(client, asked, payload)
        assert udp_drill.totals(lb4, "u")["total"] == 4


def test_answers_leave_from_the_asked_address(start_lb4):
    port = namespace.take_port()
    with proxied.EchoServer() as server:
        start_lb4(["-w", "2"], config=behind(f":{port}", servers_at=[server.address],
                                             from_="127.0.0.0/8"))
        for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
            with client_of(f"{host}:{port}") as balancer:
                asked = proxied.wrap(b"x", ("10.1.2.3", 4))
                assert udp_drill.ask(balancer, asked) == b"x"


def test_joined_datagrams_of_many_clients(start_lb4):
    listen = take_listen()
    clients = [("10.1.2.3", 1 + i % 7) for i in range(60)]
    payloads = [b"%03d" % i for i in range(60)]
    with proxied.EchoServer() as server, client_of(listen) as balancer:
        start_lb4(["-w", "2"], config=behind(listen, servers_at=[server.address]))
        for _ in range(5):
            joined = b"".join(map(proxied.wrap, payloads, clients))
            send_joined(balancer, joined, len(joined) // 60)
            assert sorted(balancer.recv(100) for _ in payloads) == payloads
            said = {said.payload: said.client for said in server.said}
            assert said == dict(zip(payloads, clients))
            server.said.clear()


def test_who_is_not_believed_gets_nothing(start_lb4):
    listen = take_listen()
    with proxied.EchoServer() as server, client_of(listen) as stranger:
        lb4 = start_lb4(["-w", "1"], config=behind(
            listen, servers_at=[server.address], from_="127.0.0.2 10.0.0.0/8 ::1"))
        for payload in (b"", b"bare", proxied.wrap(b"x", ("10.1.2.3", 4)), proxied.wrap(b"x")):
            stranger.send(payload)
        now = udp_drill.wait_totals(lb4, "u", lambda now: now["datagrams_in"] == 4)
        assert (now["drop_denied"], now["dropped"], now["total"]) == (4, 4, 0)
        assert server.n_received == 0
        lb4.wait_line("refused client .* of u: peer")
        with udp_drill.udp_socket("127.0.0.2") as balancer:
            balancer.connect(udp_drill.split(listen))
            assert udp_drill.ask(balancer, proxied.wrap(b"x", ("10.1.2.3", 4))) == b"x"


def lies():
    good = proxied.wrap(b"payload", ("10.1.2.3", 4))
    yield from (good[:n] for n in range(28))
    yield b"PROXY UDP4 10.1.2.3 10.0.0.1 4 53\r\npayload"
    yield b"PROXY TCP4 10.1.2.3 10.0.0.1 4 53\r\npayload"
    for at, values in ((0, (0x0e,)), (11, (0x0b,)), (12, (0x01, 0x11, 0x22, 0x2f, 0x31)),
                       (13, (0x13, 0x1f, 0x41, 0x42)), (14, (1, 0xff)), (15, (0, 11, 200))):
        for value in values:
            yield good[:at] + bytes([value]) + good[at + 1:]
    yield proxied.wrap(b"", ("10.1.2.3", 4), extensions=b"\x04\x00\x05x")  # longer than it is
    yield proxied.wrap(b"", ("10.1.2.3", 4), extensions=b"\x04\x00")
    yield proxied.wrap(b"", ("10.1.2.3", 4), extensions=b"\x03\x00\x04\1\2\3\4")  # a wrong CRC
    yield proxied.wrap(b"x", ("10.1.2.3", 4), extensions=b"\x04\x1f\xff" + bytes(0x1fff))
    rng = random.Random(7)
    yield from (rng.randbytes(rng.choice([16, 28, 60, 1400])) for _ in range(50))
    yield from (proxied.SIGNATURE + rng.randbytes(40) for _ in range(50))


def test_lies_and_junk_reach_nobody(start_lb4):
    listen = take_listen()
    told = list(lies())
    with proxied.EchoServer() as server, client_of(listen) as balancer:
        lb4 = start_lb4(["-w", "1"], config=behind(listen, servers_at=[server.address]))
        for i, lie in enumerate(told):
            balancer.send(lie)
            payload = b"%d" % i
            assert udp_drill.ask(balancer, proxied.wrap(payload, ("10.9.9.9", 9))) == payload
        assert [said.payload for said in server.said] == [b"%d" % i for i in range(len(told))]
        now = udp_drill.totals(lb4, "u")
        assert (now["drop_header"], now["dropped"], now["total"]) == (len(told), len(told), 1)
        said = [line for line in lb4.lines if re.search("refused .* of u.*: header", line)]
        assert 1 <= len(said) <= 5, "told of at a bounded rate"


def test_client_of_a_stream(start_lb4):
    """It came to the balancer by TCP, as dnsdist says of those who ask by HTTPS."""
    listen = take_listen()
    with proxied.EchoServer() as server, client_of(listen) as balancer:
        start_lb4(["-w", "1"], config=behind(listen, servers_at=[server.address]))
        for host, code in (("10.1.2.3", 0x11), ("2001:db8::7", 0x21)):
            asked = ("10.0.0.1", 53) if ":" not in host else ("2001:db8::1", 53)
            datagram = bytearray(proxied.wrap(b"x", (host, 4), asked))
            datagram[13] = code
            assert udp_drill.ask(balancer, bytes(datagram)) == b"x"
            assert server.said[-1] == proxied.Said((host, 4), asked, b"x")


def test_local_and_extensions(start_lb4):
    """A balancer's own questions count as its own; what a header says beside is skipped."""
    listen = take_listen()
    note = b"\x04\x00\x03abc"
    with proxied.EchoServer() as server, client_of(listen) as balancer:
        start_lb4(["-w", "1"], config=behind(listen, servers_at=[server.address]))
        me, here = balancer.getsockname(), balancer.getpeername()
        for extensions in (b"", note):
            assert udp_drill.ask(balancer, proxied.wrap(b"x", extensions=extensions)) == b"x"
            assert server.said.pop() == proxied.Said(me, here, b"x")
            asked = proxied.wrap(b"y", ("10.1.2.3", 4), extensions=extensions)
            assert udp_drill.ask(balancer, asked) == b"y"
            assert server.said.pop() == proxied.Said(("10.1.2.3", 4), ("10.0.0.1", 53), b"y")


def test_source_hash_goes_by_the_client(start_lb4):
    listen = take_listen()
    with proxied.EchoServer() as s1, proxied.EchoServer() as s2, client_of(listen) as one, \
            client_of(listen) as two:
        start_lb4(["-w", "1"], config=behind(listen, "balance source",
                                             servers_at=[s1.address, s2.address]))
        for i in range(40):
            for sock in (one, two):
                wrapped = proxied.wrap(b"x", (f"10.1.2.{i}", 4))
                assert udp_drill.ask(sock, wrapped) == b"x"
        by_server = [{said.client[0] for said in server.said} for server in (s1, s2)]
        assert not by_server[0] & by_server[1], "a client is at one server, whoever brings it"
        assert min(map(len, by_server)) >= 8


def test_a_reload_changes_whom_to_believe(start_lb4):
    listen = take_listen()
    with udp_drill.UdpServer() as server, client_of(listen) as sock:
        plain = config(listen, servers_at=[server.address], options="")
        ours, others = (behind(listen, servers_at=[server.address], from_=net, options="")
                        for net in ("127.0.0.0/8", "10.0.0.0/8"))
        wrapped = proxied.wrap(b"x", ("10.1.2.3", 4))
        lb4, file = reloading.start(start_lb4, plain)
        assert udp_drill.ask(sock, wrapped) == wrapped
        file.change(ours)
        assert udp_drill.ask(sock, wrapped) == b"x"
        file.change(others)
        sock.send(wrapped)
        udp_drill.wait_totals(lb4, "u", lambda now: now["drop_denied"] == 1)
        file.change(plain)
        assert udp_drill.ask(sock, wrapped) == wrapped


# --- one behind the other -------------------------------------------------------------------------


def test_chain(start_lb4, family):
    """The server hears of the first client's address, and where that one meant to go."""
    host = namespace.LOOPBACK[family]
    first, second = take_listen(family), take_listen(family)
    with proxied.EchoServer(host) as server, client_of(first) as one, client_of(first) as two:
        start_lb4(["-w", "2"], config=behind(second, servers_at=[server.address], from_=host))
        start_lb4(["-w", "2"], config=config(first, servers_at=[second]))
        for size in [*SIZES, LARGEST - 52]:
            for sock in (one, two):
                payload = os.urandom(size)
                assert udp_drill.ask(sock, payload) == payload
                assert server.said.pop() == proxied.Said(sock.getsockname()[:2],
                                                         sock.getpeername()[:2], payload)
        payloads = [os.urandom(1000) for _ in range(N_MIXED)]
        send_joined(one, b"".join(payloads), 1000)
        assert [one.recv(udp_drill.LONGEST) for _ in payloads] == payloads
        assert [said.payload for said in server.said] == payloads


# --- probes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", ["check dns lb4.example", 'check send "ping" expect "ping"'])
def test_probes_speak_for_themselves(start_lb4, check):
    listen = take_listen()
    with proxied.EchoServer() as server:
        lb4 = start_lb4(["-w", "1"], config=config(listen, f"{check} interval 100ms fall 1",
                                                   servers_at=[server.address]), waits=False)
        lb4.wait_line(r"\bready\b")
        servers.wait_until(lambda: len(server.said) >= 3, what="probes")
        assert {(said.client, said.asked) for said in server.said} == {(None, None)}
        if "ping" in check:
            assert {said.payload for said in server.said} == {b"ping"}


def test_probes_of_another_port_have_none(start_lb4):
    listen = take_listen()
    with proxied.EchoServer() as server, \
            udp_drill.UdpServer(answer={b"ping": b"pong"}.get) as health:
        port = udp_drill.split(health.address)[1]
        check = f'check send "ping" expect "pong" port {port} interval 100ms fall 1'
        lb4 = start_lb4(["-w", "1"], config=config(listen, check, servers_at=[server.address]))
        assert not any("is DOWN" in line for line in lb4.lines)
        with client_of(listen) as client:
            assert udp_drill.ask(client, b"x") == b"x"
        assert [said.payload for said in server.said] == [b"x"]


# --- the configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["udp", "both"])
def test_version_1_is_for_tcp_alone(binary, tmp_path, kind):
    path = tmp_path / "lb4.conf"
    path.write_text(config("127.0.0.1:1", servers_at=["127.0.0.1:2"], options="send-proxy v1",
                           kind=kind))
    done = reloading.subprocess.run([binary, "-t", "-c", path], capture_output=True, text=True,
                                    check=False)
    assert done.returncode == 1
    assert "send-proxy v1" in done.stderr and "UDP" in done.stderr and "v2" in done.stderr
