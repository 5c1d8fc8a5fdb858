"""Where the log goes: a file that is moved away under traffic, syslog, the journal, a full disk; and
what a reload changes of it."""
import collections
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading

import pytest

import daemon
import log_files
import reloading
import servers

LISTEN = "127.0.0.1:7000"
JOURNAL_LINE = re.compile(r"^<[3467]>(ERROR|WARN|INFO|DEBUG) [^:]+: .*$")
SYSLOG_LINE = re.compile(
    r"^<(?P<pri>\d+)>[A-Z][a-z]{2} [ 123]\d \d\d:\d\d:\d\d lb4\[(?P<pid>\d+)\]: (?P<text>.*)$", re.S)

# /dev with what lb4 needs of it, and a syslog of the test's; then lb4.
OWN_DEV = """
set -e
mount -t tmpfs none "$1"
for name in null zero urandom; do : >"$1/$name"; mount --bind "/dev/$name" "$1/$name"; done
ln -s "$2" "$1/log"
mount --move "$1" /dev
shift 2
exec "$@"
"""
SMALL_DISK = """
set -e
mount -t tmpfs -o size=64k,mode=777 none "$1"
shift
exec "$@"
"""

needs_mounts = pytest.mark.skipif(not daemon.can_change_uid(), reason="needs root, to mount")


@pytest.fixture
def server():
    with servers.EchoServer() as server:
        yield server


@pytest.fixture
def folder():
    with log_files.folder() as folder:
        yield folder


@pytest.fixture
def start_logged(binary, folder):
    """Ends them before the folder of their logs goes."""
    assert folder
    started = []

    def start(config, *, waits=True, is_in_place=False, **options):
        lb4 = log_files.LoggedDaemon(binary, ["-w", "2"], config=config, debug=False, **options)
        started.append(lb4)
        if is_in_place:  # the wrapper becomes lb4
            lb4.is_wrapped = False
        return lb4.wait_ready() if waits else lb4
    yield start
    try:
        for lb4 in started:
            lb4.finish()
    finally:
        for lb4 in started:
            lb4.kill()


def config(server, head="", *words):
    return head + reloading.service("web", [f"tcp {LISTEN}"], [("s1", server.address)],
                                    "access-log on", *words)


def own_user():
    """Of a configuration whose lb4 begins as root."""
    return f"user {daemon.LB4_UID}:{daemon.LB4_UID}\n"


def serve(count):
    """So many connections; the ports of the clients."""
    ports = []
    for _ in range(count):
        with servers.connect(LISTEN) as client:
            servers.ask(client)
            ports.append(client.getsockname()[1])
    return ports


# --- a file

@pytest.mark.parametrize("form", ["text", "json"])
def test_a_file(start_logged, server, folder, form):
    path = folder / "lb4.log"
    lb4 = start_logged(config(server, f"log file {path}\nlog-format {form}\n"), log_path=path)
    ports = serve(20)
    entries = lb4.wait_access(20)
    assert sorted(int(entry["client"].split(":")[1]) for entry in entries) == sorted(ports)
    for entry in entries:
        assert entry["service"] == "web" and entry["server"] == "s1"
        assert entry["listener"] == LISTEN
        assert (entry["in"], entry["out"], entry["tries"]) == ("1", "1", "1")
        assert entry["reason"] == "client_fin" and entry["queue_ms"] == "0"
        assert 0 <= float(entry["connect_ms"]) <= float(entry["total_ms"]) < 20000
    status = path.stat()
    assert status.st_mode & 0o7777 == 0o640
    assert status.st_uid == (daemon.LB4_UID if daemon.can_change_uid() else os.geteuid())
    lb4.finish()
    text = path.read_text()
    if form == "json":
        entries = [json.loads(line) for line in text.splitlines()]
        assert all(list(entry)[:3] == ["time", "level", "thread"] for entry in entries)
        access = [entry for entry in entries if entry.get("event") == "access"]
        assert len(access) == 20 and list(access[0])[4:] == log_files.TCP_KEYS
        assert all(isinstance(entry["in"], int) for entry in access)
    else:
        assert all(daemon.LOG_LINE.match(line) for line in text.splitlines())
    told = [line for line in lb4.lines if "the log goes to" in line]
    assert len(told) == 1 and str(path) in told[0], "stderr tells where the rest is"


def test_a_file_that_is_moved_under_traffic(start_logged, server, folder):
    """No line is lost or there twice, whenever the file goes."""
    path = folder / "lb4.log"
    lb4 = start_logged(config(server, f"log file {path}\n"), log_path=path)
    ports = []
    is_over = threading.Event()

    def go_on():
        while not is_over.is_set():
            ports.extend(serve(5))
    clients = [threading.Thread(target=go_on) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        for number in range(20):
            serve(5)
            moved = path.with_suffix(f".{number}")
            path.rename(moved)
            lb4.signal(signal.SIGUSR1)
            servers.wait_until(path.exists, what="a new file")
    finally:
        is_over.set()
        for client in clients:
            client.join()
    lb4.finish()
    files = [*folder.glob("lb4.*")]
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert len(files) == 21 and all(daemon.LOG_LINE.match(line) for line in lines)
    found = collections.Counter(
        int(entry["client"].split(":")[1]) for entry in map(log_files.parse_access, lines) if entry)
    print(f"{found.total()} connections in {len(files)} files")
    assert found.total() == len(ports) + 100 and log_files.count_dropped(lines) == 0
    assert not collections.Counter(ports) - found


def test_a_file_that_cannot_be_opened_anew(start_logged, server, folder):
    inside = folder / "in"
    inside.mkdir()
    inside.chmod(0o777)
    path = inside / "lb4.log"
    lb4 = start_logged(config(server, f"log file {path}\n"), log_path=path)
    moved = folder / "moved"
    inside.rename(moved)
    lb4.signal(signal.SIGUSR1)
    servers.wait_until(lambda: "cannot be opened anew, the old one goes on: No such file"
                       in (moved / "lb4.log").read_text(), what="a line in the old file")
    serve(1)
    servers.wait_until(lambda: " access client=" in (moved / "lb4.log").read_text(),
                       what="an access line in the old file")
    moved.rename(inside)
    lb4.totals()


@needs_mounts
def test_root_opens_it_for_the_user(start_logged, server, folder):
    """In a directory where only root can make files, as /var/log is; logrotate makes the next one."""
    os.chown(folder, 0, 0)
    path = folder / "lb4.log"
    lb4 = start_logged(config(server, f"log file {path}\n" + own_user()), log_path=path, uid=None)
    assert path.stat().st_uid == daemon.LB4_UID and path.stat().st_mode & 0o7777 == 0o640
    path.rename(path.with_suffix(".1"))
    lb4.signal(signal.SIGUSR1)
    servers.wait_until(lambda: "cannot be opened anew" in path.with_suffix(".1").read_text(),
                       what="a line about it")
    path.touch()
    os.chown(path, daemon.LB4_UID, daemon.LB4_UID)
    lb4.totals()
    serve(1)
    lb4.wait_access(1)


@needs_mounts
def test_a_warning_if_it_cannot_be_opened_anew(start_logged, server, folder):
    path = folder / "lb4.log"
    path.touch()
    os.chown(folder, 0, 0)
    lb4 = start_logged(config(server, f"log file {path}\n" + own_user()), log_path=path, uid=None)
    lb4.wait_line(f"WARN .*uid {daemon.LB4_UID} cannot open it anew on SIGUSR1: Permission denied")


@needs_mounts
@pytest.mark.parametrize("trap", ["file", "hard link", "link", "folder that is a link", "fifo"])
def test_root_is_not_led_astray(start_logged, server, folder, trap):
    """By who owns the directory, or may make files in it, and is not lb4's user."""
    other = 60077
    theirs, precious = folder / "theirs", folder / "precious"
    theirs.mkdir()
    precious.mkdir()
    path = theirs / "lb4.log"
    os.chown(folder, 0, 0)
    (precious / "passwd").write_text("root\n")
    error = "Operation not permitted"
    if trap == "file":
        path.touch(0o600)
        os.chown(path, other, other)
    elif trap == "hard link":
        os.chmod(precious / "passwd", 0o600)
        os.link(precious / "passwd", path)
    elif trap == "link":
        os.chmod(precious, 0o700)
        path.symlink_to(precious / "lb4.log")
        error = "Too many levels of symbolic links"
    elif trap == "fifo":
        os.mkfifo(path, 0o600)
        error = "No such device or address"
    else:
        os.chmod(precious, 0o755)
        (theirs / "in").symlink_to(precious)
        path = theirs / "in/lb4.log"
        error = "Too many levels of symbolic links"
    os.chown(theirs, other, other)
    lb4 = start_logged(config(server, f"log file {path}\n" + own_user()), uid=None, waits=False)
    assert lb4.wait_exit() == 1
    lb4.is_finished = True
    assert any(f"log file {path}: {error}" in line for line in lb4.lines), "\n".join(lb4.lines)
    assert [name.name for name in precious.iterdir()] == ["passwd"]
    assert (precious / "passwd").read_text() == "root\n"


def test_a_file_that_cannot_be_is_an_error(start_logged, server, folder):
    lb4 = start_logged(config(server, f"log file {folder}/nowhere/lb4.log\n"), waits=False)
    assert lb4.wait_exit() == 1
    lb4.is_finished = True
    assert any(f"log file {folder}/nowhere/lb4.log: No such file" in line for line in lb4.lines)


@needs_mounts
def test_a_full_disk(start_logged, server, folder):
    """It costs lines and nothing else; they are counted and told once there is room."""
    disk = folder / "disk"
    disk.mkdir()
    path = disk / "lb4.log"
    lb4 = start_logged(
        config(server, f"log file {path}\n" + own_user()), uid=None, is_in_place=True, waits=False,
        wrapper=["unshare", "-m", "sh", "-c", SMALL_DISK, "sh", str(disk)])
    servers.wait_until(lambda: not servers.is_refused(LISTEN), what="lb4 listens")
    seen = pathlib.Path(f"/proc/{lb4.pid}/root{path}")
    count = 1500
    serve(count)
    assert seen.stat().st_size == 65536, "the disk was not full"
    subprocess.run(["nsenter", "-t", str(lb4.pid), "-m", "mount", "-o", "remount,size=8m", disk],
                   check=True)
    servers.wait_until(lambda: "log lines dropped: No space left on device" in seen.read_text(),
                       what="a line about what was lost")
    serve(10)

    def is_complete():
        """Whether each connection is in a line, or among those that were counted."""
        lb4.signal(signal.SIGUSR1)
        lines = seen.read_text().splitlines()
        total = daemon.parse_totals(lines).get(("service", "web"), {"total": -1})["total"]
        n_access = sum(1 for line in lines if log_files.parse_access(line))
        dropped = log_files.count_dropped(lines)
        print(f"{n_access} access lines, {dropped} dropped, {total} connections")
        return dropped > 0 and n_access + dropped == total >= count + 10
    servers.wait_until(is_complete, what="all connections in lines and counts")
    assert all(daemon.LOG_LINE.match(line) for line in seen.read_text().splitlines()), "a torn line"
    lb4.signal(signal.SIGTERM)
    assert lb4.wait_exit() == 0
    lb4.is_finished = True


# --- syslog

class Syslogd:
    def __init__(self, path):
        self.path = str(path)
        self.sock = None

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        os.chmod(self.path, 0o666)
        self.sock.settimeout(10)

    def receive(self, wanted):
        """All that comes, until a text is among it."""
        got = []
        while not got or wanted not in got[-1]:
            got.append(self.sock.recv(4096).decode())
        return got

    def stop(self):
        self.sock.close()


@needs_mounts
@pytest.mark.parametrize("form", ["text", "json"])
def test_syslog(start_logged, server, folder, form):
    syslogd = Syslogd(folder / "socket")
    syslogd.start()
    (folder / "dev").mkdir()
    lb4 = start_logged(
        config(server, f"log syslog local3\nlog-format {form}\n" + own_user()), uid=None,
        is_in_place=True, waits=False,
        wrapper=["unshare", "-m", "sh", "-c", OWN_DEV, "sh", str(folder / "dev"), syslogd.path])
    got = syslogd.receive("ready: ")
    serve(3)
    got += [line for _ in range(3) for line in syslogd.receive("access")]
    matches = [SYSLOG_LINE.match(line) for line in got]
    assert all(matches) and all(int(match["pid"]) == lb4.pid for match in matches)
    assert {int(match["pri"]) // 8 for match in matches} == {19}
    assert all(not match["text"].endswith("\n") for match in matches)
    if form == "json":
        assert json.loads(matches[-1]["text"])["event"] == "access"
    else:
        assert matches[-1]["text"].startswith("INFO worker ")
        assert int(matches[-1]["pri"]) % 8 == 6
    # One that is started anew loses nothing, if it does not take long.
    syslogd.stop()
    serve(5)
    syslogd.start()
    for _ in range(5):
        syslogd.receive("access")
    # One that is hung: its queue is full, and traffic does not mind.
    serve(300)
    syslogd.stop()
    lb4.signal(signal.SIGTERM)
    assert lb4.wait_exit() == 0
    lb4.is_finished = True


# --- the journal

@pytest.mark.parametrize("form", ["text", "json"])
def test_the_journal(start_logged, server, form):
    ours, theirs = socket.socketpair()
    status = os.fstat(theirs.fileno())
    lb4 = start_logged(config(server, f"log-format {form}\n"), waits=False, reads_log=False,
                       stderr=theirs, env={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    theirs.close()
    servers.wait_until(lambda: not servers.is_refused(LISTEN), what="lb4 listens")
    serve(3)
    lb4.signal(signal.SIGTERM)
    assert lb4.wait_exit() == 0
    lb4.is_finished = True
    with ours, ours.makefile() as log:
        lines = log.read().splitlines()
    if form == "json":
        assert json.loads(lines[-1][3:])["time"] and lines[-1].startswith("<6>")
    else:
        assert all(JOURNAL_LINE.match(line) for line in lines), "\n".join(lines)
        assert sum(" access client=" in line for line in lines) >= 3


# --- a reader that has stopped

def test_a_reader_that_stops_reading(start_logged, server):
    """All clients are served; what is not written was counted, and the sum is right."""
    read_end, write_end = os.pipe()
    lb4 = start_logged(config(server), waits=False, reads_log=False, stderr=write_end)
    os.close(write_end)
    servers.wait_until(lambda: not servers.is_refused(LISTEN), what="lb4 listens")
    count = 4000
    with servers.connect(LISTEN) as live:
        slowest = 0
        for _ in range(count):
            slowest = max(slowest, servers.ask_once(LISTEN))
        servers.ask(live)
    lines = []
    with os.fdopen(read_end, "rb") as log:
        reader = threading.Thread(
            target=lambda: lines.extend(line.decode().rstrip("\n") for line in log))
        reader.start()
        lb4.signal(signal.SIGTERM)
        assert lb4.wait_exit() == 0
        reader.join()
    lb4.is_finished = True
    written = sum(1 for line in lines if log_files.parse_access(line))
    dropped = log_files.count_dropped(lines, "worker")
    total = daemon.parse_totals(lines)["service", "web"]["total"]
    print(f"{written} written, {dropped} dropped, {total} connections; slowest {slowest * 1000:.1f} ms")
    assert all(daemon.LOG_LINE.match(line) for line in lines), "a torn line"
    assert dropped > 0 and written + dropped == total >= count + 1
    assert slowest < 1


# --- reload

def test_a_reload_moves_the_log(start_logged, server, folder):
    path = folder / "lb4.log"
    lb4 = start_logged(config(server), log_path=path)
    file = reloading.File(lb4)
    serve(1)
    lb4.wait_access(1)
    file.change(config(server, f"log file {path}\nlog-format json\n"),
                f'~ log stderr -> file "{path}"', "~ log-format text -> json")
    assert "the log goes to" in "\n".join(lb4.lines)
    serve(1)
    lb4.wait_access(2)
    assert [entry["event"] for entry in lb4.entries if "event" in entry] == ["access"]
    refused = config(server, "log file /nowhere/lb4.log\n")
    file.refuse(refused, "log file /nowhere/lb4.log: No such file or directory")
    serve(1)
    lb4.wait_access(3)
    assert len([entry for entry in lb4.entries if entry.get("event") == "access"]) == 2
    file.change(config(server), "~ log-format json -> text")
    serve(1)
    lb4.wait_access(4)
    assert len([entry for entry in lb4.entries if entry.get("event") == "access"]) == 2


def test_a_reload_changes_access_lines(start_logged, server):
    plain = reloading.service("web", [f"tcp {LISTEN}"], [("s1", server.address)])
    lb4 = start_logged(plain)
    file = reloading.File(lb4)
    with servers.connect(LISTEN) as live:
        servers.ask(live)
        serve(1)
        # Its client is gone; lb4 may still be about to hear of that.
        servers.wait_until(lambda: lb4.totals()["service", "web"]["active"] == 1, what="its end")
        file.change(config(server), "~ access-log of web off -> on")
        serve(2)
        assert len(lb4.wait_access(2)) == 2
        file.change(plain.replace("    server", "    access-log on interval 50ms\n    server"),
                    "~ access-log of web on -> on interval 50ms")
        # One that was there before has lines at intervals now.
        entries = lb4.wait_access(5)
        assert {entry["reason"] for entry in entries[2:]} == {"live"}
        assert entries[2]["client"] == "127.0.0.1:%d" % live.getsockname()[1]
        file.change(plain, "~ access-log of web on interval 50ms -> off")
    serve(1)
    lb4.totals()
    after = lb4.lines[[i for i, line in enumerate(lb4.lines) if "reload: done" in line][-1]:]
    assert sum(" access client=" in line for line in after) <= 1, "one may have been due"


def test_a_reload_changes_access_lines_of_sessions(start_logged):
    """UDP sessions that were there before, too: at intervals, at others, not at all."""
    def with_log(*words):
        return reloading.service("dns", ["udp 127.0.0.1:7001"], [("s1", "127.0.0.1:7002")], *words,
                                 "timeout udp 2s")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        server.bind(("127.0.0.1", 7002))
        server.settimeout(10)
        lb4 = start_logged(with_log("access-log on interval 1h"))
        file = reloading.File(lb4)
        client.sendto(b"x", ("127.0.0.1", 7001))
        server.recv(10)
        file.change(with_log("access-log on interval 50ms"), "~ access-log of dns on interval 1h -> on interval 50ms")
        entries = lb4.wait_access(3)
        assert {entry["reason"] for entry in entries} == {"live"}
        assert {entry["client"] for entry in entries} == {"127.0.0.1:%d" % client.getsockname()[1]}
        file.change(with_log("access-log on"), "~ access-log of dns on interval 50ms -> on")
        lb4.totals()
        count = len(lb4.access)
        client.sendto(b"x", ("127.0.0.1", 7001))
        server.recv(10)
        lb4.totals()
        file.change(with_log("access-log on interval 51ms"),
                    "~ access-log of dns on -> on interval 51ms")
        entry = lb4.wait_access(count + 1)[count]
        assert entry["reason"] == "live" and entry["datagrams_in"] == "2"
