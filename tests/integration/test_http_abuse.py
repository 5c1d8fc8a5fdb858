"""Whatever is done to the HTTP listener, traffic does not notice, and all is given back."""
import contextlib
import errno
import random
import socket
import time

import pytest

import admin
import daemon
import drill
import namespace
import servers
import web

PER_S = 100
IDLE = 1000
RSS_SLACK = 2 << 20
N_CLIENTS = 16
N_SERVERS = 500  # that are never asked, for long answers


class Site:
    def __init__(self, lb4, address):
        self.lb4 = lb4
        self.address = address
        self.rss_at_start = lb4.rss_bytes()

    def connect(self):
        sock = servers.connect(self.address, 30)
        return sock

    def answers(self):
        with contextlib.suppress(OSError):
            return web.Page(self.address, "/ready").status == 200
        return False

    def check_memory(self):
        assert daemon.IS_SANITIZED or self.lb4.rss_bytes() < self.rss_at_start + RSS_SLACK


@pytest.fixture
def site(start_lb4):
    """lb4 under a drill; afterwards every client of it must have been served."""
    with contextlib.ExitStack() as stack:
        pool = [stack.enter_context(servers.ServerProcess(name)) for name in ("a", "b")]
        address = web.take_address()
        text = f"http {address}\n" + "\n".join([
            "service web {", f"listen tcp {drill.LISTEN}", "check tcp interval 1s",
            *(f"server {server.name} {server.address}" for server in pool), "}",
            "service much {", "listen tcp 127.0.0.1:7001", "check none",
            *(f"server s{i} 198.51.100.1:{i + 1}" for i in range(N_SERVERS)), "}", ""])
        lb4 = start_lb4(["-w", "2"], config=text, debug=False)
        with drill.Drill(drill.LISTEN, PER_S) as clients:
            clients.wait_records(PER_S // 2)
            web.Scrape(address)
            web.status(address)
            site = Site(lb4, address)
            yield site
            servers.wait_until(site.answers, 30, "a free place")
            clients.wait_records(len(clients.records) + PER_S // 2)
        bad = drill.failures(clients.records)
        assert not bad, drill.describe(bad, lb4)
        site.check_memory()
        servers.wait_until(lambda: web.status(address)["services"][0]["active"] == 0)
        scrape = web.Scrape(address)
        assert scrape.value("lb4_connections_total", service="web") == len(clients.records)


def test_idle_clients_at_once(site):
    """16 are kept for 5 s, the others are told to come later at once."""
    with contextlib.ExitStack() as stack:
        started = time.monotonic()
        held = [stack.enter_context(site.connect()) for _ in range(IDLE)]
        answers = [admin.read_all(sock) for sock in held]
        assert sum(answer.startswith("HTTP/1.1 503 ") for answer in answers) >= IDLE - N_CLIENTS - 1
        assert set(answers[:N_CLIENTS]) == {""}
        assert time.monotonic() - started < 5 + 15
        site.check_memory()


def test_idle_clients_one_after_another(site):
    for _ in range(IDLE):
        site.connect().close()
    assert site.answers()


def test_slowloris(site):
    """All places are taken by clients that send a byte now and then: 5 s, then they are told."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(site.connect()) for _ in range(N_CLIENTS)]
        started = time.monotonic()
        for sock in held:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: ")
        open_ones = list(held)
        while open_ones and time.monotonic() - started < 15:
            for sock in list(open_ones):
                try:
                    sock.send(b"a")
                    sock.setblocking(False)
                    if sock.recv(10):
                        open_ones.remove(sock)
                except BlockingIOError:
                    pass
                except OSError:
                    open_ones.remove(sock)
                finally:
                    sock.setblocking(True)
            time.sleep(0.1)
        assert not open_ones
        assert 4 < time.monotonic() - started < 15


def test_byte_at_a_time(site):
    with site.connect() as sock:
        for byte in b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n":
            sock.send(bytes([byte]))
            time.sleep(0.001)
        assert admin.read_all(sock).startswith("HTTP/1.1 200 ")


def test_large_headers(site):
    """1 MB each: the answer comes, although nobody wanted to read all that."""
    for head in (b"GET / HTTP/1.1\r\nHost: a\r\nA: ", b"GET /", b"A: b\r\n"):
        for _ in range(5):
            with site.connect() as sock:
                sock.sendall(head + b"x" * (1 << 20))
                answer = admin.read_all(sock)
                assert answer.startswith(("HTTP/1.1 431 ", "HTTP/1.1 414 ", "HTTP/1.1 400 "))
    site.check_memory()


@pytest.fixture
def small_buffers():
    """Of the kernel, which would take a long answer whole."""
    with namespace.sysctl("net.ipv4.tcp_wmem", "4096 16384 65536"):
        yield


def test_readers_that_never_read(small_buffers, site):
    """Each takes what its buffers take; after 10 s it is closed."""
    with contextlib.ExitStack() as stack:
        held = []
        for _ in range(N_CLIENTS):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            host, port = site.address.split(":")
            sock.connect((host, int(port)))
            sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            held.append(sock)
        started = time.monotonic()
        assert not site.answers()
        servers.wait_until(site.answers, 30, "a free place")
        assert 8 < time.monotonic() - started < 25


def test_noise(site):
    source = random.Random(7)
    noises = [bytes(range(256)), b"\0" * 100, b"\xff" * 5000, b"\r\n" * 10000, b"\n" * 100000,
              b"GET / HTTP/1.1\r\n" * 1000, b"\x16\x03\x01" * 1000, b"show info\n",
              *(source.randbytes(source.randrange(1, 20000)) for _ in range(50))]
    for noise in noises:
        with site.connect() as sock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(noise)
            sock.shutdown(socket.SHUT_WR)
            text = admin.read_all(sock)
            assert not text or text.startswith(("HTTP/1.1 4", "HTTP/1.1 5")), text


def test_ask_and_reset(site):
    for index in range(300):
        sock = site.connect()
        sock.sendall((b"GET /metrics HTTP/1.0\r\n\r\n", b"GET /status.json HT", b"G")[index % 3])
        servers.reset(sock)
    servers.wait_until(site.answers, what="a free place")


def test_endless_senders(site):
    """They never stop, whatever they are told: it ends after a while."""
    ended = 0
    for _ in range(5):
        with site.connect() as sock:
            sock.setblocking(False)
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                try:
                    sock.send(b"x" * 65536)
                except BlockingIOError:
                    time.sleep(0.001)
                except OSError as error:
                    assert error.errno in (errno.EPIPE, errno.ECONNRESET)
                    ended += 1
                    break
    assert ended == 5
