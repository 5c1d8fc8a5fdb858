"""F95: whatever is done to the admin socket, traffic does not notice, and all is given back."""
import contextlib
import errno
import socket
import time

import pytest

import admin
import daemon
import drill
import servers

PER_S = 100
CLIENTS = 1000
RSS_SLACK = 2 << 20


@pytest.fixture
def site(start_lb4, desk):
    """lb4 with the admin socket under a drill; afterwards every client of it must have been
    served."""
    with contextlib.ExitStack() as stack:
        pool = [stack.enter_context(servers.ServerProcess(name)) for name in ("a", "b")]
        text = desk.directive + "\n".join([
            "service web {", f"listen tcp {drill.LISTEN}", "check tcp interval 1s",
            *(f"server {server.name} {server.address}" for server in pool), "}"])
        lb4 = start_lb4(["-w", "2"], config=text, debug=False)
        desk.do("show", "servers")
        before = lb4.rss_bytes()
        with drill.Drill(drill.LISTEN, PER_S) as clients:
            clients.wait_records(PER_S // 2)
            yield desk
            clients.wait_records(len(clients.records) + PER_S // 2)
        bad = drill.failures(clients.records)
        assert not bad, drill.describe(bad, lb4)
        desk.do("show", "info")
        assert daemon.IS_SANITIZED or lb4.rss_bytes() < before + RSS_SLACK


def connect_now(desk):
    """None: its queue is full."""
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    code = sock.connect_ex(str(desk.path))
    if code == 0:
        return sock
    sock.close()
    assert code == errno.EAGAIN, errno.errorcode[code]
    return None


def test_idle_clients_one_after_another(site):
    for _ in range(CLIENTS):
        site.connect().close()
    site.do("show", "info")


def test_idle_clients_at_once(site):
    """Eight are kept, the others are told so; eight seconds later none is in the way."""
    held = []
    deadline = time.monotonic() + 30
    while len(held) < CLIENTS:
        sock = connect_now(site)
        if sock:
            held.append(sock)
        assert time.monotonic() < deadline
    told = 0
    for sock in held[8:]:
        sock.settimeout(10)
        told += admin.read_all(sock).startswith("error too many clients")
    assert told == CLIENTS - 8
    for sock in held:
        sock.close()
    servers.wait_until(lambda: site.run("show", "info").returncode == 0, what="a free place")


def test_idle_clients_are_dropped(site):
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(site.connect()) for _ in range(8)]
        held[0].send(b"show in")
        started = time.monotonic()
        for sock in held:
            assert admin.read_all(sock) == "error no command for 10 s\n"
        assert 5 < time.monotonic() - started < 20


def test_byte_at_a_time(site):
    with site.connect() as sock:
        for byte in b"show info\n":
            sock.send(bytes([byte]))
            time.sleep(0.001)
        sock.shutdown(socket.SHUT_WR)
        assert admin.read_all(sock).endswith("ok\n")


def test_readers_that_never_read(site):
    """Each sends as many commands as its socket takes, and reads none of the replies."""
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            sock = stack.enter_context(site.connect())
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock.send(b"show servers\nshow config\n" * 100)
        servers.wait_until(lambda: site.run("show", "info").returncode == 0, 20, "a free place")


def test_noise(site):
    for noise in (bytes(range(256)), b"\0" * 100, b"\xff" * 5000, b"GET / HTTP/1.1\r\n\r\n",
                  b"show info\0\n", b"x" * (1 << 20), b"\n" * 100000, b"\x16\x03\x01" * 1000):
        with site.connect() as sock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(noise)
            sock.shutdown(socket.SHUT_WR)
            text = admin.read_all(sock)
            assert not text or text.startswith("error "), text


def test_command_and_close(site):
    for index in range(200):
        with site.connect() as sock:
            sock.sendall(b"%s web/a\n" % (b"drain" if index % 2 == 0 else b"ready"))
    servers.wait_until(lambda: site.server("web/a")["state"] == "up", what="ready is done last")
    waiting = site.start("drain", "web/b", "--wait", "1h")
    servers.wait_until(lambda: site.server("web/b")["state"] == "drain", what="drain")
    waiting.kill()
    waiting.communicate()
    site.do("ready", "web/b")


def test_list_kill_and_close(site):
    """Who asked for a walk over all connections leaves at once: nothing stays busy."""
    for index in range(100):
        with site.connect() as sock:
            sock.sendall(b"kill web/nobody\n" if index % 4 == 3 else b"show connections\n")
    site.do("show", "connections")
    process = [site.start("show", "connections") for _ in range(5)]
    for each in process:
        each.kill()
        each.communicate()
    site.do("show", "connections")


def test_reload_and_close(site):
    for words in (b"reload", b"reload --dry-run", b"reload --confirm 1s", b"confirm") * 15:
        with site.connect() as sock:
            sock.sendall(words + b"\n")
    assert site.do("reload") == "no difference\n"
    servers.wait_until(lambda: not site.json("show", "info")["reloading"], what="nothing runs")


def test_lists_that_are_never_read(site):
    with contextlib.ExitStack() as stack:
        for _ in range(7):
            sock = stack.enter_context(site.connect())
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock.send(b"show connections\nreload --dry-run\n" * 100)
        site.do("show", "connections")
