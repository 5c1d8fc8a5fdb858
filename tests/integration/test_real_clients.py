"""Real programs through lb4, in both relay modes: what they report equals what they report without.
The servers are Debian's, run by an unprivileged uid in a directory of the test."""
import contextlib
import glob
import hashlib
import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile
import time

import pytest

import daemon
import namespace
import servers

pytestmark = pytest.mark.patient

RUN_LIMIT_S = 120
N_REDIS = 20000 if os.environ.get("LB4_TEST_FULL", "") not in ("", "0") else 8000
PG_BIN = (sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [""])[-1]
UNPRIVILEGED = ({"user": daemon.NOBODY, "group": daemon.NOBODY, "extra_groups": []}
                if daemon.can_change_uid() else {})

needs_redis = pytest.mark.skipif(
    not (shutil.which("redis-server") and shutil.which("redis-benchmark")),
    reason="Debian's redis-server and redis-tools are not installed")
needs_postgres = pytest.mark.skipif(
    not (PG_BIN and os.path.exists(f"{PG_BIN}/pgbench") and os.path.exists(f"{PG_BIN}/initdb")),
    reason="Debian's postgresql is not installed")
needs_rsync = pytest.mark.skipif(not shutil.which("rsync"),
                                 reason="Debian's rsync is not installed")


@pytest.fixture(scope="module")
def directory():
    with tempfile.TemporaryDirectory(prefix="lb4-real-") as name:
        if daemon.can_change_uid():
            os.chown(name, daemon.NOBODY, daemon.NOBODY)
        yield pathlib.Path(name)


@contextlib.contextmanager
def running(command, port, **options):
    """A server program, from when it accepts until the end of the block."""
    process = subprocess.Popen(command, **UNPRIVILEGED, **options)
    try:
        servers.wait_until(lambda: not servers.is_refused(f"127.0.0.1:{port}"), 30, command[0])
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(*command, **options):
    """Standard output of a program that must succeed and say nothing on stderr but notices."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=RUN_LIMIT_S, **UNPRIVILEGED, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def through_lb4(start_lb4, port, splice):
    connect_port = namespace.take_port()
    start_lb4(["-w", "2", "-l", f"127.0.0.1:{connect_port}", "-s", f"127.0.0.1:{port}"],
              splice=splice)
    return connect_port


# --- redis

@pytest.fixture(scope="module")
def redis_port(directory):
    port = namespace.take_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "",
               "--appendonly", "no", "--dir", str(directory)]
    with running(command, port, stdout=subprocess.DEVNULL):
        yield port


def benchmark_redis(port):
    """What the server has afterwards, and its error count."""
    def cli(*words):
        return run("redis-cli", "-p", port, *words).strip()
    cli("flushall")
    cli("config", "resetstat")
    report = run("redis-benchmark", "-p", port, "-n", N_REDIS, "-c", 50, "--csv",
                 "-t", "ping,set,get,incr,lpush,hset")
    pipelined = run("redis-benchmark", "-p", port, "-n", N_REDIS * 2, "-c", 20, "-P", 16, "-d", 1000,
                    "--csv", "-t", "set,get")
    assert "rror" not in report + pipelined
    short = run("redis-benchmark", "-p", port, "-n", 1000, "-c", 20, "-k", "0", "--csv",
                "-t", "incr")
    assert "rror" not in short
    keys = sorted(cli("keys", "*").split())
    errors = re.search(r"total_error_replies:(\d+)", cli("info", "stats")).group(1)
    return {"keys": keys, "counter": cli("get", "counter:__rand_int__"),
            "list": cli("llen", "mylist"), "errors": errors,
            "value": cli("get", "key:__rand_int__")}


@pytest.fixture(scope="module")
def redis_direct(redis_port):
    return benchmark_redis(redis_port)


@needs_redis
def test_redis(start_lb4, redis_port, redis_direct, splice):
    direct = redis_direct
    proxied = benchmark_redis(through_lb4(start_lb4, redis_port, splice))
    assert proxied == direct
    assert (direct["counter"], direct["list"]) == (str(N_REDIS + 1000), str(N_REDIS))
    assert direct["errors"] == "0"


# --- PostgreSQL

@pytest.fixture(scope="module")
def postgres(directory):
    """(port, log file) of a fresh cluster with pgbench's tables."""
    port, data, log = namespace.take_port(), directory / "data", directory / "postgres.log"
    run(f"{PG_BIN}/initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "--no-locale",
        cwd=directory)
    with open(log, "w", encoding="utf-8") as out:
        command = [f"{PG_BIN}/postgres", "-D", str(data), "-p", str(port), "-k", str(directory),
                   "-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]
        with running(command, port, stdout=out, stderr=out):
            servers.wait_until(lambda: "ready to accept" in log.read_text(), 30, "PostgreSQL")
            run(f"{PG_BIN}/pgbench", "-i", "-s", "1", "-q", *pg_options(port))
            yield port, log


def pg_options(port):
    return ["-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "postgres"]


def psql(port, query):
    return run(f"{PG_BIN}/psql", "-X", "-At", "-c", query, *pg_options(port))


def benchmark_postgres(port, log):
    """What pgbench counts, what the tables say, and what the server complains of."""
    psql(port, "truncate pgbench_history")
    log_start = len(log.read_text())
    results = {}
    for name, options in {"long": ["-c", "8", "-j", "2", "-t", "150"],
                          "select": ["-S", "-M", "prepared", "-c", "16", "-j", "2", "-t", "300"],
                          "connect": ["-C", "-c", "4", "-j", "2", "-t", "40"]}.items():
        text = run(f"{PG_BIN}/pgbench", "-n", *options, *pg_options(port))
        results[name] = re.findall(r"(number of (?:transactions actually processed|failed "
                                   r"transactions): [\d/]+)", text)
    results["history"] = psql(port, "select count(*) from pgbench_history")
    results["sums"] = psql(port, "select (select sum(abalance) from pgbench_accounts) ="
                           " (select sum(bbalance) from pgbench_branches)")
    big = psql(port, "select string_agg(md5(i::text), '') from generate_series(1, 200000) i")
    results["big"] = hashlib.sha256(big.encode()).hexdigest()
    results["error"] = subprocess.run(
        [f"{PG_BIN}/psql", "-X", "-c", "select 1/0", *pg_options(port)], capture_output=True,
        text=True, check=False).stderr
    time.sleep(0.2)  # the server writes its log a moment later
    complaints = re.findall(r"(?:reset by peer|unexpected EOF|Broken pipe).*",
                            log.read_text()[log_start:])
    results["complaints"] = len(complaints)
    return results


@pytest.fixture(scope="module")
def postgres_direct(postgres):
    return benchmark_postgres(*postgres)


@needs_postgres
def test_postgres(start_lb4, postgres, postgres_direct, splice):
    port, log = postgres
    direct = postgres_direct
    proxied = benchmark_postgres(through_lb4(start_lb4, port, splice), log)
    assert proxied == direct
    assert direct["history"].strip() == str(8 * 150 + 4 * 40)
    assert direct["sums"].strip() == "t" and direct["complaints"] == 0


# --- rsync

def make_tree(root):
    """Files of many sizes, from a fixed seed."""
    chance = random.Random(11)
    for i in range(300):
        folder = root / f"d{i % 7}" / f"e{i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        size = 8_000_000 if i == 0 else int(2 ** chance.uniform(0, 17))
        (folder / f"f{i}").write_bytes(chance.randbytes(size))


def digest_of(root):
    """One digest of all names and contents."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        digest.update(str(path.relative_to(root)).encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def rsync(directory):
    """(port, source tree, the module's folder for uploads)."""
    port = namespace.take_port()
    source, upload = directory / "source", directory / "upload"
    make_tree(source)
    upload.mkdir()
    config = directory / "rsyncd.conf"
    config.write_text(f"use chroot = no\n[tree]\npath = {source}\n"
                      f"[upload]\npath = {upload}\nread only = no\n")
    if daemon.can_change_uid():
        os.chown(upload, daemon.NOBODY, daemon.NOBODY)
    command = ["rsync", "--daemon", "--no-detach", "--address=127.0.0.1", f"--port={port}",
               f"--config={config}", f"--log-file={directory}/rsyncd.log"]
    with running(command, port):
        yield port, source, upload


def counts_of(stats):
    """The lines of --stats that do not depend on time."""
    wanted = ("Number of files", "Number of regular files transferred", "Total file size",
              "Literal data", "Matched data")
    return [line for line in stats.splitlines() if line.startswith(wanted)]


def sync(port, source, upload, directory):
    """Pull, push, push a changed tree; statistics and digests."""
    target = pathlib.Path(tempfile.mkdtemp(dir=directory))
    if daemon.can_change_uid():
        os.chown(target, daemon.NOBODY, daemon.NOBODY)
    url = f"rsync://127.0.0.1:{port}"
    pulled = run("rsync", "-r", "--stats", f"{url}/tree/", f"{target}/")
    pushed = run("rsync", "-rc", "--delete", "--stats", f"{target}/", f"{url}/upload/")
    (target / "d1/e1/f1").write_bytes(b"changed")
    again = run("rsync", "-rc", "--stats", f"{target}/", f"{url}/upload/")
    found = [counts_of(text) for text in (pulled, pushed, again)]
    found += [digest_of(target), digest_of(upload)]
    shutil.rmtree(target)
    for path in upload.iterdir():
        shutil.rmtree(path)
    return found


@needs_rsync
def test_rsync(start_lb4, rsync, directory, splice):
    port, source, upload = rsync
    direct = sync(port, source, upload, directory)
    proxied = sync(through_lb4(start_lb4, port, splice), source, upload, directory)
    assert proxied == direct
    assert direct[3] == direct[4]
