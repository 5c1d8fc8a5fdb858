"""The worked example of MariaDB, as it is, with two real servers that forgive no aborted connect:
one is killed, clients of the program `mariadb` go on, and lb4's host is never blocked. And the one
of Galera, with something that answers like clustercheck on port 9200."""
import http.server
import threading
import time

import pytest

import databases
import drill
import pools
import servers
import writers

needs_mariadb = pytest.mark.skipif(not databases.HAS_MARIADB,
                                   reason="Debian's mariadb-server is not installed")
pytestmark = pytest.mark.serial

LISTEN = "127.0.0.1:3306"
GALERA = "127.0.0.1:3307"
GALERA_READS = "127.0.0.1:3308"
SLACK_S = 15
# Where the clients are counted that did not end as the protocol has it, and whom it shuts out.
STRICT = ("--max-connect-errors=1", "--performance-schema=on")
BLOCKED = ("select coalesce(sum(sum_connect_errors + count_host_blocked_errors), 0)"
           " from performance_schema.host_cache")
ABORTED = "select variable_value from information_schema.global_status where variable_name ="


@pytest.fixture(scope="module")
def pair():
    with databases.folder() as directory:
        first, second = (databases.make_mariadb(i, directory, STRICT).create() for i in (1, 2))
        with first, second:
            for server in (first, second):
                server.ask("create database drill; create table drill.writes (writer int, n int);"
                           " create user drill@'%'; grant all on drill.* to drill@'%';"
                           " create user lb4@'10.0.0.%'")
            yield first, second


def n_checks(desk, name):
    return desk.server(name)["checks_ok"]


@needs_mariadb
def test_one_is_killed(start_lb4, desk, pair):
    first, second = pair
    lb4 = start_lb4([], config=databases.example("mariadb", desk.directive))
    with writers.Writers(writers.MariaDbClient, LISTEN, count=2) as clients:
        clients.wait_writes(10, server=first.host)
        started = time.monotonic()
        first.kill()
        clients.wait_writes(10, started, second.host)
        gap = clients.longest_gap(started)
        first.start()
        clients.wait_writes(10, time.monotonic(), first.host)
    print(f"{gap:.2f} s without a write; failures: {clients.failures}")
    assert clients.count_failures("connect") == 0
    assert clients.count_failures("write") <= 2 or not drill.IS_STRICT, "each client is cut once"
    assert gap < SLACK_S
    servers.wait_until(lambda: n_checks(desk, "mariadb/db2") >= 5, 20, "checks")
    for server in (first, second):
        assert server.ask(BLOCKED) == "0"
        assert server.ask(f"{ABORTED} 'ABORTED_CONNECTS'") == "0"
    lb4.finish()


# --- Galera

class ClusterCheck(http.server.ThreadingHTTPServer):
    """What clustercheck answers: 200 or 503. As a context."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            word = b"synced" if self.server.is_synced else b"not synced"
            text = b"Galera cluster node is " + word + b".\r\n"
            self.send_response(200 if self.server.is_synced else 503)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    def __init__(self, host):
        super().__init__((host, 9200), self.Handler)
        self.is_synced = True
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def __exit__(self, *_):
        self.shutdown()
        self.thread.join()
        self.server_close()


def test_galera(start_lb4, desk):
    """The first node in sync takes all writers; who loses the cluster loses its clients."""
    nodes = [f"10.0.0.{40 + i}" for i in (1, 2, 3)]
    databases.add_addresses(*nodes)
    with pools.Pool([(host, 3306) for host in nodes]), ClusterCheck(nodes[0]) as first, \
            ClusterCheck(nodes[1]), ClusterCheck(nodes[2]):
        lb4 = start_lb4([], config=databases.example("mariadb", desk.directive))
        assert {pools.ask_name(GALERA) for _ in range(10)} == {0}
        assert {pools.ask_name(GALERA_READS) for _ in range(10)} == {0, 1, 2}
        with servers.connect(GALERA) as client:
            assert pools.read_name(client) == 0
            first.is_synced = False
            assert servers.read_end(client) == "rst"
        assert {pools.ask_name(GALERA) for _ in range(10)} == {1}
        servers.wait_until(
            lambda: desk.server("galera-reads/g1")["state"] == "down", 20, "no reads from g1")
        assert {pools.ask_name(GALERA_READS) for _ in range(10)} == {1, 2}
        first.is_synced = True
        servers.wait_until(lambda: pools.ask_name(GALERA) == 0, 20, "g1 is back")
        lb4.finish()
