"""Unix stream sockets as listener and as server, by path and by abstract name."""
import contextlib
import errno
import hashlib
import os
import pathlib
import random
import re
import signal
import socket
import stat
import threading

import pytest

import daemon
import real_servers as real
import reloading
import servers
import unix_sockets as unix

LISTEN = "127.0.0.1:7000"
BULK = 10 * 1024 * 1024
N_PASSING = 50
CHECK = "check tcp interval 200ms timeout 500ms fall 1 rise 1"


@pytest.fixture(name="folder")
def folder_fixture():
    with unix.Folder() as folder:
        yield folder


def place(folder, name, kind):
    """A path in the folder, or an abstract name that nobody else has."""
    return folder / name if kind == "file" else f"@lb4-{os.getpid()}-{name}"


# --- bytes


def exchange(address, payload, limit_s=60):
    """Send all, then FIN, while the answer is read to its end: its hash."""
    digest = hashlib.sha256()
    with unix.connect(address, limit_s) as sock:
        def send():
            sock.sendall(payload)
            sock.shutdown(socket.SHUT_WR)
        thread = threading.Thread(target=send)
        thread.start()
        while data := sock.recv(1 << 18):
            digest.update(data)
        thread.join()
    return digest.hexdigest()


@contextlib.contextmanager
def echo(kind, folder):
    """An echo server: on "tcp", a "file" or an "abstract" name."""
    if kind == "tcp":
        with servers.EchoServer() as server:
            yield server
    else:
        with unix.Server(place(folder, "server", kind)) as server:
            yield server


@pytest.mark.parametrize("server_kind", ["tcp", "file", "abstract"])
@pytest.mark.parametrize("listen_kind", ["tcp", "file", "abstract"])
def test_bytes_and_half_close(start_lb4, folder, listen_kind, server_kind, splice):
    if listen_kind == server_kind == "tcp":
        pytest.skip("without Unix sockets: test_integrity")
    payload = random.randbytes(BULK)
    listen = LISTEN if listen_kind == "tcp" else "unix:" + place(folder, "front", listen_kind)
    with echo(server_kind, folder) as server:
        lb4 = start_lb4(["-w", "2", "-l", listen, "-s", server.address, "-o", "access-log on"],
                        splice=splice)
        unix.ask_once(listen)
        assert exchange(listen, payload) == hashlib.sha256(payload).hexdigest()
        line = lb4.wait_line(rf"access .*in={BULK} out={BULK} reason=client_fin tries=1")
        if listen_kind != "tcp":
            assert f" client=unix: service=rule1 server=s1 listener={listen} " in line
    lb4.finish()


def test_many_clients_of_four_workers(start_lb4, folder):
    """One worker owns the socket, all of them serve."""
    with unix.Server(folder / "server") as server:
        lb4 = start_lb4(["-w", "4", "-l", f"unix:{folder / 'front'}", "-s", server.address])
        held = [unix.connect(f"unix:{folder / 'front'}") for _ in range(40)]
        for sock in held:
            servers.ask(sock, b"hello")
        totals = lb4.totals()
        shares = [totals["worker", str(i)]["total"] for i in range(1, 5)]
        assert sum(shares) == 40 and min(shares) >= 5, shares
        for sock in held:
            sock.close()
        lb4.wait_n_closed("rule1", 40)
    lb4.finish()
    assert not os.path.exists(folder / "front")


def test_the_reset_of_a_server_ends_a_unix_client(start_lb4, folder):
    with servers.EchoServer() as server:
        server.echo = lambda sock: (server.selector.unregister(sock), servers.reset(sock))
        lb4 = start_lb4(["-l", f"unix:{folder / 'front'}", "-s", server.address])
        with unix.connect(f"unix:{folder / 'front'}") as sock:
            sock.sendall(b"x")
            assert servers.read_end(sock) in ("fin", "rst")
        assert lb4.wait_n_closed("rule1", 1)[0]["reason"] == "server_rst"


def test_a_server_that_dies_with_unread_bytes_resets_the_client(start_lb4, folder):
    def drop(sock):
        sock.recv(1)  # of more, which nobody reads

    with unix.Server(folder / "server", drop) as server:
        lb4 = start_lb4(["-l", LISTEN, "-s", server.address])
        with unix.connect(LISTEN) as sock:
            sock.sendall(b"x" * 100)
            assert servers.read_end(sock) == "rst"
        assert lb4.wait_n_closed("rule1", 1)[0]["reason"] == "server_rst"


def say_with_descriptor(sock):
    """A read stops short behind each of them, with more behind it."""
    for _ in range(3):
        socket.send_fds(sock, [b"x" * 10], [sock.fileno()])
    sock.sendall(b"x" * 70)
    sock.shutdown(socket.SHUT_WR)


def test_no_byte_behind_a_passed_descriptor_is_lost(start_lb4, folder):
    def answer(sock):
        while sock.recv(1024):
            pass
        say_with_descriptor(sock)

    with unix.Server(folder / "server", answer) as server:
        lb4 = start_lb4(["-w", "1", "-l", f"unix:{folder / 'front'}", "-s", server.address])
        for _ in range(N_PASSING):
            with unix.connect(f"unix:{folder / 'front'}") as sock:
                say_with_descriptor(sock)
                assert b"".join(iter(lambda: sock.recv(1024), b"")) == b"x" * 100
        ends = lb4.wait_n_closed("rule1", N_PASSING)
    assert {(end["in"], end["out"], end["reason"]) for end in ends} == {
        ("100", "100", "client_fin")}
    lb4.finish()


# --- servers that are not there


def pool(folder, *directives, names=("a", "b")):
    return reloading.service("db", [f"tcp {LISTEN}"],
                             [(name, f"unix:{folder / name}") for name in names],
                             "balance roundrobin", *directives)


def test_a_full_backlog_costs_no_client_anything(start_lb4, folder):
    """Nor is the server suspected for it: it answers, to those whom it has taken."""
    with unix.Server(folder / "a", serve=False, backlog=2), unix.Server(folder / "b") as second:
        lb4 = start_lb4(["-w", "2"], config=pool(folder, "check none"))
        held = unix.fill(folder / "a")
        for _ in range(20):
            unix.ask_once(LISTEN)
        lb4.wait_n_closed("db", 20)
        assert second.n_accepted == 20
        totals = lb4.totals()
        n_failures = totals["server", "db/a"]["connect_failures"]
        assert 10 <= n_failures == totals["service", "db"]["redispatches"] <= 20
        for sock in held:
            sock.close()
    assert not any("trouble of this machine" in line for line in lb4.lines)


def wait_busy(lb4, n_clients):
    """That many have found the backlog of db/a full, and wait."""
    servers.wait_until(
        lambda: lb4.totals()["server", "db/a"]["connect_failures"] == n_clients, what="the backlog")


def test_a_burst_on_the_only_server_waits_for_room(start_lb4, folder):
    """The server accepts one client after the other has been answered."""
    with unix.Server(folder / "a", serve=False, backlog=2) as server:
        lb4 = start_lb4(["-w", "2", "-o", "access-log on"],
                        config=pool(folder, "check none", names=("a",)))
        clients = [unix.connect(LISTEN) for _ in range(30)]
        wait_busy(lb4, 27)
        for sock in clients:
            sock.sendall(b"x")
        for _ in clients:
            with server.listener.accept()[0] as sock:
                sock.sendall(sock.recv(1))
        for sock in clients:
            assert sock.recv(1) == b"x"
            sock.close()
        lb4.wait_for(lambda: sum(" access " in line for line in lb4.lines) == 30, 30, "30 ends")
        assert all(" tries=1" in line for line in lb4.lines if " access " in line)
        totals = lb4.totals()
        assert totals["server", "db/a"]["connect_failures"] == 27
        assert totals["server", "db/a"]["active"] == totals["service", "db"]["redispatches"] == 0


def test_a_backlog_that_stays_full_is_a_connect_time_out(start_lb4, folder):
    with unix.Server(folder / "a", serve=False, backlog=1):
        held = unix.fill(folder / "a")
        lb4 = start_lb4([], config=pool(folder, "check none", "timeout connect 300ms",
                                        names=("a",)))
        clients = [unix.connect(LISTEN) for _ in range(5)]
        assert [servers.read_end(sock) for sock in clients] == ["rst"] * 5
        entries = lb4.wait_n_closed("db", 5)
        assert [entry["reason"] for entry in entries] == ["connect_failed"] * 5
        totals = lb4.totals()
        assert totals["server", "db/a"]["connect_failures"] == 5
        assert totals["server", "db/a"]["active"] == totals["service", "db"]["redispatches"] == 0
        for sock in held + clients:
            sock.close()


@contextlib.contextmanager
def waiting_for_a(folder, start_lb4, *directives, head=""):
    """Five clients of a server whose backlog stays full: (lb4, their sockets)."""
    with unix.Server(folder / "a", serve=False, backlog=1):
        held = unix.fill(folder / "a")
        text = head + pool(folder, "check none", "timeout connect 1h", *directives, names=("a",))
        lb4 = start_lb4(["-w", "2"], config=text)
        clients = [unix.connect(LISTEN) for _ in range(5)]
        wait_busy(lb4, 5)
        assert lb4.totals()["service", "db"]["active"] == 5
        yield lb4, clients
        for sock in held + clients:
            sock.close()


def test_who_waits_goes_to_the_server_of_a_reload(start_lb4, folder):
    with unix.Server(folder / "b") as second, waiting_for_a(folder, start_lb4) as (lb4, clients):
        reloading.File(lb4).change(pool(folder, "check none", "timeout connect 1h", names=("b",)))
        for sock in clients:
            servers.ask(sock, b"x")
        assert second.n_accepted == 5
        reloading.wait_gone(lb4, "server db/a")


def test_maintenance_ends_the_wait(start_lb4, folder, desk):
    with waiting_for_a(folder, start_lb4, head=desk.directive) as (lb4, clients):
        desk.do("maint", "db/a")
        assert [servers.read_end(sock) for sock in clients] == ["rst"] * 5
        entries = lb4.wait_n_closed("db", 5)
        assert [entry["reason"] for entry in entries] == ["connect_failed"] * 5


def test_the_end_of_lb4_ends_the_wait(start_lb4, folder):
    """Who waits for a server is one more connection to the drain."""
    with waiting_for_a(folder, start_lb4, head="drain 300ms\n") as (lb4, clients):
        lb4.signal(signal.SIGTERM)
        assert [servers.read_end(sock) for sock in clients] == ["rst"] * 5
        lb4.check_end()
        assert lb4.summary()["service", "db"]["drain"] == 5
        lb4.is_finished = True


def test_a_full_backlog_fails_probes(start_lb4, folder):
    with unix.Server(folder / "a", serve=False, backlog=2), unix.Server(folder / "b"):
        lb4 = start_lb4([], config=pool(folder, CHECK.replace("fall 1", "fall 2")))
        held = unix.fill(folder / "a")
        assert "its backlog is full (EAGAIN)" in lb4.wait_line(r"server db/a is DOWN")
        for sock in held:
            sock.close()


def test_a_server_that_is_killed_and_comes_back(start_lb4, folder):
    with unix.ServerProcess(folder / "a") as first, unix.Server(folder / "b") as second:
        lb4 = start_lb4(["-w", "2"], config=pool(folder, CHECK))
        for _ in range(4):
            unix.ask_once(LISTEN)
        first.kill()
        for _ in range(10):
            unix.ask_once(LISTEN)
        assert "connection refused" in lb4.wait_line("server db/a is DOWN")
        n_before = second.n_accepted
        first.start()
        lb4.wait_line("server db/a is UP")
        for _ in range(10):
            unix.ask_once(LISTEN)
        assert second.n_accepted - n_before == 5


def test_a_path_that_appears(start_lb4, folder):
    lb4 = start_lb4([], config=pool(folder, CHECK, names=("a",)))
    assert "No such file or directory" in lb4.wait_line("server db/a is DOWN")
    assert servers.connect_end(LISTEN)[0] == "rst"
    with unix.Server(folder / "a"):
        lb4.wait_line("server db/a is UP")
        unix.ask_once(LISTEN)
        lb4.wait_n_closed("db", 2)


@pytest.mark.skipif(not daemon.can_change_uid(), reason="root is never refused by a mode")
def test_a_path_that_lets_us_not_in(start_lb4, folder):
    with unix.Server(folder / "a"):
        os.chmod(folder / "a", 0o600)
        lb4 = start_lb4([], config=pool(folder, CHECK, names=("a",)))
        assert "Permission denied" in lb4.wait_line("server db/a is DOWN")
        os.chmod(folder / "a", 0o666)
        lb4.wait_line("server db/a is UP")
        unix.ask_once(LISTEN)


# --- the listener's file


def front(folder, words="", listen="front"):
    return reloading.service("web", [f"tcp unix:{folder / listen}{words}"],
                             [("s", f"unix:{folder / 'server'}")])


@pytest.fixture(name="server")
def server_fixture(folder):
    with unix.Server(folder / "server") as server:
        yield server


def mode_of(path):
    status = os.lstat(path)
    assert stat.S_ISSOCK(status.st_mode)
    return status.st_mode & 0o7777


@pytest.mark.parametrize("words, mode", [("", 0o660), (" mode 0600", 0o600), (" mode 777", 0o777),
                                         (" mode 0", 0)])
@pytest.mark.parametrize("umask", [0, 0o077])
def test_the_mode(start_lb4, folder, server, words, mode, umask):
    before = os.umask(umask)
    try:
        lb4 = start_lb4(["-l", f"unix:{folder / 'front'}{words}", "-s", server.address])
    finally:
        os.umask(before)
    assert mode_of(folder / "front") == mode
    lb4.finish()
    assert folder.names() == ["server"]


@pytest.mark.skipif(not daemon.can_change_uid(), reason="needs another user")
def test_the_file_is_whose_lb4_will_be(start_lb4, folder, server):
    lb4 = start_lb4(["-u", "nobody"], config=front(folder), uid=None)
    assert os.stat(folder / "front").st_uid == daemon.NOBODY
    unix.ask_once(f"unix:{folder / 'front'}")
    lb4.wait_n_closed("web", 1)
    lb4.finish()
    assert folder.names() == ["server"]


@pytest.mark.skipif(not daemon.can_change_uid(), reason="root is who could be misled")
def test_a_link_in_the_place_of_the_new_file_misleads_nobody(start_lb4, folder, server):
    """Whoever may write to the folder is quicker than lb4, which as root would open up any file."""
    precious = pathlib.Path(folder / "precious")
    precious.write_text("precious", encoding="utf-8")
    precious.chmod(0o600)
    slow = ["strace", "-f", "-o", "/dev/null", "-e", "inject=lchown,fchownat:delay_enter=500000"]
    before = os.umask(0o077)
    try:
        lb4 = start_lb4([], config=front(folder, " mode 0666"), uid=None, wrapper=slow, waits=False,
                        env={"ASAN_OPTIONS": "detect_leaks=0"})
    finally:
        os.umask(before)
    servers.wait_until(lambda: "front" in folder.names(), what="the file")
    os.unlink(folder / "front")
    os.symlink(precious, folder / "front")
    lb4.wait_line("ready: ")
    lb4.finish()
    assert stat.S_IMODE(precious.stat().st_mode) == 0o600
    os.unlink(folder / "front")


def test_a_stale_file_is_replaced(start_lb4, folder, server):
    with unix.ServerProcess(folder / "front") as other:
        other.kill()
    os.chown(folder / "front", daemon.LB4_UID, -1)
    assert unix.error_of(f"unix:{folder / 'front'}") == errno.ECONNREFUSED
    lb4 = start_lb4([], config=front(folder))
    unix.ask_once(f"unix:{folder / 'front'}")
    lb4.wait_n_closed("web", 1)


def expect_refusal(lb4, *words):
    assert lb4.wait_exit() == 1
    text = "\n".join(lb4.lines)
    assert all(word in text for word in words), text
    lb4.is_finished = True


@pytest.mark.parametrize("kind", ["file", "abstract"])
def test_a_living_one_is_refused(start_lb4, folder, server, kind):
    path = place(folder, "front", kind)
    with unix.Server(path):
        lb4 = start_lb4(["-l", f"unix:{path}", "-s", server.address], waits=False)
        expect_refusal(lb4, f"cannot listen on unix:{path} of service rule1: in use: another process")
        unix.ask_once(f"unix:{path}")


def test_two_lb4_of_one_path(start_lb4, folder, server):
    first = start_lb4([], config=front(folder))
    expect_refusal(start_lb4([], config=front(folder), waits=False), "in use")
    unix.ask_once(f"unix:{folder / 'front'}")
    first.wait_n_closed("web", 1)


def test_what_is_no_socket_stays(start_lb4, folder, server):
    pathlib.Path(folder / "front").write_text("precious", encoding="utf-8")
    expect_refusal(start_lb4([], config=front(folder), waits=False), "exists, and is no socket")
    assert pathlib.Path(folder / "front").read_text(encoding="utf-8") == "precious"


def test_a_file_that_became_somebody_elses_stays(start_lb4, folder, server):
    lb4 = start_lb4([], config=front(folder))
    os.unlink(folder / "front")
    with unix.Server(folder / "front"):
        lb4.finish()
        unix.ask_once(f"unix:{folder / 'front'}")


def test_a_folder_that_is_missing(start_lb4, folder, server):
    lb4 = start_lb4(["-l", f"unix:{folder / 'no'}/front", "-s", server.address], waits=False)
    expect_refusal(lb4, "No such file or directory", folder / "no")


# --- reload


def test_reload_adds_and_removes(start_lb4, folder, server):
    lb4, file = reloading.start(start_lb4, front(folder))
    with unix.connect(f"unix:{folder / 'front'}") as held:
        servers.ask(held)
        inode = os.stat(folder / "front").st_ino
        both = [f"tcp unix:{folder / 'front'}", f"tcp unix:{folder / 'second'} mode 0600"]
        file.change(reloading.service("web", both, [("s", server.address)]),
                    f"+ listener tcp unix:{folder / 'second'} mode 0600 of web")
        assert mode_of(folder / "second") == 0o600
        assert os.stat(folder / "front").st_ino == inode
        unix.ask_once(f"unix:{folder / 'front'}")
        file.change(front(folder, listen="second"),
                    f"- listener tcp unix:{folder / 'front'} mode 0660 of web")
        servers.wait_until(lambda: folder.names() == ["second", "server"], what="the file is gone")
        assert unix.error_of(f"unix:{folder / 'front'}") == errno.ENOENT
        unix.wait_mode(folder / "second", 0o660)
        servers.ask(held, b"still here")
    lb4.wait_n_closed("web", 2)
    file.change(reloading.service("web", [f"tcp {LISTEN}", "tcp unix:@lb4-added"],
                                  [("s", server.address)]))
    servers.wait_until(lambda: folder.names() == ["server"], what="the second file is gone")
    unix.ask_once("unix:@lb4-added")
    unix.ask_once(LISTEN)
    lb4.wait_n_closed("web", 4)
    file.change(front(folder))
    assert folder.names() == ["front", "server"]


def test_reload_binds_anew_what_lost_its_file(start_lb4, folder, server):
    """Nobody could connect, and lb4 would listen in vain until it is started anew. Who is connected
    stays; and what is somebody else's by now is left to him."""
    lb4, file = reloading.start(start_lb4, front(folder))
    with unix.connect(f"unix:{folder / 'front'}") as held:
        servers.ask(held)
        os.unlink(folder / "front")
        file.change(front(folder), f"~ listener unix:{folder / 'front'} of web: its file has gone, "
                    "it is bound anew")
        assert mode_of(folder / "front") == 0o660
        unix.ask_once(f"unix:{folder / 'front'}")
        servers.ask(held)
    lb4.wait_n_closed("web", 2)
    os.unlink(folder / "front")
    with unix.Server(folder / "front") as other:
        file.reload(front(folder, " mode 0600"))
        unix.ask_once(f"unix:{folder / 'front'}")
        assert other.n_accepted == 1
    lb4.finish()


def test_reload_that_cannot_bind_changes_nothing(start_lb4, folder, server):
    lb4, file = reloading.start(start_lb4, front(folder))
    with unix.Server(folder / "taken"):
        listens = [f"tcp unix:{folder / 'new'}", f"tcp unix:{folder / 'taken'}"]
        file.refuse(reloading.service("web", listens, [("s", server.address)]), "in use")
        unix.ask_once(f"unix:{folder / 'taken'}")
    assert folder.names() == ["front", "server"]
    unix.ask_once(f"unix:{folder / 'front'}")
    lb4.wait_n_closed("web", 1)


def test_reload_moves_a_path_to_another_service(start_lb4, folder, server):
    lb4, file = reloading.start(start_lb4, front(folder))
    inode = os.stat(folder / "front").st_ino
    file.reload(front(folder).replace("service web", "service other"))
    unix.ask_once(f"unix:{folder / 'front'}")
    assert os.stat(folder / "front").st_ino == inode
    lb4.wait_n_closed("other", 1)


def test_reload_changes_a_server(start_lb4, folder, server):
    lb4, file = reloading.start(start_lb4, front(folder))
    with unix.Server(folder / "other") as other:
        file.change(front(folder).replace("/server", "/other"),
                    f"~ address web/s unix:{server.path} -> unix:{other.path}")
        unix.ask_once(f"unix:{folder / 'front'}")
        assert other.n_accepted == 1
        lb4.wait_n_closed("web", 1)


# --- other words beside it


def test_words_for_sources_do_not_meet_unix_clients(start_lb4, folder, server):
    lb4 = start_lb4([], config=reloading.service(
        "web", [f"tcp unix:{folder / 'front'}", f"tcp {LISTEN}"], [("s", server.address)],
        "deny all", "limit per-source 1", "rate per-source 1/s", "affinity source 10s",
        "ban after 2 refused in 10s for 10s", "source 127.0.0.9"))
    held = [unix.connect(f"unix:{folder / 'front'}") for _ in range(5)]
    for sock in held:
        servers.ask(sock)
    assert servers.connect_end(LISTEN)[0] == "rst"
    for sock in held:
        sock.close()
    reasons = sorted(entry["reason"] for entry in lb4.wait_n_closed("web", 6))
    assert reasons == ["client_fin"] * 5 + ["denied"]


@pytest.mark.parametrize("refuse", ["reset", "close", "silent"])
def test_maxconn_of_the_service_meets_them(start_lb4, folder, server, refuse):
    lb4 = start_lb4([], config=reloading.service(
        "web", [f"tcp unix:{folder / 'front'}"], [("s", server.address)], "maxconn 2",
        f"refuse {refuse}"))
    with unix.connect(f"unix:{folder / 'front'}") as first, \
            unix.connect(f"unix:{folder / 'front'}") as second:
        servers.ask(first)
        servers.ask(second)
        with unix.connect(f"unix:{folder / 'front'}") as third:
            with contextlib.suppress(BrokenPipeError):
                third.sendall(b"x" * 1000)
            assert servers.read_end(third) in ("fin", "rst")
        lb4.wait_line(r"refused client unix: of web: limit|refused .* of web")
    assert sorted(entry["reason"] for entry in lb4.wait_n_closed("web", 3)) == [
        "client_fin", "client_fin", "limit"]


def test_balance_source_takes_them_for_one(start_lb4, folder):
    with unix.Server(folder / "a") as first, unix.Server(folder / "b") as second:
        lb4 = start_lb4(["-l", f"unix:{folder / 'front'}", "-s", first.address,
                         "-s", second.address, "-b", "source"])
        for _ in range(8):
            unix.ask_once(f"unix:{folder / 'front'}")
        assert sorted([first.n_accepted, second.n_accepted]) == [0, 8]
        lb4.wait_n_closed("rule1", 8)


@pytest.mark.parametrize("version, from_unix, expected", [
    ("v1", True, rb"PROXY UNKNOWN\r\n"),
    ("v2", True, rb"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"),
    ("v1", False, rb"PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ 7000\r\n"),
    ("v2", False, rb"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x7f\0\0\x01\x7f\0\0\x01..\x1b\x58"),
])
def test_send_proxy(start_lb4, folder, version, from_unix, expected):
    """What the server reads first: a client without an address is said to be unknown."""
    said = []

    def read(sock):
        data = b""
        while b"hello" not in data:
            chunk = sock.recv(100)
            if not chunk:
                return
            data += chunk
        said.append(data)
        sock.sendall(b"bye")

    with unix.Server(folder / "server", read) as server:
        lb4 = start_lb4([], config=reloading.service(
            "web", [f"tcp unix:{folder / 'front'}", f"tcp {LISTEN}"],
            [("s", server.address, f"send-proxy {version}")], CHECK))
        with unix.connect(f"unix:{folder / 'front'}" if from_unix else LISTEN) as sock:
            sock.sendall(b"hello")
            assert sock.recv(10) == b"bye"
        lb4.wait_n_closed("web", 1)
    assert re.fullmatch(expected + b"hello", said[0], re.S), said


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_probes_that_send_proxy(start_lb4, folder, version):
    with unix.Server(folder / "server") as server:
        start_lb4([], config=reloading.service(
            "web", [f"tcp {LISTEN}"], [("s", server.address, f"send-proxy {version}")], CHECK))
        servers.wait_until(lambda: server.first_bytes, what="a probe")
    assert server.first_bytes[0] == (b"PROXY UNKNOWN\r\n" if version == "v1"
                                     else b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")


def test_dialogues_reach_the_path(start_lb4, folder):
    def answer(sock):
        if b"\r\nHost: localhost\r\n" in sock.recv(1000):
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with unix.Server(folder / "server", answer):
        lb4 = start_lb4([], config=reloading.service(
            "web", [f"tcp {LISTEN}"], [("s", f"unix:{folder / 'server'}")],
            CHECK.replace("tcp", "http /")))
        lb4.wait_line("probe server=web/s outcome=ok")
        assert not any("DOWN" in line for line in lb4.lines)


# --- what is told


def test_what_an_operator_sees(start_lb4, folder, server, desk):
    lb4 = start_lb4([], config=desk.directive + front(folder))
    with unix.connect(f"unix:{folder / 'front'}") as sock:
        servers.ask(sock)
        assert desk.server("web/s")["address"] == f"unix:{folder / 'server'}"
        assert f"unix:{folder / 'server'}" in desk.do("show", "servers")
        assert "unix:" in desk.do("show", "connections")
        assert f"listen tcp unix:{folder / 'front'} mode 0660" in desk.do("show", "config")
        assert "s" in desk.do("why", "web", "10.0.0.9")
        desk.do("doctor")
    lb4.wait_n_closed("web", 1)


@pytest.mark.parametrize("kind", ["file", "abstract"])
def test_a_passed_socket_is_served(start_lb4, folder, server, kind):
    """It is not ours: its mode and its file stay as they are."""
    path = place(folder, "front", kind)
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(unix.kernel_name(path))
        passed.listen()
        if kind == "file":
            os.chmod(path, 0o604)
        lb4 = start_lb4(["-l", f"unix:{path}", "-s", server.address], passed=[passed])
        for _ in range(4):
            unix.ask_once(f"unix:{path}")
        lb4.wait_n_closed("rule1", 4)
        lb4.finish()
        assert kind == "abstract" or mode_of(path) == 0o604


# --- a real one


@real.needs_postgres
def test_postgres_on_both_sides(start_lb4, servers_directory, folder):
    with real.Postgres(servers_directory, ssl=False) as server:
        os.chmod(server.directory, 0o755)
        path = f"{server.directory}/.s.PGSQL.{server.port}"
        lb4 = start_lb4(["-w", "2"], config=reloading.service(
            "pg", [f"tcp {LISTEN}", f"tcp unix:{folder / '.s.PGSQL.5432'} mode 0666"],
            [("pg", f"unix:{path}")], CHECK.replace("tcp", "postgres")))
        for host, port in (("127.0.0.1", "7000"), (folder.directory.name, "5432")):
            answer = real.run("psql", "-h", host, "-p", port, "-U", "postgres", "-d", "postgres",
                              "-XAtc", "select repeat('x', 3000000)")
            assert answer.strip() == "x" * 3000000
        lb4.wait_n_closed("pg", 2)
