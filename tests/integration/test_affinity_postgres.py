"""PostgreSQL's cancel request is a second connection: behind two servers it reaches its session with
`affinity source`, and without it half of the time."""
import contextlib
import signal
import subprocess
import threading
import time

import psycopg2
import pytest

import databases
import namespace
import servers

HOST = "127.0.0.1"
N_CANCELS = 50
LONG_S = 60  # of a query that nobody cancels
LOST_S = 0.5  # a cancel that has not come by then went elsewhere: it takes some milliseconds
pytestmark = pytest.mark.skipif(not databases.PG_BIN, reason="needs PostgreSQL")


@pytest.fixture(scope="module")
def pair():
    """Two servers that know nothing of each other."""
    with databases.folder() as directory, contextlib.ExitStack() as stack:
        yield [stack.enter_context(databases.make_postgres(index, directory).create())
               for index in (1, 2)]


def start(start_lb4, pair, *words):
    """Returns the port to connect to."""
    port = namespace.take_port()
    lines = [f"listen tcp {HOST}:{port}", "balance leastconn", "check tcp", *words]
    lines += [f"server {server.name} {server.host}:{server.port}" for server in pair]
    start_lb4(["-w", "4"], config="\n    ".join(["service postgres {", *lines]) + "\n}\n")
    return port


def conninfo(port):
    return f"host={HOST} port={port} user=postgres dbname=postgres"


class Watch:
    """What the servers do, by sessions that do not come through lb4."""

    def __init__(self, pair):
        self.sessions = [psycopg2.connect(server.conninfo) for server in pair]
        for session in self.sessions:
            session.autocommit = True

    def ask(self, query):
        """The sum over both."""
        total = 0
        for session in self.sessions:
            with session.cursor() as cursor:
                cursor.execute(query + " where state = 'active' and query like 'select pg_sleep%'")
                total += cursor.fetchone()[0] or 0
        return total

    def wait_asleep(self):
        """A cancel that comes before its query cancels nothing."""
        servers.wait_until(lambda: self.ask("select count(*) from pg_stat_activity") == 1)

    def wake(self):
        self.ask("select count(pg_terminate_backend(pid)) from pg_stat_activity")

    def close(self):
        for session in self.sessions:
            session.close()


@pytest.fixture
def watch(pair):
    with contextlib.closing(Watch(pair)) as watch:
        yield watch


def is_cancelled(session, watch):
    """A long query of this session, and libpq's PQcancel() from beside."""
    outcome = []

    def sleep():
        try:
            with session.cursor() as cursor:
                cursor.execute(f"select pg_sleep({LONG_S})")
        except psycopg2.Error as problem:
            outcome.append(type(problem))

    thread = threading.Thread(target=sleep)
    thread.start()
    watch.wait_asleep()
    session.cancel()
    thread.join(LOST_S)
    is_lost = thread.is_alive()
    if is_lost:
        watch.wake()
        thread.join(servers.ECHO_LIMIT_S)
    assert len(outcome) == 1
    assert is_lost or outcome == [psycopg2.errors.QueryCanceled]
    return not is_lost


def count_cancelled(port, watch, count):
    """Of the cancels of so many sessions, each with another one beside, how many arrive."""
    n_came = 0
    for _ in range(count):
        with (contextlib.closing(psycopg2.connect(conninfo(port))) as session,
              contextlib.closing(psycopg2.connect(conninfo(port)))):
            session.autocommit = True
            n_came += is_cancelled(session, watch)
    return n_came


def test_cancels_reach_their_session(start_lb4, pair, watch):
    port = start(start_lb4, pair, "affinity source 60s")
    assert count_cancelled(port, watch, N_CANCELS) == N_CANCELS


def test_without_affinity_half_of_them_do(start_lb4, pair, watch):
    """leastconn has given each server one session, and draws for the cancel."""
    count = 20
    n_came = count_cancelled(start(start_lb4, pair), watch, count)
    print(f"{n_came} of {count} cancels came by chance")
    assert 0 < n_came < count


@pytest.mark.parametrize("affinity", ["affinity source 60s", None])
def test_control_c_in_psql(start_lb4, pair, watch, affinity):
    """Without affinity it goes to the other server, which is idle."""
    port = start(start_lb4, pair, *[affinity] * bool(affinity))
    with subprocess.Popen(
            [f"{databases.PG_BIN}/psql", "-XAtqw", "-d", conninfo(port), "-c",
             f"select pg_sleep({LONG_S})"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
            **databases.UNPRIVILEGED) as psql:
        watch.wait_asleep()
        began = time.monotonic()
        psql.send_signal(signal.SIGINT)
        if affinity:
            _, said = psql.communicate(timeout=servers.ECHO_LIMIT_S)
            print(f"cancelled after {time.monotonic() - began:.3f} s: {said.strip()}")
            assert "canceling statement due to user request" in said
            return
        with pytest.raises(subprocess.TimeoutExpired):
            psql.wait(2 * LOST_S)
        watch.wake()
