"""Debian's servers for tests: each in a directory of its own, by an unprivileged uid, on a port of
the test's; started, stopped, made to hang and to go on. And a proxy that mangles what they say."""
import contextlib
import glob
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

import daemon
import namespace
import servers

RUN_LIMIT_S = 60
START_LIMIT_S = 60
STOP_LIMIT_S = 20
PG_BIN = (sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [""])[-1]
PATH = os.pathsep.join([PG_BIN, "/usr/sbin", os.environ["PATH"]])
UNPRIVILEGED = ({"user": daemon.NOBODY, "group": daemon.NOBODY, "extra_groups": []}
                if daemon.can_change_uid() else {})


def needs(*programs):
    return pytest.mark.skipif(not all(shutil.which(name, path=PATH) for name in programs),
                              reason=f"not all installed: {', '.join(programs)}")


needs_redis = needs("redis-server", "redis-cli")
needs_postgres = needs("initdb", "postgres", "psql")
needs_mariadb = needs("mariadbd", "mariadb-install-db", "mariadb")
needs_nginx = needs("nginx")
needs_nsd = needs("nsd")


def run(*command, **options):
    """Standard output of a program that must succeed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=RUN_LIMIT_S, check=False, env={**os.environ, "PATH": PATH},
                          **{**UNPRIVILEGED, **options})
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Server:
    """A program. Use as a context: it is running at the start and gone at the end."""

    stop_signal = signal.SIGTERM

    def __init__(self, directory, host="127.0.0.1"):
        self.host = host
        self.port = namespace.take_port()
        self.directory = pathlib.Path(directory, f"{type(self).__name__.lower()}-{self.port}")
        self.directory.mkdir()
        if daemon.can_change_uid():
            os.chown(self.directory, daemon.NOBODY, daemon.NOBODY)
        self.log = self.directory / "output"
        self.process = None
        self.prepare()

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def prepare(self):
        """Write its files."""

    def copy(self, name, make):
        """`name` in its directory, a copy of what make() has made for the first of its kind."""
        own, first = self.directory / name, self.directory.parent / f"{type(self).__name__}-{name}"
        if not first.exists():
            make(own)
            subprocess.run(["cp", "-a", own, first], check=True)
        else:
            subprocess.run(["cp", "-a", first, own], check=True)
        return own

    def command(self):
        raise NotImplementedError

    def is_ready(self):
        return not servers.is_refused(self.address)

    def start(self, waits=True):
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(
                [str(word) for word in self.command()], stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, start_new_session=True, cwd=self.directory,
                env={**os.environ, "PATH": PATH}, **UNPRIVILEGED)
        if waits:
            servers.wait_until(self.is_up, START_LIMIT_S, f"{self.command()[0]}: ready")

    def is_up(self):
        assert self.process.poll() is None, f"{self.command()} has ended\n{self.log.read_text()}"
        return self.is_ready()

    def stop(self):
        if self.process is None:
            return
        self.resume()
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.process.wait()
        self.process = None

    def signal(self, number):
        """To all of it, as far as it has stayed in its session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def hang(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()


class Redis(Server):
    def __init__(self, directory, *words):
        self.words = list(words)
        super().__init__(directory)

    def command(self):
        return ["redis-server", "--bind", "127.0.0.1", "--port", self.port, "--save", "",
                "--appendonly", "no", "--dir", self.directory, "--repl-diskless-sync-delay", "0",
                *self.words]

    def cli(self, *words):
        return run("redis-cli", "-p", self.port, *words).strip()


class Nginx(Server):
    """Answers 200, or 503 once the file `sick` is there."""

    def prepare(self):
        (self.directory / "conf").write_text(
            "daemon off; master_process off; pid pid; error_log stderr;\n"
            "events {}\nhttp {\n access_log off;\n"
            + "".join(f" {kind}_temp_path {kind};\n"
                      for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            + f" server {{\n  listen 127.0.0.1:{self.port};\n  root {self.directory};\n"
            "  location / {\n   if (-f $document_root/sick) { return 503; }\n"
            "   return 200 \"fine\\n\";\n  }\n }\n}\n")

    def command(self):
        return ["nginx", "-p", self.directory, "-c", "conf", "-e", "stderr"]

    def be_sick(self, is_sick):
        path = self.directory / "sick"
        if is_sick:
            path.touch()
        else:
            path.unlink()


class Nsd(Server):
    """Knows of lb4.example and refuses to talk of anything else; UDP and TCP."""

    def prepare(self):
        zone = self.directory / "zone"
        zone.write_text("$ORIGIN lb4.example.\n$TTL 60\n@ SOA ns root 1 3600 600 86400 60\n"
                        "@ NS ns\nns A 10.9.9.9\n")
        (self.directory / "conf").write_text(
            f'server:\n  ip-address: 127.0.0.1@{self.port}\n  username: ""\n  chroot: ""\n'
            f'  zonesdir: "{self.directory}"\n  database: ""\n  pidfile: "{self.directory}/pid"\n'
            f'  xfrdfile: "{self.directory}/xfrd"\n  xfrdir: "{self.directory}"\n'
            f'  zonelistfile: "{self.directory}/zones"\n'
            f"remote-control:\n  control-enable: no\nzone:\n  name: lb4.example\n"
            f'  zonefile: "{zone}"\n')

    def command(self):
        return ["nsd", "-d", "-c", self.directory / "conf"]


class Postgres(Server):
    """A fresh cluster that knows one role, postgres, and trusts it unless `auth` says otherwise.
    Its log is `log`."""

    stop_signal = signal.SIGINT

    def __init__(self, directory, ssl=True, auth="trust"):
        self.ssl = ssl
        self.auth = auth
        self.words = []
        super().__init__(directory)

    def prepare(self):
        self.data = self.copy("data", lambda data: run(
            "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "--no-locale",
            cwd=self.directory))
        (self.data / "pg_hba.conf").write_text(
            f"local all all trust\nhost all all 127.0.0.1/32 {self.auth}\n")
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write(f"port = {self.port}\nunix_socket_directories = '{self.directory}'\n"
                       "listen_addresses = '127.0.0.1'\nfsync = off\nlog_checkpoints = off\n"
                       "max_connections = 10\nsuperuser_reserved_connections = 0\n")
        if self.ssl:
            self.use_ssl()

    def use_ssl(self):
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=test", "-keyout", self.data / "server.key",
            "-out", self.data / "server.crt")
        os.chmod(self.data / "server.key", 0o600)
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write("ssl = on\n")

    def command(self):
        return ["postgres", "-D", self.data, *self.words]

    def is_ready(self):
        return "ready to accept" in self.log.read_text().rpartition("starting PostgreSQL")[2]

    def signal(self, number):
        """The postmaster; its children have sessions of their own, and hang without it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def psql(self, text):
        return run("psql", "-h", self.directory, "-p", self.port, "-U", "postgres", "-At",
                   "-c", text).strip()


class MariaDb(Server):
    """A fresh one that blocks a host after 10 errors in a row. It must not be asked from 127.0.0.1,
    which it never blocks: it listens on an address that the loopback is given, and has a name for
    it. `log` is its error log. Its accounts: root at the local socket; and, with `has_clients`, app
    from anywhere, with a password: without any it tells all of the network to stay away."""

    ADDRESS = "10.77.9.1"

    def __init__(self, directory, has_clients=True):
        self.words = []
        self.has_clients = has_clients
        namespace.add_address(self.ADDRESS)
        super().__init__(directory, self.ADDRESS)

    def prepare(self):
        self.data = self.copy("data", lambda data: run(
            "mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db",
            "--auth-root-authentication-method=normal", "--innodb-log-file-size=8M"))
        self.socket = self.directory / "socket"
        self.hosts = self.directory / "hosts"
        self.first_words = self.directory / "first-words.sql"
        self.first_words.write_text(
            "create user if not exists app@'%' identified by 'secret';\n" * self.has_clients)
        self.hosts.write_text(f"127.0.0.1 localhost\n{self.ADDRESS} probed.example\n")

    def command(self):
        """With a table of hosts of its own."""
        own = ["--user=root"] if not UNPRIVILEGED else []
        return [*self.become(), "mariadbd", "--no-defaults", f"--datadir={self.data}",
                f"--socket={self.socket}", f"--pid-file={self.directory}/pid",
                f"--port={self.port}", f"--bind-address={self.host}", "--performance-schema=on",
                "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0",
                "--max-connect-errors=10", "--max-connections=20",
                f"--init-file={self.first_words}", *own, *self.words]

    def become(self):
        """The mount needs who we are; the server gets who it shall be."""
        drop = ([f"setpriv --reuid {daemon.NOBODY} --regid {daemon.NOBODY} --clear-groups"]
                if UNPRIVILEGED else [])
        script = f'mount --bind {self.hosts} /etc/hosts && exec {" ".join(drop)} "$@"'
        return ["unshare", "-m", "sh", "-c", script, "sh"]

    def start(self, waits=True):
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(
                [str(word) for word in self.command()], stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, start_new_session=True, cwd=self.directory,
                env={**os.environ, "PATH": PATH})
        if waits:
            servers.wait_until(self.is_up, START_LIMIT_S, "mariadbd: ready")

    def is_ready(self):
        """By its log: a connect would be the first of the errors that it counts."""
        return "ready for connections" in self.log.read_text().rpartition("Starting MariaDB")[2]

    def sql(self, text):
        """Rows of columns, by the local socket."""
        out = run("mariadb", "--no-defaults", "-S", self.socket, "-u", "root", "-N", "-B", "-e",
                  text)
        return [line.split("\t") for line in out.splitlines()]

    def counts(self):
        """What it holds against its peers: its own counters, and those of our host."""
        found = {name: int(value) for name, value in self.sql("show global status like 'Abort%'")}
        columns = ("SUM_CONNECT_ERRORS", "COUNT_HOST_BLOCKED_ERRORS", "COUNT_HANDSHAKE_ERRORS",
                   "COUNT_AUTHENTICATION_ERRORS")
        rows = self.sql(f"select {', '.join(columns)} from performance_schema.host_cache")
        found.update((name, sum(int(row[i]) for row in rows)) for i, name in enumerate(columns))
        return found


class Mangler:
    """Stands before a server. `mode`: "whole" = what comes; "split" = the server's words in single
    bytes; "junk" = a megabyte in their place. Use as a context."""

    JUNK_BYTES = 1 << 20
    GAP_S = 0.0005

    def __init__(self, address):
        self.server = address
        self.mode = "whole"
        self.n_split = 0
        self.sockets = set()
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", namespace.take_port()), backlog=1024)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, self.held(client), contextlib.suppress(OSError):
            if self.mode == "junk":
                client.sendall((b"\xa5\x5a\x00junk\r\n" * (1 + self.JUNK_BYTES // 9)))
                servers.read_end(client)
                return
            with servers.connect(self.server) as server, self.held(server):
                threading.Thread(target=self.pass_on, args=(client, server), daemon=True).start()
                self.tell(server, client)

    @contextlib.contextmanager
    def held(self, sock):
        with self.lock:
            self.sockets.add(sock)
        try:
            yield
        finally:
            with self.lock:
                self.sockets.discard(sock)

    @staticmethod
    def pass_on(client, server):
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def tell(self, server, client):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := server.recv(65536):
            pieces = [data] if self.mode == "whole" else [data[i:i + 1] for i in range(len(data))]
            for piece in pieces:
                client.sendall(piece)
                if self.mode == "split":
                    self.n_split += 1
                    time.sleep(self.GAP_S)
        client.shutdown(socket.SHUT_WR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self.lock:
            sockets = [self.listener, *self.sockets]
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self.listener.close()
