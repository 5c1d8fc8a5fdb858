"""What stands behind the proxies: servers of the load tool, Redis, PostgreSQL. Each is a context,
started in the namespace of the moment; all are at scenarios.SERVER_PORT. @folder is an empty one of
its own for each."""

import contextlib
import glob
import os
import shutil
import signal
import subprocess

import benchmark.processes as processes
from benchmark.scenarios import SERVER_PORT

PG_BIN = (sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [""])[-1]


@contextlib.contextmanager
def load_server(bench, scenario, _folder):
    """At all addresses, where there are many servers."""
    host = "127.0.0.1" if scenario.n_servers == 1 else "0.0.0.0"
    process = processes.start(
        [bench.load, "serve", f"{host}:{SERVER_PORT}", scenario.mode, "-b", scenario.size],
        bench.ledger.accounts["server"], stdout=subprocess.PIPE)
    with process.stdout:
        try:
            if process.stdout.readline() != b"ready\n":
                raise processes.Failure("the load tool does not serve")
            yield
        finally:
            processes.stop(process, signal.SIGTERM)


@contextlib.contextmanager
def no_server(_bench, _scenario, _folder):
    """The load tool of datagrams brings its own."""
    yield


@contextlib.contextmanager
def serving(bench, words, folder, is_ready, number=signal.SIGTERM):
    with open(os.path.join(folder, "server.log"), "w", encoding="utf-8") as log:
        process = processes.start(words, bench.ledger.accounts["server"], unprivileged=True,
                                  stdout=log, stderr=log, cwd=folder)
        try:
            processes.wait_until(process, is_ready, f"{os.path.basename(words[0])} serves")
            yield
        finally:
            processes.stop(process, number)


@contextlib.contextmanager
def redis(bench, _scenario, folder):
    if not shutil.which("redis-server"):
        raise processes.Failure("redis-server is not installed")
    with serving(bench, ["redis-server", "--bind", "127.0.0.1", "--port", SERVER_PORT, "--save", "",
                         "--appendonly", "no", "--dir", folder], folder,
                 lambda: processes.accepts(SERVER_PORT)):
        yield


@contextlib.contextmanager
def postgres(bench, _scenario, folder):
    if not os.path.exists(f"{PG_BIN}/pgbench"):
        raise processes.Failure("postgresql is not installed")
    data = os.path.join(folder, "data")
    processes.run([f"{PG_BIN}/initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N",
                   "--no-locale"], bench.ledger.accounts["server"], 60, unprivileged=True,
                  cwd=folder)
    words = [f"{PG_BIN}/postgres", "-D", data, "-p", SERVER_PORT, "-k", folder, "-c",
             "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=100"]

    def is_ready():
        return subprocess.run([f"{PG_BIN}/pg_isready", "-q", "-h", "127.0.0.1", "-p",
                               str(SERVER_PORT)], check=False).returncode == 0
    with serving(bench, words, folder, is_ready, signal.SIGINT):
        processes.run([f"{PG_BIN}/pgbench", "-i", "-q", "-h", "127.0.0.1", "-p", SERVER_PORT, "-U",
                       "postgres", "postgres"], bench.ledger.accounts["load"], 60)
        yield


BACKENDS = {"load": load_server, "none": no_server, "redis": redis, "postgres": postgres}
