"""`check mysql` against MariaDB: as the others (test_check_real.py), and it never blocks the host."""
import contextlib
import re
import socket

import pytest

import namespace
import pools
import real_servers as real
import servers
from check_watch import HASTY, LINES_LIMIT_S, Watch, see_all, settle

pytestmark = pytest.mark.patient

NO_MYSQL = r"not a MySQL answer: '\\xa5Z\\x00junk"
N_CHECKS = 300


@pytest.fixture
def mariadb(servers_directory):
    with real.MariaDb(servers_directory) as server:
        yield server


def check_often(start_lb4, server, check, count):
    """Through many servers that are one, so that it takes seconds. What it counted, before lb4 ends:
    a probe that is cut between its connect and its login, as by that, counts."""
    listen = f"127.0.0.1:{namespace.take_port()}"
    options = "interval 100ms timeout 3s fast 100ms"
    lb4 = start_lb4(["-w", "1"], config=pools.config(
        listen, [server.address] * (20 if count > 1000 else 5), f"check {check} {options}"))
    lb4.descriptors_at_start = None

    def n_done():
        return sum(" outcome=" in line for line in lb4.lines)
    lb4.wait_for(lambda: n_done() >= count, 60 + count / 10, f"fewer than {count} checks")
    counts = server.counts()
    assert all(" outcome=ok" in line for line in lb4.lines if " outcome=" in line)
    return counts


def lines_after(server, before):
    """New ones of its error log, without times and numbers of connections."""
    return {re.sub(r"^\S+ +\S+ +\d+ |(?<=connection )\d+", "", line)
            for line in settle(server.log)[len(before):].splitlines()}


@real.needs_mariadb
def test_mariadb_never_blocks_the_host(start_lb4, mariadb, is_full):
    """No account of that name: access denied, which it counts, but not against the host."""
    before = mariadb.log.read_text()
    count = 10000 if is_full else N_CHECKS
    counts = check_often(start_lb4, mariadb, "mysql", count)
    print(counts)
    assert counts["SUM_CONNECT_ERRORS"] == counts["COUNT_HANDSHAKE_ERRORS"] == 0
    assert counts["COUNT_HOST_BLOCKED_ERRORS"] == counts["Aborted_clients"] == 0
    assert counts["Aborted_connects"] >= count and counts["Aborted_connects_preauth"] == 0
    assert lines_after(mariadb, before) == {
        "[Warning] Access denied for user 'lb4'@'probed.example' (using password: NO)"}


@real.needs_mariadb
def test_mariadb_with_an_account_counts_nothing(start_lb4, mariadb):
    mariadb.sql("create user lb4@'%'")
    before = mariadb.log.read_text()
    counts = check_often(start_lb4, mariadb, "mysql", N_CHECKS)
    assert not any(counts.values()), counts
    assert not lines_after(mariadb, before)


@real.needs_mariadb
def test_mariadb_with_a_locked_account_logs_nothing(start_lb4, mariadb):
    mariadb.sql("create user probe@'%' account lock")
    before = mariadb.log.read_text()
    counts = check_often(start_lb4, mariadb, "mysql user probe", N_CHECKS)
    assert counts["Aborted_connects"] >= N_CHECKS
    del counts["Aborted_connects"]
    assert not any(counts.values()), counts
    assert not lines_after(mariadb, before)


@real.needs_mariadb
def test_mariadb_with_other_ways_to_log_in(start_lb4, servers_directory):
    """A user whom it does not know is asked as one whom it knows: then by ed25519."""
    server = real.MariaDb(servers_directory)
    server.words.append("--plugin-load-add=auth_ed25519")
    with server:
        server.sql("create user probe@'%' identified via ed25519 using password('secret')")
        server.sql("create user socket@'%' identified via unix_socket")
        for user in ("probe", "socket"):
            counts = check_often(start_lb4, server, f"mysql user {user}", 50)
        print(counts)
        assert counts["SUM_CONNECT_ERRORS"] == counts["COUNT_HOST_BLOCKED_ERRORS"] == 0


@real.needs_mariadb
def test_mariadb_that_hung_does_not_block_the_host(start_lb4, mariadb):
    """It finds, when it goes on, the probes that were given up, more than enough of them."""
    watch = Watch(start_lb4, mariadb.address, "mysql", options=HASTY)
    mariadb.hang()
    watch.wait_down("timed out")
    start = len(watch.lb4.lines)
    watch.lb4.wait_for(lambda: sum(" outcome=failed" in line for line in watch.lb4.lines[start:])
                       >= 15, LINES_LIMIT_S, "probes that fail")
    mariadb.resume()
    watch.wait("UP")
    watch.assert_stays(2)
    counts = mariadb.counts()
    print(counts)
    assert counts["SUM_CONNECT_ERRORS"] == counts["COUNT_HOST_BLOCKED_ERRORS"] == 0


@real.needs_mariadb
def test_mariadb(start_lb4, servers_directory):
    see_all(start_lb4, real.MariaDb(servers_directory), "mysql", NO_MYSQL)


@real.needs_mariadb
def test_mariadb_that_is_not_for_us(start_lb4, servers_directory):
    """Without an account that may come from here, and then without a connection left."""
    with (real.MariaDb(servers_directory, has_clients=False) as server,
          contextlib.ExitStack() as stack):
        watch = Watch(start_lb4, server.address, "mysql")
        print(watch.wait_down(r"MySQL error 'Host \\'(10\.77\.9\.1|probed\.example)"))
        server.sql("create user app@'%' identified by 'secret'")
        watch.wait("UP")
        for _ in range(25):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(server.socket))
        watch.wait_down("MySQL error 'Too many connections'")
        stack.close()
        watch.wait("UP")


@real.needs_mariadb
def test_mariadb_that_blocks_the_host(start_lb4, mariadb):
    """Somebody else's doing: so is what clients would hear."""
    for _ in range(12):
        with servers.connect(mariadb.address) as sock:
            sock.recv(100)
    watch = Watch(start_lb4, mariadb.address, "mysql")
    watch.wait_down(r"MySQL error 'Host \\'10\.77\.9\.1\\' is blocked")
    mariadb.sql("flush hosts")
    watch.wait("UP")
