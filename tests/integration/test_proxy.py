"""The PROXY protocol over TCP: what lb4 says is what real servers believe, who may speak to it with
a header, and what becomes of those whose header does not come."""
import contextlib
import hashlib
import os
import pathlib
import signal
import socket
import threading
import time

import pytest

import namespace
import proxy_headers
import real_servers
import reloading
import servers

LISTEN = "127.0.0.1:7000"
FAKE = b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 80\r\n"


def config(server, *, listen=LISTEN, accept="", words="", more=""):
    return f"""{more}service web {{
    listen tcp {listen} {accept}
    timeout idle 20s
    server s1 {server} {words}
}}
"""


# --- what lb4 says

def ask_for_client(address):
    """(the client's own address, what the server says of it)."""
    with servers.connect(address) as sock:
        own = sock.getsockname()[:2]
        sock.sendall(proxy_headers.REQUEST)
        answer = b""
        while data := sock.recv(65536):
            answer += data
    found = proxy_headers.CLIENT.search(answer)
    assert found, answer
    return own, (found[1].decode().strip("[]"), int(found[2]))


@real_servers.needs("nginx", "haproxy")
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("kind", [proxy_headers.Nginx, proxy_headers.HaProxy])
def test_real_servers_believe_it(start_lb4, servers_directory, kind, version, family):
    with kind(servers_directory, namespace.LOOPBACK[family]) as server:
        listen = namespace.address(family, 7000)
        lb4 = start_lb4(config=config(server.address, listen=listen, words=f"send-proxy {version}"))
        told = [ask_for_client(listen) for _ in range(10)]
        assert all(own == said for own, said in told)
        lb4.wait_n_closed("web", 10)
        if kind is proxy_headers.Nginx:
            servers.wait_until(lambda: server.clients() == [own for own, _ in told], what="its log")


@real_servers.needs("nginx")
def test_what_one_says_another_says_on(start_lb4, servers_directory):
    """Version 1 in, version 2 out; the log has the client, too."""
    with proxy_headers.Nginx(servers_directory) as nginx:
        lb4 = start_lb4(["-w", "1"], config=config(
            nginx.address, accept="accept-proxy from 127.0.0.1 ::1", words="send-proxy v2"))
        for header, client in ((FAKE, ("192.0.2.1", 1234)),
                               (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", ("2001:db8::1", 1))):
            assert proxy_headers.verdict(LISTEN, header, ends=False) == client
        assert proxy_headers.verdict(LISTEN, b"PROXY UNKNOWN\r\n", ends=False) == "real"
        clients = [entry["client"] for entry in lb4.wait_n_closed("web", 3)]
        assert clients[:2] == ["192.0.2.1:1234", "[2001:db8::1]:1"]
        assert clients[2].startswith("127.0.0.1:")


def test_header_first_then_every_byte(start_lb4, splice):
    """Bulk behind a header, in both ways of relaying; the header is in no count of bytes."""
    payload = os.urandom(4 << 20)
    with proxy_headers.Recorder() as recorder:
        lb4 = start_lb4(config=config(recorder.address, words="send-proxy v1"), splice=splice)
        with servers.connect(LISTEN) as sock:
            own = "%s %s" % (sock.getsockname()[0], "127.0.0.1")
            port = sock.getsockname()[1]
            sock.sendall(payload)
            sock.shutdown(socket.SHUT_WR)
            assert servers.read_end(sock) == "fin"
        header = f"PROXY TCP4 {own} {port} 7000\r\n".encode()
        servers.wait_until(lambda: len(recorder.taken[0]) == len(header) + len(payload),
                           what="all bytes")
        assert recorder.taken[0].startswith(header)
        assert hashlib.sha256(recorder.taken[0][len(header):]).digest() == \
            hashlib.sha256(payload).digest()
        entry, = lb4.wait_n_closed("web", 1)
        assert int(entry["in"]) == len(payload) and int(entry["out"]) == 0


@real_servers.needs("nginx")
@pytest.mark.parametrize("check", ["check tcp", "check http / status 200"])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_probes_say_it_too(start_lb4, servers_directory, check, version):
    """A server that demands a header is up; without ours it would not be, where it is asked."""
    with proxy_headers.Nginx(servers_directory) as nginx:
        text = config(nginx.address, words=f"send-proxy {version}\n    {check} interval 100ms fast"
                      " 50ms timeout 1s fall 2 rise 1")
        lb4, file = reloading.start(start_lb4, text)
        assert not any("is DOWN" in line for line in lb4.lines)
        ask_for_client(LISTEN)
        if "http" in check:
            before = len(lb4.lines)
            file.change(text.replace(f"send-proxy {version}", ""),
                        f"~ send-proxy web/s1 {version} -> none")
            lb4.wait_line("web/s1 is DOWN", start=before)


@real_servers.needs("nginx")
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_check_elsewhere_says_nothing(start_lb4, servers_directory, version):
    """The health program beside a server knows of no header."""
    with proxy_headers.Recorder() as recorder, real_servers.Nginx(servers_directory) as health:
        lb4 = start_lb4(config=config(
            recorder.address, words=f"send-proxy {version}\n    check http / status 200 "
            f"port {health.port} interval 100ms timeout 1s fall 1 rise 1"))
        assert not any("is DOWN" in line for line in lb4.lines)
        with servers.connect(LISTEN) as sock:
            sock.sendall(proxy_headers.REQUEST)
            servers.read_end(sock)
        taken, = recorder.taken
        assert taken.startswith(proxy_headers.SIGNATURE if version == "v2" else b"PROXY TCP4 ")


def test_send_proxy_follows_a_reload(start_lb4):
    with proxy_headers.Recorder() as recorder:
        text = config(recorder.address)
        _, file = reloading.start(start_lb4, text)
        for words, change, begins in (
                ("send-proxy v1", "none -> v1", b"PROXY TCP4 "),
                ("send-proxy v2", "v1 -> v2", proxy_headers.SIGNATURE),
                ("", "v2 -> none", proxy_headers.REQUEST)):
            file.change(config(recorder.address, words=words), f"~ send-proxy web/s1 {change}")
            with servers.connect(LISTEN) as sock:
                sock.sendall(proxy_headers.REQUEST)
                servers.read_end(sock)
            assert recorder.taken[-1].startswith(begins)


# --- who may speak to it

def is_served(header=b""):
    """Does a request behind this header come to the recorder and back?"""
    return proxy_headers.verdict(LISTEN, header, ends=False) != "bad"


def test_strangers_are_turned_away_and_a_reload_makes_them_friends(start_lb4):
    with proxy_headers.Recorder() as recorder:
        def text(accept):
            return config(recorder.address, accept=accept, words="send-proxy v1")
        lb4, file = reloading.start(start_lb4, text("accept-proxy from 10.0.0.0/8"))
        assert not is_served(FAKE)
        assert lb4.wait_closed("web", 0, 10)["reason"] == "denied"
        assert recorder.taken == []
        file.change(text("accept-proxy from 10.0.0.0/8 127.0.0.1"),
                    f"~ accept-proxy tcp {LISTEN} of web 10.0.0.0/8 -> 10.0.0.0/8 127.0.0.1")
        assert is_served(FAKE) and not is_served()
        with servers.connect(LISTEN) as waiting:  # it waits for its header, by the old rule
            waiting.sendall(FAKE[:20])
            file.change(text(""), f"~ accept-proxy tcp {LISTEN} of web 10.0.0.0/8 127.0.0.1 -> none")
            waiting.sendall(FAKE[20:] + proxy_headers.REQUEST)
            assert b"client=192.0.2.1:1234" in waiting.recv(100)
        assert is_served()
        file.change(text("accept-proxy from 127.0.0.1"),
                    f"~ accept-proxy tcp {LISTEN} of web none -> 127.0.0.1")
        assert is_served(FAKE) and not is_served()


def test_what_operators_see(start_lb4, desk):
    with proxy_headers.Recorder() as recorder:
        start_lb4(config=config(recorder.address, accept="accept-proxy from 127.0.0.1",
                                more=desk.directive))
        with servers.connect(LISTEN) as early, servers.connect(LISTEN) as late:
            late.sendall(FAKE)
            servers.wait_until(lambda: "header open" == " ".join(sorted(
                row["state"] for row in desk.json("show", "connections"))), what="both states")
            rows = {row["state"]: row for row in desk.json("show", "connections")}
            assert rows["open"]["client"] == "192.0.2.1:1234"
            assert rows["header"]["client"] == "%s:%d" % early.getsockname()
            assert rows["header"]["server"] in (None, "", "-")
        row, = desk.json("show", "services")
        assert row["listeners"] == f"tcp/{LISTEN}+proxy"
        assert f"At {LISTEN} a client is the one that a balancer's PROXY header names." in \
            desk.do("why", "web", "192.0.2.1")


def test_a_stop_while_headers_are_missing(start_lb4):
    """Who has been accepted may still say it; who does not, ends as at any other time."""
    with proxy_headers.Recorder() as recorder:
        lb4 = start_lb4(config=config(recorder.address, accept="accept-proxy from 127.0.0.1",
                                      more="drain 10s\n", words="send-proxy v1"))
        with servers.connect(LISTEN) as good, servers.connect(LISTEN) as mute:
            good.sendall(FAKE[:7])
            servers.wait_until(lambda: lb4_has(lb4, 2), what="both accepted")
            lb4.signal(signal.SIGTERM)
            lb4.wait_line("drain")
            with contextlib.suppress(OSError):
                good.sendall(FAKE[7:] + proxy_headers.REQUEST)
            assert b"client=192.0.2.1:1234" in good.recv(100)
            good.close()
            assert servers.read_end(mute) == "rst"
        assert lb4.wait_exit() == 0
        lb4.is_finished = True


def lb4_has(lb4, count):
    """So many clients are with it now."""
    lines = tcp_table(lb4.pid)
    return sum(line.split()[3] == "01" and line.split()[1].endswith(":1B58")
               for line in lines) == count


def tcp_table(pid):
    with open(f"/proc/{pid}/net/tcp", encoding="ascii") as table:
        return table.read().split("\n")[1:-1]


# --- those whose header does not come

def open_client():
    """A connection; it may be reset before connect(2) has told of it."""
    sock = socket.socket()
    with contextlib.suppress(ConnectionResetError):
        sock.connect(("127.0.0.1", 7000))
    return sock


class Dribblers:
    """So many clients, each saying a byte of its header now and then."""

    def __init__(self, count):
        self.began = time.monotonic()
        self.sockets = [open_client() for _ in range(count)]
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        for i in range(len(FAKE) - 1):
            for sock in self.sockets:
                with contextlib.suppress(OSError):
                    sock.send(FAKE[i:i + 1], socket.MSG_DONTWAIT)
            if self.is_over.wait(0.2):
                return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()
        for sock in self.sockets:
            sock.close()


def test_dribblers_harm_nobody(start_lb4, is_full):
    """Others on the same listener and on another one are served meanwhile; after 3 s all are gone.
    The longest answer is bounded by what a second of Python beside it costs."""
    count = 5000 if is_full else 300
    with proxy_headers.Recorder() as recorder, servers.EchoServer() as echo:
        lb4 = start_lb4(["-w", "2"], config=config(
            recorder.address, accept="accept-proxy from 127.0.0.1", words="send-proxy v1",
            more=f"maxconn {min(9000, count * 12)}\n") + f"""service plain {{
    listen tcp 127.0.0.1:7001
    server s1 {echo.address}
}}
""")
        with Dribblers(count) as dribblers:
            n_others = 0
            longest = 0.0
            while not lb4.closed["web"] or time.monotonic() - dribblers.began < 2.5:
                took = servers.ask_once("127.0.0.1:7001")
                longest = max(longest, took)
                n_others += 1
                assert time.monotonic() - dribblers.began < 20
            closed = lb4.wait_n_closed("web", count)
            ended_s = time.monotonic() - dribblers.began
        assert n_others > 50 and longest < 1
        reasons = {entry["reason"] for entry in closed}
        late = [float(entry["ms"]) for entry in closed if entry["reason"] == "denied"]
        assert reasons <= {"denied", "limit"} and all(2900 <= ms < 4000 for ms in late)
        assert len(late) >= min(count, 900) and ended_s < 20
        assert recorder.taken == []
        assert is_served(FAKE)


def test_a_tenth_of_maxconn_may_wait(start_lb4):
    """With 400: 40 wait, the others are turned away at once, and who is quick is served again when
    they are gone."""
    with proxy_headers.Recorder() as recorder:
        lb4 = start_lb4(["-w", "2"], config=config(
            recorder.address, accept="accept-proxy from 127.0.0.1", words="send-proxy v1",
            more="maxconn 400\n"))
        with contextlib.ExitStack() as stack:
            mute = [stack.enter_context(open_client()) for _ in range(60)]
            turned_away = lb4.wait_n_closed("web", 20, 2.5)
            assert len(turned_away) == 20
            assert {entry["reason"] for entry in turned_away} == {"limit"}
            with open_client() as late:
                assert servers.read_end(late) == "rst"
            closed = lb4.wait_n_closed("web", 61)
            assert sum(entry["reason"] == "denied" for entry in closed) == 40
            assert "timeout" not in {servers.read_end(sock) for sock in mute}
        assert is_served(FAKE)
        assert len(recorder.taken) == 1


def is_stopped(pid):
    """A signal is there before the threads have heard of it."""
    tasks = pathlib.Path(f"/proc/{pid}/task")
    return all((task / "stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
               for task in tasks.iterdir())


def test_a_burst_with_headers_needs_no_places(start_lb4):
    """Three times as many as may wait come while lb4 sleeps, and each has said who it is."""
    with proxy_headers.Recorder() as recorder:
        lb4 = start_lb4(["-w", "1"], config=config(
            recorder.address, accept="accept-proxy from 127.0.0.1", words="send-proxy v1",
            more="maxconn 200\n"))
        with contextlib.ExitStack() as stack:
            lb4.signal(signal.SIGSTOP)
            servers.wait_until(lambda: is_stopped(lb4.pid), what="all threads stopped")
            clients = [stack.enter_context(servers.connect(LISTEN)) for _ in range(60)]
            for client in clients:
                client.sendall(FAKE + proxy_headers.REQUEST)
            lb4.signal(signal.SIGCONT)
            assert all(client.recv(100).startswith(b"client=192.0.2.1") for client in clients)
        lb4.wait_n_closed("web", 60)
        assert len(recorder.taken) == 60


def test_a_few_connections_are_not_all_for_headers(start_lb4):
    """With 16 in all, half of them stay for others."""
    with proxy_headers.Recorder() as recorder, servers.EchoServer() as echo:
        lb4 = start_lb4(["-w", "1"], config=config(
            recorder.address, accept="accept-proxy from 127.0.0.1", more="maxconn 16\n") +
            f"service plain {{\n    listen tcp 127.0.0.1:7001\n    server s1 {echo.address}\n}}\n")
        with contextlib.ExitStack() as stack:
            for _ in range(30):
                stack.enter_context(open_client())
            assert len(lb4.wait_n_closed("web", 22, 2.5)) == 22
            servers.ask_once("127.0.0.1:7001")
            assert len(lb4.closed["web"]) == 22  # while the others wait


def test_reset_behind_a_header_is_no_loss(start_lb4):
    """As without one: what was said before it is delivered."""
    with proxy_headers.Recorder() as recorder:
        lb4 = start_lb4(["-w", "1"],
                        config=config(recorder.address, accept="accept-proxy from 127.0.0.1"))
        lb4.signal(signal.SIGSTOP)
        with servers.connect(LISTEN) as client:
            client.sendall(FAKE + b"last words")
            servers.reset(client)
        lb4.signal(signal.SIGCONT)
        entry = lb4.wait_closed("web", 0, 10)
        assert (entry["reason"], entry["in"]) == ("client_rst", "10")
        servers.wait_until(lambda: recorder.taken == [b"last words"], what="them")


def test_clients_that_leave_before(start_lb4):
    """With a FIN, with a reset, in the middle."""
    with proxy_headers.Recorder() as recorder:
        lb4 = start_lb4(config=config(recorder.address, accept="accept-proxy from 127.0.0.1"))
        servers.connect(LISTEN).close()
        assert lb4.wait_closed("web", 0, 10)["reason"] == "client_fin"
        servers.reset(servers.connect(LISTEN))
        assert lb4.wait_closed("web", 1, 10)["reason"] == "client_rst"
        with servers.connect(LISTEN) as sock:
            sock.sendall(FAKE[:-1])
            sock.shutdown(socket.SHUT_WR)
            assert servers.read_end(sock) == "rst"
        assert lb4.wait_closed("web", 2, 10)["reason"] == "denied"
        assert recorder.taken == []


def test_log_says_what_is_wrong(start_lb4):
    """Once, for many: with the peer's address, and not a byte of what it has sent."""
    with proxy_headers.Recorder() as recorder:
        lb4 = start_lb4(config=config(recorder.address, accept="accept-proxy from 127.0.0.1"))
        for _ in range(20):
            assert not is_served(b"PROXY TCP4 \x1b[31mevil\nline\r\n")
        lb4.wait_n_closed("web", 20)
        lines = [line for line in lb4.lines if "PROXY header of 127.0.0.1:" in line]
        assert 1 <= len(lines) <= 4 and lines[0].endswith(" for web: LF without CR")
        assert not any("evil" in line for line in lb4.lines)
