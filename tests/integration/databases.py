"""Debian's PostgreSQL, Redis and MariaDB as processes of a test: in folders of its own, as an
unprivileged uid, on loopback ports; they can be killed, held up and promoted."""
import contextlib
import glob
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

import daemon
import namespace
import servers

LISTEN_HOST = "127.0.0.1"
RUN_LIMIT_S = 30
ROLE_PORT = 8008
PG_BIN = (sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [""])[-1]
EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "examples"
UNPRIVILEGED = ({"user": daemon.NOBODY, "group": daemon.NOBODY, "extra_groups": []}
                if daemon.can_change_uid() else {})


def add_addresses(*addresses):
    """The addresses of the examples, on our loopback interface; they stay."""
    for address in addresses:
        namespace.add_address(address)


@contextlib.contextmanager
def folder():
    """For the data of servers; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="lb4-db-") as name:
        if daemon.can_change_uid():
            os.chown(name, daemon.NOBODY, daemon.NOBODY)
        yield pathlib.Path(name)


def run(*words, checks=True):
    """Standard output of a program."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True,
                          timeout=RUN_LIMIT_S, check=False, cwd="/", **UNPRIVILEGED)
    assert done.returncode == 0 or not checks, f"{words}: {done}"
    return done.stdout.strip()


def descendants(pid):
    """The process and all below it, parents first."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in pathlib.Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


class Server:
    """A server program with children or without. Kinds say how it is made and started."""

    def __init__(self, name, directory, host, port):
        self.name = name
        self.data = pathlib.Path(directory, name)
        self.log = pathlib.Path(directory, f"{name}.log")
        self.host = host
        self.port = port
        self.process = None
        self.held = []

    def start(self):
        """Returns once it answers."""
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                **UNPRIVILEGED)
        try:
            servers.wait_until(self.is_answering, RUN_LIMIT_S, f"{self.name} answers")
        except AssertionError as problem:
            self.kill()
            raise AssertionError(self.log.read_text(errors="replace")[-2000:]) from problem
        return self

    def signal_all(self, number):
        pids = descendants(self.process.pid)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def kill(self):
        """All at once, as if the power failed; what was connected ends."""
        self.signal_all(signal.SIGSTOP)
        self.signal_all(signal.SIGKILL)
        self.process.wait()

    def hang(self):
        """It does nothing any more, while its kernel goes on to accept."""
        self.signal_all(signal.SIGSTOP)
        self.held = self.signal_all(signal.SIGSTOP)

    def go_on(self):
        for pid in self.held:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.held = []

    def stop(self):
        """In order."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(RUN_LIMIT_S)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()


# --- PostgreSQL

class Postgres(Server):
    """SIGINT is its fast shutdown: clients are sent away, replicas get all there is."""

    def command(self):
        words = [f"{PG_BIN}/postgres", "-D", str(self.data), "-p", str(self.port), "-k", ""]
        for word in (f"listen_addresses={self.host}", "fsync=off", "shared_buffers=16MB",
                     "max_connections=60", "wal_keep_size=64MB", "autovacuum=off",
                     "wal_retrieve_retry_interval=200ms"):
            words += ["-c", word]
        return words

    def create(self):
        run(f"{PG_BIN}/initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-N",
            "--no-locale")
        with open(self.data / "pg_hba.conf", "a", encoding="utf-8") as file:
            file.write("host all,replication all 10.0.0.0/24 trust\n")
        return self

    def copy(self, primary):
        """Become a streaming replica of it, from a backup of now."""
        shutil.rmtree(self.data, ignore_errors=True)
        run(f"{PG_BIN}/pg_basebackup", "-D", self.data, "-R", "-X", "stream", "-c", "fast", "-N",
            "-h", primary.host, "-p", primary.port, "-U", "postgres")
        return self

    @property
    def conninfo(self):
        return f"host={self.host} port={self.port} user=postgres dbname=postgres"

    def ask(self, query, checks=True):
        return run(f"{PG_BIN}/psql", "-XAtqw", "-d", self.conninfo, "-c", query, checks=checks)

    def is_answering(self):
        return self.ask("select 1", checks=False) == "1"

    def promote(self):
        """Returns when it takes writes. A pg_promote() that waits holds a snapshot meanwhile, and the
        replay of what is left may wait for that, for max_standby_streaming_delay (30 s)."""
        assert self.ask("select pg_promote(false)") == "t"
        servers.wait_until(lambda: self.ask("select pg_is_in_recovery()") == "f", RUN_LIMIT_S,
                           f"{self.name} is promoted")

    def has_replica(self):
        return self.ask("select count(*) from pg_stat_replication where state = 'streaming'") == "1"


def make_postgres(index, directory):
    """pg1 or pg2 of the example."""
    host = f"10.0.0.{10 + index}"
    add_addresses(host)
    return Postgres(f"pg{index}", directory, host, 5432)


class Responder:
    """pg_role.py of the examples beside a server, with its peers."""

    def __init__(self, server, *peers, options=(), port=ROLE_PORT):
        self.server = server
        self.peers = peers
        self.options = options
        self.address = f"{server.host}:{port}"
        self.process = None

    def __enter__(self):
        # Where an unprivileged uid can read it.
        program = shutil.copy(EXAMPLES / "postgresql" / "pg_role.py", self.server.data.parent)
        self.process = subprocess.Popen(
            ["/usr/bin/python3", "-B", program, "--listen", self.address, *self.options,
             self.server.conninfo, *(peer.conninfo for peer in self.peers)],
            stdout=subprocess.PIPE, text=True, cwd="/", **UNPRIVILEGED)
        servers.wait_until(lambda: not servers.is_refused(self.address), RUN_LIMIT_S,
                           "the responder listens")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(RUN_LIMIT_S)
        self.process.stdout.close()

    def ask(self, path, method="GET"):
        """(status, text)."""
        with servers.connect(self.address) as sock:
            sock.sendall(f"{method} {path} HTTP/1.0\r\n\r\n".encode())
            answer = b""
            while data := sock.recv(4096):
                answer += data
        head, _, body = answer.decode().partition("\r\n\r\n")
        return int(head.split()[1]), body.strip()


# --- Redis

class Redis(Server):
    """Started anew it is what it was before it died, unless it is told whom to follow."""

    def __init__(self, *words):
        super().__init__(*words)
        self.master = None  # as `replicaof` in its configuration

    def command(self):
        words = ["--replicaof", self.master.host, str(self.master.port)] if self.master else []
        return ["redis-server", "--bind", self.host, "--port", str(self.port), "--save", "",
                "--appendonly", "no", "--protected-mode", "no", "--dir", str(self.data.parent),
                "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0", *words]

    def ask(self, *words, checks=True):
        return run("redis-cli", "-h", self.host, "-p", self.port, *words, checks=checks)

    def is_answering(self):
        return self.ask("ping", checks=False) == "PONG"

    def follow(self, master):
        """Returns when it has what the master has."""
        self.ask("replicaof", master.host, master.port)
        servers.wait_until(lambda: "master_link_status:up" in self.ask("info", "replication"),
                           RUN_LIMIT_S, f"{self.name} follows")

    def promote(self):
        assert self.ask("replicaof", "no", "one") == "OK"


def make_redis(index, directory):
    host = f"10.0.0.{20 + index}"
    add_addresses(host)
    return Redis(f"redis{index}", directory, host, 6379)


# --- MariaDB

class MariaDb(Server):
    """`options` are further ones of the server."""

    def __init__(self, name, directory, host, port, options=()):
        super().__init__(name, directory, host, port)
        self.options = options
        self.socket = f"{directory}/{name}.sock"

    def command(self):
        return ["mariadbd", "--no-defaults", f"--datadir={self.data}", f"--port={self.port}",
                f"--bind-address={self.host}", f"--socket={self.socket}",
                f"--pid-file={self.data}/pid", "--innodb-flush-log-at-trx-commit=0",
                "--innodb-buffer-pool-size=8M", "--skip-log-bin", *self.options]

    def create(self):
        run("mariadb-install-db", "--no-defaults", f"--datadir={self.data}",
            "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")
        return self

    def ask(self, query, checks=True):
        return run("mariadb", "--no-defaults", f"--socket={self.socket}", "-u", "root", "-NBe",
                   query, checks=checks)

    def is_answering(self):
        return self.ask("select 1", checks=False) == "1"


def make_mariadb(index, directory, options=()):
    """Not on a loopback address: such a client has no entry in the host cache, and is never
    blocked."""
    host = f"10.0.0.{30 + index}"
    add_addresses(host)
    return MariaDb(f"db{index}", directory, host, 3306, options)


# --- lb4 with an example

def example(name, admin_line=""):
    """The text of the example `name`, as it is but for what only one process of a machine may
    have."""
    text = (EXAMPLES / name / "lb4.conf").read_text()
    text = re.sub(r"^admin .*\n", admin_line, text, flags=re.M)
    text = re.sub(r"^http .*\n", "", text, flags=re.M)
    return text.replace("listen tcp :", f"listen tcp {LISTEN_HOST}:")


def has_programs(*names):
    return all(shutil.which(name) for name in names)


HAS_POSTGRES = bool(PG_BIN) and os.path.exists(f"{PG_BIN}/pg_basebackup")
HAS_REDIS = has_programs("redis-server", "redis-cli")
HAS_MARIADB = has_programs("mariadbd", "mariadb-install-db", "mariadb")
HAS_HAPROXY = os.path.exists("/usr/sbin/haproxy")

