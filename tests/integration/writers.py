"""Clients of a database that write all the time, through a balancer, and connect anew when they
must: when the writes went through, where, and what went wrong."""
import collections
import contextlib
import importlib.util
import os
import pathlib
import subprocess
import tempfile
import threading
import time

import databases
import servers

CONNECT_LIMIT_S = 60
END_LIMIT_S = 20
PAUSE_S = 0.005
RETRY_S = 0.02

Write = collections.namedtuple("Write", "sent acked server")
Failure = collections.namedtuple("Failure", "at phase text")  # phase: "connect" or "write"


class PostgresClient:
    """One connection of psycopg2. Rows: writer, number, when it was sent (time.monotonic())."""

    HAS_LIBRARY = importlib.util.find_spec("psycopg2") is not None

    def __init__(self, address):
        import psycopg2  # here, as those who use other clients need not have it
        host, port = address.rsplit(":", 1)
        self.connection = psycopg2.connect(host=host, port=port, user="postgres",
                                           dbname="postgres", connect_timeout=CONNECT_LIMIT_S)
        self.connection.autocommit = True
        self.cursor = self.connection.cursor()

    def write(self, writer, n):
        self.cursor.execute("insert into writes values (%s, %s, %s) returning"
                            " host(inet_server_addr())", (writer, n, time.monotonic()))
        return self.cursor.fetchone()[0]

    def close(self):
        self.connection.close()


class RedisClient:
    """One connection. A list per writer has the numbers."""

    def __init__(self, address):
        self.sock = servers.connect(address, CONNECT_LIMIT_S)
        self.file = self.sock.makefile("rb")
        try:
            self.server = self.call("CONFIG", "GET", "bind")[1]
        except OSError:
            self.close()
            raise

    def call(self, *words):
        self.sock.sendall("".join(
            [f"*{len(words)}\r\n", *(f"${len(word)}\r\n{word}\r\n" for word in words)]).encode())
        return self.read()

    def read(self):
        line = self.file.readline().decode().rstrip("\r\n")
        if not line or line[0] == "-":
            raise ConnectionError(line or "the connection ended")
        if line[0] == "*":
            return [self.read() for _ in range(int(line[1:]))]
        if line[0] == "$":
            return self.file.read(int(line[1:]) + 2)[:-2].decode()
        return line[1:]

    def write(self, writer, n):
        self.call("RPUSH", f"writer{writer}", str(n))
        return self.server

    def close(self):
        self.file.close()
        self.sock.close()


class MariaDbClient:
    """The program `mariadb`, run anew for each statement."""

    def __init__(self, address):
        self.host, self.port = address.rsplit(":", 1)

    def write(self, writer, n):
        done = subprocess.run(
            ["mariadb", "--no-defaults", "--protocol=tcp", "-h", self.host, "-P", self.port, "-u",
             "drill", "-NBe", f"insert into drill.writes values ({writer}, {n});"
             " select @@bind_address"], capture_output=True, text=True, check=False,
            timeout=CONNECT_LIMIT_S)
        if done.returncode != 0:
            raise ConnectionError(done.stderr.strip())
        return done.stdout.strip()

    def close(self):
        pass


class Writers:
    """`count` threads that write through `address`. As a context they start, stop at the end."""

    def __init__(self, make_client, address, count=4):
        self.make_client = make_client
        self.address = address
        self.writes = []
        self.failures = []
        self.started = 0.0
        self.is_stopping = False
        self.threads = [threading.Thread(target=self.run, args=(index,), daemon=True)
                        for index in range(count)]

    def __enter__(self):
        self.started = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self.is_stopping = True
        deadline = time.monotonic() + END_LIMIT_S
        for thread in self.threads:
            thread.join(max(0, deadline - time.monotonic()))
            assert kind or not thread.is_alive(), "a writer that hangs"

    def run(self, writer):
        client, n, phase = None, 0, "connect"
        while not self.is_stopping:
            try:
                if client is None:
                    phase = "connect"
                    client = self.make_client(self.address)
                phase, n, sent = "write", n + 1, time.monotonic()
                server = client.write(writer, n)
                self.writes.append(Write(sent, time.monotonic(), server))
                time.sleep(PAUSE_S)
            except Exception as problem:  # each library has its own
                self.failures.append(Failure(time.monotonic(), phase, str(problem).strip()))
                with contextlib.suppress(Exception):
                    if client:
                        client.close()
                client = None
                time.sleep(RETRY_S)
        if client:
            client.close()

    def wait_writes(self, count, since=0.0, server=None, limit_s=30):
        """So many that were sent after `since`, by this server if it is named."""
        def look():
            return sum(write.sent >= since and server in (None, write.server)
                       for write in list(self.writes)) >= count
        servers.wait_until(look, limit_s, f"{count} writes at {server}; {self.failures[-3:]}")

    def wait_quiet(self, server, duration_s, limit_s=30):
        """Until for so long all went well, and to this server."""
        def look():
            since = time.monotonic() - duration_s
            return (since >= self.started and self.writes and
                    all(failure.at < since for failure in list(self.failures)) and
                    all(write.server == server for write in list(self.writes)
                        if write.acked >= since))
        servers.wait_until(look, limit_s, f"writes at {server} alone; {self.failures[-3:]}")

    def longest_gap(self, since):
        """The longest time without a write that went through, seconds; one that began before
        `since`, too."""
        times = sorted(write.acked for write in list(self.writes))
        return max((b - a for a, b in zip(times, times[1:]) if b >= since), default=float("inf"))

    def count_failures(self, phase, since=0.0):
        return sum(failure.phase == phase and failure.at >= since
                   for failure in list(self.failures))


class PgBench:
    """pgbench, its own transactions, started anew whenever it ends: a lost connection ends each of
    its clients, --max-tries or not. As a context; times are those of time.time()."""

    RUN_S = 2

    def __init__(self, address, directory):
        self.host, self.port = address.rsplit(":", 1)
        place = tempfile.mkdtemp(prefix="pgbench-", dir=directory)
        os.chmod(place, 0o777)
        self.prefix = pathlib.Path(place, "log")
        self.n_runs = 0
        self.n_failed = 0
        self.process = None
        self.is_stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def wait_run(self):
        """Until it works: it writes its log in blocks."""
        servers.wait_until(self.logs, databases.RUN_LIMIT_S, "pgbench works")

    def __exit__(self, kind, *_):
        """Its last run ends by itself, so that its log is whole."""
        self.is_stopping = True
        self.thread.join(END_LIMIT_S)
        hangs = self.thread.is_alive()
        if hangs:
            self.process.kill()
            self.thread.join()
        assert kind or not hangs, "pgbench hangs"

    def run(self):
        while not self.is_stopping:
            self.process = subprocess.Popen(
                [f"{databases.PG_BIN}/pgbench", "-n", "-N", "-c", "2", "-T", str(self.RUN_S), "-l",
                 f"--log-prefix={self.prefix}.{self.n_runs}", "-h", self.host, "-p", self.port,
                 "-U", "postgres", "postgres"], stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, **databases.UNPRIVILEGED)
            has_failed = self.process.wait() != 0
            self.n_runs += 1
            self.n_failed += has_failed
            if has_failed:
                time.sleep(RETRY_S)

    def logs(self):
        """Those with something in them."""
        return [path for path in self.prefix.parent.glob(f"{self.prefix.name}.*")
                if path.stat().st_size]

    def times(self):
        """When transactions ended, in order."""
        found = []
        for path in self.logs():
            found += [int(word[4]) + int(word[5]) / 1e6
                      for word in map(str.split, path.read_text().splitlines()) if len(word) >= 6]
        return sorted(found)

    def longest_gap(self, since):
        times = self.times()
        return max((b - a for a, b in zip(times, times[1:]) if b >= since), default=float("inf"))

