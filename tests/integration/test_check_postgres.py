"""`check postgres` against PostgreSQL: as the others (test_check_real.py), and its log stays silent."""
import contextlib

import pytest

import real_servers as real
import servers
from check_watch import HASTY, Watch, see_all, settle

pytestmark = pytest.mark.patient

NO_POSTGRES = r"not a PostgreSQL answer: '\\xa5Z\\x00junk"


@real.needs_postgres
@pytest.mark.parametrize("ssl", [True, False], ids=["ssl", "plain"])
def test_the_log_of_postgres_stays_silent(start_lb4, servers_directory, ssl, is_full):
    """Also when it hangs and finds, when it goes on, the probes that were given up meanwhile."""
    with real.Postgres(servers_directory, ssl) as server:
        before = server.log.read_text()
        for check in ("postgres", "postgres user postgres"):
            Watch(start_lb4, server.address, check).assert_stays(count=500 if is_full else 20)
        watches = [Watch(start_lb4, server.address, check, options=HASTY)
                   for check in ("postgres", "postgres user postgres")]
        server.hang()
        for watch in watches:
            watch.wait_down("timed out")
        server.resume()
        for watch in watches:
            watch.wait("UP")
            watch.assert_stays(2)
        assert settle(server.log) == before


@real.needs_postgres
@pytest.mark.parametrize("auth", ["scram-sha-256", "md5", "password"])
def test_the_log_of_postgres_that_wants_a_password(start_lb4, servers_directory, auth):
    with real.Postgres(servers_directory, auth=auth) as server:
        before = server.log.read_text()
        Watch(start_lb4, server.address, "postgres user postgres").assert_stays(20)
        Watch(start_lb4, server.address, "postgres user nobody-knows-me").assert_stays(20)
        assert settle(server.log) == before


@real.needs_postgres
def test_the_log_of_connections(start_lb4, servers_directory):
    """One line for each probe, as for each connection."""
    server = real.Postgres(servers_directory)
    server.words += ["-c", "log_connections=on", "-c", "log_disconnections=on"]
    with server:
        before = server.log.read_text()
        Watch(start_lb4, server.address, "postgres").assert_stays(20)
        lines = settle(server.log)[len(before):].splitlines()
        assert len(lines) >= 20
        assert all("connection received: host=127.0.0.1" in line for line in lines), lines


@real.needs_postgres
@pytest.mark.parametrize("check", ["postgres", "postgres user postgres"])
def test_postgres(start_lb4, servers_directory, check):
    see_all(start_lb4, real.Postgres(servers_directory), check, NO_POSTGRES)


@real.needs_postgres
def test_postgres_that_does_not_serve_yet(start_lb4, servers_directory):
    """The hello cannot tell; a login can. A standby without hot standby stays in that state."""
    server = real.Postgres(servers_directory)
    (server.data / "standby.signal").touch()
    server.words += ["-c", "hot_standby=off"]
    server.start(waits=False)
    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(server.stop)
        servers.wait_until(lambda: not servers.is_refused(server.address), 30, "PostgreSQL")
        hello = Watch(start_lb4, server.address, "postgres")
        login = Watch(start_lb4, server.address, "postgres user postgres")
        print(login.wait_down("PostgreSQL error 'the database system is "))
        hello.assert_stays()


@real.needs_postgres
def test_postgres_that_starts(start_lb4, servers_directory):
    """In a recovery that waits for an archive."""
    server = real.Postgres(servers_directory)
    (server.data / "recovery.signal").touch()
    server.words += ["-c", "restore_command=sleep 1000"]
    server.start(waits=False)
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        servers.wait_until(lambda: not servers.is_refused(server.address), 30, "PostgreSQL")
        hello = Watch(start_lb4, server.address, "postgres")
        login = Watch(start_lb4, server.address, "postgres user postgres")
        print(login.wait_down("PostgreSQL error 'the database system is starting"))
        hello.assert_stays()


@real.needs_postgres
def test_postgres_without_a_connection_left(start_lb4, servers_directory):
    with real.Postgres(servers_directory, auth="scram-sha-256") as server, contextlib.ExitStack() as stack:
        login = Watch(start_lb4, server.address, "postgres user postgres")
        hello = Watch(start_lb4, server.address, "postgres")
        login.assert_stays()
        for _ in range(20):
            sock = stack.enter_context(servers.connect(server.address))
            sock.sendall(b"\0\0\0\x17\0\3\0\0user\0postgres\0\0")
        print(login.wait_down("PostgreSQL error 'sorry, too many clients"))
        hello.assert_stays()
        stack.close()
        login.wait("UP")
