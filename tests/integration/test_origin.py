"""From where servers are reached: `source`, in turn; and what becomes of clients and of servers when
no local port is left."""
import contextlib
import pathlib
import socket
import threading
import time

import pytest

import daemon
import namespace
import pools
import servers
import web

LISTEN = "127.0.0.1:7000"
FIRST_PORT = 21000  # of the ranges of local ports here; take_port() does not get that far
SOURCES = ["127.0.0.8", "127.0.0.9"]
CHECK = "check tcp interval 1s timeout 500ms fall 1 rise 1"


class Peers:
    """Servers that note who their clients are, and end when those do."""

    def __init__(self, family=socket.AF_INET, host="127.0.0.1", kind=socket.SOCK_STREAM):
        self.listener = socket.socket(family, kind)
        self.listener.bind((host, namespace.take_port()))
        self.peers = []
        if kind == socket.SOCK_STREAM:
            self.listener.listen(4096)
        self.thread = threading.Thread(target=self.serve if kind == socket.SOCK_STREAM
                                       else self.answer, daemon=True)
        self.thread.start()

    @property
    def address(self):
        host, port = self.listener.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                sock, peer = self.listener.accept()
                with sock:
                    data = sock.recv(1)
                    if data:
                        self.peers.append(peer[0])
                        sock.sendall(data)
                    sock.recv(1)  # its end comes first

    def answer(self):
        with contextlib.suppress(OSError):
            while True:
                data, peer = self.listener.recvfrom(2048)
                if not peer:
                    return
                self.peers.append(peer[0])
                self.listener.sendto(data, peer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def config(listen, addresses, *words, **options):
    return pools.config(listen, addresses, *words, **options)


def ask(listen=LISTEN):
    with servers.connect(listen) as client:
        servers.ask(client)


@pytest.mark.parametrize("where", ["service", "server"])
def test_in_turn(start_lb4, where):
    source = f"source {','.join(SOURCES)}"
    with Peers() as server:
        text = (config(LISTEN, [server.address], source) if where == "service" else
                config(LISTEN, [server.address]).replace(server.address,
                                                         f"{server.address} {source}"))
        start_lb4(["-w", "1"], config=text)
        for _ in range(6):
            ask()
        assert server.peers == SOURCES * 3


def test_of_ipv6_and_ipv4(start_lb4):
    """Each server gets those of its family."""
    namespace.add_address("127.0.0.8")
    with Peers(socket.AF_INET6, "::1") as six, Peers() as four:
        start_lb4(["-w", "1"], config=config(LISTEN, [six.address, four.address],
                                             "balance roundrobin", "check none",
                                             "source fd00::1,127.0.0.8"))
        for _ in range(4):
            ask()
        assert (six.peers, four.peers) == (["fd00::1"] * 2, ["127.0.0.8"] * 2)


def test_of_udp_sessions(start_lb4):
    with Peers(kind=socket.SOCK_DGRAM) as server:
        start_lb4(["-w", "1"], config=config(LISTEN, [server.address],
                                             f"source {','.join(SOURCES)}", "udp-responses 1")
                  .replace("listen tcp", "listen udp"))
        for _ in range(4):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(10)
                client.connect(("127.0.0.1", 7000))
                client.send(b"x")
                assert client.recv(1) == b"x"
        assert server.peers == SOURCES * 2


def test_of_probes(start_lb4):
    """Unless the check has one of its own."""
    for words, expected in [("check tcp interval 50ms", set(SOURCES)),
                            ("check tcp interval 50ms source 127.0.0.7", {"127.0.0.7"})]:
        found = []
        with socket.create_server(("127.0.0.1", namespace.take_port())) as listener:
            listener.settimeout(10)
            lb4 = start_lb4(["-w", "1"], waits=False, config=config(
                f"127.0.0.1:{namespace.take_port()}", [f"127.0.0.1:{listener.getsockname()[1]}"],
                f"source {','.join(SOURCES)}", words))
            for _ in range(4):
                sock, peer = listener.accept()
                found.append(peer[0])
                sock.close()
            lb4.wait_line(daemon.PROBES_DONE)
            lb4.finish()
        assert set(found) == expected, found


def test_a_reload_changes_it(start_lb4, desk):
    with Peers() as server:
        text = desk.directive + config(LISTEN, [server.address])
        lb4 = start_lb4(["-w", "1"], config=text)
        ask()
        path = pathlib.Path(lb4.directory.name, "lb4.conf")
        path.write_text(text.replace("    server", "    source 127.0.0.8\n    server"))
        assert "+ source 127.0.0.8 of web" in desk.do("reload", "--dry-run")
        desk.do("reload")
        ask()
        path.write_text(text.replace(server.address, f"{server.address} source 127.0.0.9"))
        assert "~ origin web/s1 none -> source 127.0.0.9" in desk.do("reload", "--dry-run")
        desk.do("reload")
        ask()
        path.write_text(text)
        desk.do("reload")
        ask()
        assert server.peers == ["127.0.0.1", "127.0.0.8", "127.0.0.9", "127.0.0.1"]


@pytest.mark.parametrize("check", [CHECK, "check none"])
def test_a_source_without_a_way(start_lb4, desk, check):
    """Loopback reaches nobody else: the server is not to blame, and a source beside it is taken."""
    with namespace.Neighbour(1500) as far, \
            far.run(pools.Pool, [("10.77.0.2", 9000)]) as remote, \
            pools.Pool([("127.0.0.1", namespace.take_port())]) as near:
        addresses = remote.texts + near.texts
        lb4 = start_lb4(["-w", "1"], config=desk.directive + config(
            LISTEN, addresses, check, options=["source 127.0.0.9", ""]))
        served(4)
        assert (remote.accepted_at[0], len(near.accepted_at[0]) >= 4) == ([], True)
        row = desk.server("web/s1")
        assert (row["state"], row["connect_failures"], row["checks_failed"]) == ("up", 0, 0), row
        lb4.wait_line("no connect to 10.77.0.2:9000 from 127.0.0.9: there is no way")
        lb4.finish()
        start_lb4(["-w", "1"], config=desk.directive + config(
            LISTEN, remote.texts, check, options=["source 127.0.0.9,10.77.0.1"]))
        served(4)


def served(count):
    for _ in range(count):
        with servers.connect(LISTEN) as client:
            assert client.recv(2) == bytes(pools.NAME_BYTES)


def test_a_source_that_is_not_here(start_lb4, desk):
    """Our own trouble: told, counted, nobody is down for it; and another one is taken."""
    with Peers() as server:
        lb4 = start_lb4(["-w", "1"], config=desk.directive + config(
            LISTEN, [server.address], CHECK, "source 203.0.113.9"), waits=False)
        lb4.wait_line("server web/s1 cannot be probed.*no source address of it is this machine's|"
                      "no source address of it is this machine's")
        end, _ = servers.connect_end(LISTEN)
        assert end == "rst"
        lb4.wait_line(r"service web: no connect to \S+ from 203.0.113.9: no such address on this")
        assert desk.server("web/s1")["state"] in ("up", "new"), desk.server("web/s1")
        found = {row["about"]: row for row in desk.json("doctor")["findings"]}
        assert found["source"]["level"] == "bad" and "203.0.113.9" in found["source"]["found"]
        path = pathlib.Path(lb4.directory.name, "lb4.conf")
        path.write_text(path.read_text().replace("203.0.113.9", "203.0.113.9,127.0.0.8"))
        desk.do("reload")
        ask()
        assert server.peers == ["127.0.0.8"]


# --- no port is left ------------------------------------------------------------------------------

class Crowd:
    """Clients that end first, so that lb4 ends first at the server: its port rests in TIME-WAIT.
    They have ports of their own: those of the range are for lb4 alone."""

    sources = iter([(f"127.9.{i >> 8}.{i & 255}", port)
                    for i in range(1, 150) for port in range(2000, 3000)])

    def __init__(self):
        self.lock = threading.Lock()
        self.n_served = 0
        self.n_reset = 0

    def come(self, n_clients, n_threads=4):
        threads = [threading.Thread(target=self.run, args=(n_clients // n_threads,))
                   for _ in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def run(self, n_clients):
        for _ in range(n_clients):
            with self.lock:
                source = next(Crowd.sources)
            served = self.is_served(source)
            with self.lock:
                self.n_served += served
                self.n_reset += not served

    def is_served(self, source):
        try:
            with socket.socket() as client:
                client.settimeout(20)
                client.bind(source)
                client.connect(("127.0.0.1", 7000))
                client.sendall(b"x")
                return client.recv(1) == b"x"
        except ConnectionResetError:
            return False


@contextlib.contextmanager
def few_ports(count):
    """None of them is used again within the minute."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(namespace.sysctl("net.ipv4.tcp_tw_reuse", "0"))
        # Or the kernel ends them early when there are many; the clients' are among them.
        stack.enter_context(namespace.sysctl("net.ipv4.tcp_max_tw_buckets", "262144"))
        if count:
            stack.enter_context(namespace.sysctl("net.ipv4.ip_local_port_range",
                                                 f"{FIRST_PORT} {FIRST_PORT + count - 1}"))
        yield


def exhaust(start_lb4, desk, n_ports, n_clients, sources):
    """What a minute of clients meets: (crowd, lb4, scrape, seconds)."""
    with few_ports(n_ports), contextlib.ExitStack() as stack:
        pool = [stack.enter_context(servers.EchoServer()) for _ in range(2)]
        lb4 = start_lb4(["-w", "2"], config=desk.directive + config(
            LISTEN, [server.address for server in pool], "balance roundrobin",
            "check tcp interval 10s source 127.0.0.77", f"source {','.join(sources)}"))
        crowd = Crowd()
        started = time.monotonic()
        crowd.come(n_clients)
        took = time.monotonic() - started
        found = {row["about"]: row for row in desk.json("doctor")["findings"]}
        scrape = web.Scrape(lb4.http)
        assert all(desk.server(f"web/s{i + 1}")["state"] == "up" for i in range(2))
        lb4.finish()
    assert not [line for line in lb4.lines if "DOWN" in line or "suspect" in line]
    assert scrape.sum("lb4_server_connect_failures_total") == 0
    return crowd, lb4, scrape, found, took


def test_two_sources_are_enough(start_lb4, desk, is_full):
    """60,000 connections in a minute to two servers, from two addresses; in the short form, 300 of
    them through a hundred ports."""
    n_clients, n_ports = (60000, 0) if is_full else (300, 100)
    crowd, lb4, scrape, found, took = exhaust(start_lb4, desk, n_ports, n_clients, SOURCES)
    print(f"{n_clients} connections in {took:.1f} s: {crowd.n_served} served")
    assert crowd.n_served == n_clients and crowd.n_reset == 0
    assert scrape.sum("lb4_connect_local_errors_total") == 0
    assert not [line for line in lb4.lines if "no local port" in line]
    assert "connects" not in found
    if is_full:
        assert took <= 60


def test_one_source_is_not(start_lb4, desk, is_full):
    """It is counted, told once, and no server is down for it."""
    n_clients, n_ports = (60000, 0) if is_full else (300, 100)
    crowd, lb4, scrape, found, took = exhaust(start_lb4, desk, n_ports, n_clients, SOURCES[:1])
    n_errors = scrape.value("lb4_connect_local_errors_total", service="web", cause="ports")
    print(f"{n_clients} connections in {took:.1f} s: {crowd.n_served} served, {crowd.n_reset} not,"
          f" {n_errors:.0f} connects found no port")
    assert scrape.sum("lb4_connect_local_errors_total") == n_errors
    if not is_full or took < 55:
        ports = n_ports or 28232
        assert crowd.n_served == 2 * ports and crowd.n_reset == n_clients - 2 * ports
        # Each of them has tried both servers; and who found one of them used up the other.
        assert n_errors >= 2 * crowd.n_reset
    told = [line for line in lb4.lines if "no local port is left towards 127.0.0.1:" in line]
    assert 1 <= len(told) <= 1 + took / 10
    assert "from 127.0.0.8: all " in told[0] and "more addresses with `source`" in told[0]
    assert found["connects"]["level"] == "warn" and "source" in found["connects"]["lift"]
