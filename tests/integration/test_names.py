"""Servers by name at the start: they become servers, and lb4 does not wait long for those it does
not find. What becomes of them later is in test_resolve.py.

lb4 runs with an /etc of our own (mount namespace), so that neither the machine's hosts nor its name
servers matter. Names are served by the hosts file and by a name server on loopback.
"""
import contextlib
import errno
import os
import pathlib
import signal
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest

import daemon
import namespace

pytestmark = pytest.mark.patient

CONFIG = "/etc/lb4.conf"
FILES = ("passwd", "group", "ld.so.cache")
NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"
HOSTS = """127.0.0.1 localhost
::1 localhost
127.0.0.2 one.test
127.0.0.2 pair.test
127.0.0.3 pair.test
127.0.0.1 own.test
0.0.0.0 blocked.test
"""
SILENT = "nameserver 127.0.0.1\n"
DEADLINE_S = 5
START_S = 2
SLACK_S = 1.5 if not daemon.IS_SANITIZED else 5


class NameServer:
    """DNS on 127.0.0.1:53: answers for A from a table, "no such name" for all else; silent: never
    answers."""

    def __init__(self, table=None):
        self.table = table
        self.n_queries = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        self.socket.settimeout(0.1)
        self.is_ending = False
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while not self.is_ending:
            with contextlib.suppress(TimeoutError):
                query, client = self.socket.recvfrom(4096)
                self.n_queries += 1
                if self.table is not None:
                    self.socket.sendto(self.answer(query), client)

    def answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        question = query[12:at + 5]
        kind = struct.unpack(">H", query[at + 1:at + 3])[0]
        known = self.table.get(".".join(labels).lower())
        addresses = known if known and kind == 1 else []
        header = query[:2] + struct.pack(">HHHHH", 0x8180 if known else 0x8183, 1, len(addresses),
                                         0, 0)
        return header + question + b"".join(
            b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(address)
            for address in addresses)

    def close(self):
        self.is_ending = True
        self.thread.join()
        self.socket.close()


@contextlib.contextmanager
def name_server(table=None):
    server = NameServer(table)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def etc(tmp_path):
    """A folder that stands in for /etc."""
    folder = tmp_path / "etc"
    folder.mkdir()
    for name in FILES:
        if pathlib.Path("/etc", name).exists():
            shutil.copy(f"/etc/{name}", folder)
    (folder / "nsswitch.conf").write_text(NSSWITCH)
    (folder / "host.conf").write_text("multi on\n")
    (folder / "hosts").write_text(HOSTS)
    (folder / "resolv.conf").write_text(SILENT)
    return folder


def wrapper(etc):
    """lb4 as the child of a shell that sees `etc` as /etc, and as nobody."""
    drop = ""
    if daemon.can_change_uid():
        drop = f"setpriv --reuid {daemon.NOBODY} --regid {daemon.NOBODY} --clear-groups "
    return ["unshare", "-m", "sh", "-c", f'mount --bind "$0" /etc && {drop}"$@"; exit $?',
            str(etc)]


@pytest.fixture
def start(start_lb4, etc):
    def start_named(*args, **options):
        return start_lb4(args, uid=None, wrapper=wrapper(etc), **options)
    return start_named


@pytest.fixture
def run(binary, etc):
    """Run lb4 that is expected to end: exit code, stdout, stderr, seconds."""
    def run_named(*args, config=None, env=None):
        if config is not None:
            (etc / "lb4.conf").write_text(config)
            args = ("-c", CONFIG, *args)
        begin = time.monotonic()
        done = subprocess.run([*wrapper(etc), binary, *args], capture_output=True, timeout=60,
                              check=False, stdin=subprocess.DEVNULL, text=True,
                              env={**os.environ, **(env or {})})
        assert not daemon.SANITIZER.search(done.stderr), done.stderr
        return done.returncode, done.stdout, done.stderr, time.monotonic() - begin
    return run_named


def config_of(port, *server_lines):
    lines = "".join(f"    server {line}\n" for line in server_lines)
    return f"service web {{\n    listen tcp 127.0.0.1:{port}\n    check none\n{lines}}}\n"


def ask(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.settimeout(10)
        return client.recv(64).decode()


@contextlib.contextmanager
def greeters(port, *hosts):
    """Servers on the same port of several addresses, each of which tells clients its address."""
    with contextlib.ExitStack() as stack:
        for host in hosts:
            stack.enter_context(greeter(host, port))
        yield


@contextlib.contextmanager
def greeter(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        listener.settimeout(0.1)
        is_ending = threading.Event()

        def serve():
            while not is_ending.is_set():
                with contextlib.suppress(TimeoutError):
                    client, _ = listener.accept()
                    client.sendall(host.encode())
                    client.close()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_ending.set()
            thread.join()


def test_localhost(start):
    port, at = namespace.take_port(), namespace.take_port()
    with greeters(at, "127.0.0.1", "::1"):
        start("-l", f"127.0.0.1:{port}", "-s", f"localhost:{at}", "-b", "roundrobin")
        assert {ask(port) for _ in range(4)} == {"127.0.0.1", "::1"}


@contextlib.contextmanager
def no_free_port(count=5):
    """All local ports are taken while it lasts. They are ports of our own: those of the usual range
    may rest in TIME_WAIT for earlier tests, and come free at any moment."""
    first = namespace.take_ports(count)
    with namespace.sysctl("net.ipv4.ip_local_port_range", f"{first} {first + count - 1}"), \
            contextlib.ExitStack() as stack:
        for port in range(first, first + count):
            holder = stack.enter_context(socket.socket())
            holder.bind(("127.0.0.1", port))
        with socket.socket() as another, pytest.raises(OSError) as refusal:
            another.bind(("127.0.0.1", 0))
        assert refusal.value.errno == errno.EADDRINUSE
        yield


def test_localhost_where_no_port_is_free(start):
    """Whether an address is ours must not hang on a free local port."""
    port, at = namespace.take_port(), namespace.take_port()
    with no_free_port():
        lb4 = start("-l", f"127.0.0.1:{port}", "-s", f"localhost:{at}", "-o", "check none")
    lb4.finish()
    names = {name for kind, name in lb4.summary() if kind == "server"}
    assert names == {"rule1/s1", "rule1/s1-2"}


def test_localhost_without_ipv6(start):
    """The hosts file still says ::1, which would be a server that nobody can reach."""
    port, at = namespace.take_port(), namespace.take_port()
    with namespace.sysctl("net.ipv6.conf.all.disable_ipv6", "1"), greeters(at, "127.0.0.1"):
        lb4 = start("-l", f"127.0.0.1:{port}", "-s", f"localhost:{at}")
        assert ask(port) == "127.0.0.1"
        lb4.finish()
        assert [name for kind, name in lb4.summary() if kind == "server"] == ["rule1/s1"]


def test_each_address_is_a_server(start):
    port, at = namespace.take_port(), namespace.take_port()
    with greeters(at, "127.0.0.2", "127.0.0.3"):
        lb4 = start(config=config_of(port, f"db pair.test:{at} weight 3", f"x one.test:{at}"))
        assert {ask(port) for _ in range(30)} == {"127.0.0.2", "127.0.0.3"}
        lb4.finish()
        names = {name for kind, name in lb4.summary() if kind == "server"}
        assert names == {"web/db", "web/db-2", "web/x"}


def test_nothing_is_left_of_the_look_up(start):
    port = namespace.take_port()
    lb4 = start("-l", f"127.0.0.1:{port}", "-s", "one.test:1")
    children = pathlib.Path(f"/proc/{lb4.pid}/task/{lb4.pid}/children").read_text()
    assert len(children.split()) == 1, "only the spawner"


def test_name_without_a_port(start):
    port = namespace.take_port()
    with greeters(port, "127.0.0.2"):
        start("-l", f"127.0.0.1:{port}", "-s", "one.test")
        assert ask(port) == "127.0.0.2"


def test_names_from_a_name_server(start):
    port, at = namespace.take_port(), namespace.take_port()
    hosts = ["127.0.0.7", "127.0.0.8", "127.0.0.9"]
    with name_server({"db.example": hosts}) as dns, greeters(at, *hosts):
        lb4 = start("-l", f"127.0.0.1:{port}", "-b", "roundrobin", "-s", f"db=db.example:{at}")
        assert {ask(port) for _ in range(9)} == set(hosts)
        assert dns.n_queries > 0
        lb4.finish()
        names = {name for kind, name in lb4.summary() if kind == "server"}
        assert names == {"rule1/db", "rule1/db-2", "rule1/db-3"}


@pytest.mark.parametrize("count", [16, 17, 25])
def test_many_addresses(start, count):
    """The 16 lowest, in whatever order the name server lists them, and it is told that there are
    more."""
    port, at = namespace.take_port(), namespace.take_port()
    hosts = [f"127.0.1.{i}" for i in range(1, count + 1)]
    used = hosts[:16]
    with name_server({"db.example": hosts[::-1]}), greeters(at, *hosts):
        lb4 = start("-l", f"127.0.0.1:{port}", "-b", "roundrobin", "-s", f"db=db.example:{at}",
                    "-o", "check none")
        assert sorted(ask(port) for _ in range(32)) == sorted(used * 2)
        lb4.finish()
    warnings = [line for line in lb4.lines if "has more than 16 addresses" in line]
    assert len(warnings) == (count > 16)
    names = {name for kind, name in lb4.summary() if kind == "server"}
    assert names == {"rule1/db", *(f"rule1/db-{i}" for i in range(2, 17))}


def test_unknown_names_are_looked_up_again(start):
    """It starts at once, and says of each that it is not there."""
    port = namespace.take_port()
    with name_server({}):
        lb4 = start(config=config_of(
            port, "a one.test:1", "b no.such.name.test:1", "c 127.0.0.1:1", "d nor.this.test:1"))
        for name in ("no.such.name.test", "nor.this.test"):
            lb4.wait_line(rf"WARN .*: name {name} not resolved: Name or service not known; it has "
                          "no server until it is$")
        lb4.finish()
    assert {name for kind, name in lb4.summary() if kind == "server"} == {"web/a", "web/c"}


def test_silent_dns_does_not_keep_it_from_starting(start):
    port, at = namespace.take_port(), namespace.take_port()
    lines = [f"s{i} host{i}.example:1" for i in range(15)]
    with name_server(None) as dns, greeter("127.0.0.2", at):
        began = time.monotonic()
        # lb4 asks for short waits where nothing is set, and would know before its own deadline.
        lb4 = start(config=config_of(port, f"x one.test:{at}", *lines),
                    env={"RES_OPTIONS": "timeout:20"})
        took_s = time.monotonic() - began
        assert dns.n_queries >= 15
        assert ask(port) == "127.0.0.2"
        lb4.finish(checks_descriptors=False)  # it goes on asking
    assert START_S - 0.1 <= took_s <= START_S + 2 * SLACK_S


def test_a_dead_first_name_server_is_passed_over(start, etc):
    """The second one is asked while there is time; the addresses come sorted, however they rotate."""
    (etc / "resolv.conf").write_text("nameserver 127.0.0.2\nnameserver 127.0.0.1\n")
    port, at = namespace.take_port(), namespace.take_port()
    hosts = ["127.0.0.9", "127.0.0.7", "127.0.0.8"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.2", 53))
        with name_server({"db.example": hosts}), greeters(at, "127.0.0.7"):
            lb4 = start("-l", f"127.0.0.1:{port}", "-s", f"db=db.example:{at}",
                        "-o", "check none")
            assert ask(port) == "127.0.0.7"
            lb4.finish()
    summary = lb4.summary()
    assert summary["server", "rule1/db"]["total"] == 1, "the lowest address is the first"
    assert summary["server", "rule1/db-2"]["total"] == 0


def test_term_ends_a_start_that_waits_for_names(start_lb4, etc):
    with name_server(None) as dns:
        lb4 = start_lb4(["-l", "127.0.0.1:7000", "-s", "db.example:5432"], waits=False, uid=None,
                        wrapper=wrapper(etc), env={"RES_OPTIONS": "timeout:20"})
        begin = time.monotonic()
        while not dns.n_queries:
            assert time.monotonic() - begin < DEADLINE_S
            time.sleep(0.01)
        begin = time.monotonic()
        lb4.signal(signal.SIGTERM)
        assert lb4.wait_exit() == 0
        assert time.monotonic() - begin < DEADLINE_S / 2
        lb4.kill()


def test_refused_dns_is_told_at_once(start):
    port = namespace.take_port()
    began = time.monotonic()
    lb4 = start("-l", f"127.0.0.1:{port}", "-s", "db.example:5432",
                "-o", "check none")
    lb4.wait_line("name db.example not resolved: Temporary failure in name resolution;")
    assert time.monotonic() - began < START_S + SLACK_S - 0.5


@pytest.mark.parametrize("action", ["-t", "-T"])
def test_check_and_print_look_nothing_up(run, action):
    with name_server(None) as dns:
        code, out, errors, took_s = run(action, config=config_of(7000, "s db.example:5432"))
        assert dns.n_queries == 0
    assert (code, errors) == (0, "")
    assert "db.example:5432" in out if action == "-T" else "is valid" in out
    assert took_s < DEADLINE_S - 1


@pytest.mark.parametrize("line, text", [
    ("s own.test:7000", "our own listener of"),
    ("s own.test", "our own listener of"),
    ("s blocked.test:1", "blocked.test is 0.0.0.0: a wildcard is no server's address"),
])
def test_addresses_that_no_server_may_have(run, line, text):
    code, _, errors, _ = run(config=config_of(7000, line))
    assert code == 1
    assert errors.startswith(f"{CONFIG}:4:12: ")
    assert text in errors
    assert len(errors.splitlines()) == 1


def test_names_of_others_are_passed_over(start):
    port, at = namespace.take_port(), namespace.take_port()
    lb4 = start(config=config_of(port, f"s pair.test:{at}", f"s-2 127.0.0.9:{at}"))
    lb4.finish()
    assert {name for kind, name in lb4.summary() if kind == "server"} == {
        "web/s", "web/s-2", "web/s-3"}


def test_a_warning_is_given_once(start):
    lb4 = start(config=config_of(namespace.take_port(), "s one.test:1 backup"))
    lb4.finish()
    assert sum("backups only" in line for line in lb4.lines) == 1
