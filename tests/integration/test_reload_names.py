"""Names of servers are looked up at each reload, while traffic goes on: a change of the hosts file
counts, and a name that is not found changes nothing, after 5 s at most."""
import signal
import time

import pytest

import daemon
import drill
import reloading
import servers
from test_names import HOSTS, etc, name_server, wrapper  # noqa: F401

LISTEN = "127.0.0.1:7000"
DEADLINE_S = 5
SLACK_S = 1.5 if not daemon.IS_SANITIZED else 5

__all__ = ["etc"]


@pytest.fixture(scope="module")
def pool():
    """Two servers on the same port of two addresses."""
    with servers.ServerProcess("one", "127.0.0.2") as one, \
            servers.ServerProcess("two", "127.0.0.3", one.port) as two:
        yield [one, two]


def text(port, host, *directives):
    return reloading.service("web", [f"tcp {LISTEN}"], [("db", f"{host}:{port}")], "check none",
                             *directives)


def ask_name():
    with servers.connect(LISTEN) as sock:
        sock.sendall(b"x")
        came = b""
        while not came.endswith(b"\nx"):
            data = sock.recv(100)
            assert data
            came += data
        return came.partition(b"\n")[0].decode()


def start(start_lb4, etc, first):
    return reloading.start(start_lb4, first, wrapper=wrapper(etc), uid=None)


def test_the_hosts_file_is_read_anew(start_lb4, etc, pool):
    port = pool[0].port
    lb4, file = start(start_lb4, etc, text(port, "one.test"))
    with drill.Drill(LISTEN, 100) as clients:
        assert ask_name() == "one"
        (etc / "hosts").write_text(HOSTS.replace("127.0.0.2 one.test", "127.0.0.3 one.test"))
        file.change(None, f"~ address web/db 127.0.0.2:{port} -> 127.0.0.3:{port}")
        assert ask_name() == "two"
        file.change(text(port, "pair.test"), f"+ server web/db-2 127.0.0.2:{port}")
        assert {ask_name() for _ in range(20)} == {"one", "two"}
        clients.wait_records(50)
    failed = drill.failures(clients.records)
    assert not failed, drill.describe(failed, lb4)


def test_a_name_that_is_not_found(start_lb4, etc, pool):
    """With a name server that answers at once, and with one that never does."""
    port = pool[0].port
    lb4, file = start(start_lb4, etc, text(port, "one.test"))
    with drill.Drill(LISTEN, 100) as clients:
        with name_server({}):
            began = time.monotonic()
            file.refuse(text(port, "no.such.test"), "server 'db': no.such.test")
            assert time.monotonic() - began < 2
        with name_server(None):
            began = time.monotonic()
            lines = file.refuse(text(port, "silent.test"),
                                "server 'db': silent.test: no answer within 5s",
                                limit_s=DEADLINE_S + SLACK_S)
            took = time.monotonic() - began
            assert took < DEADLINE_S + SLACK_S
            assert any(":4:" in line for line in lines), lines
        assert ask_name() == "one"
    failed = drill.failures(clients.records)
    assert len(clients.records) > 100 and not failed, drill.describe(failed, lb4)
    file.change(text(port, "one.test", "tries 2"), "~ tries of web 3 -> 2")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_end_while_a_name_is_looked_up(start_lb4, etc, pool, number):
    """It does not wait for the name server."""
    port = pool[0].port
    lb4, file = start(start_lb4, etc, text(port, "one.test"))
    with name_server(None) as silent:
        file.put(text(port, "silent.test"))
        lb4.signal(signal.SIGHUP)
        servers.wait_until(lambda: silent.n_queries > 0, what="it asks")
        began = time.monotonic()
        lb4.signal(number)
        lb4.is_finished = True
        lb4.check_end()
        took = time.monotonic() - began
    print(f"{took * 1000:.0f} ms")
    assert took < drill.bar(0.5)


def test_others_reload_while_it_waits(start_lb4, etc, pool):
    """A good file that comes while a name is looked up is taken after it."""
    port = pool[0].port
    lb4, file = start(start_lb4, etc, text(port, "one.test"))
    with name_server(None) as silent:
        file.put(text(port, "silent.test"))
        start_line = len(lb4.lines)
        lb4.signal(signal.SIGHUP)
        servers.wait_until(lambda: silent.n_queries > 0, what="it asks")
        file.put(text(port, "127.0.0.3"))
        for _ in range(10):
            lb4.signal(signal.SIGHUP)
        lb4.wait_line("nothing has changed", DEADLINE_S + SLACK_S, start_line)
        lb4.wait_line(r"reload: done, 2 changes$", 2, start_line)
        assert ask_name() == "two"
