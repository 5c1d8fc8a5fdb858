"""A process that was stopped for longer than a timeout: what has arrived in the kernel meanwhile
counts before the clock does."""
import pathlib
import time

import pytest

import namespace
import servers
import stopping

LISTEN = "127.0.0.1:7000"
IDLE_S = 2
CONNECT_S = 2
OVER_S = 0.7
TCP_SYN_SENT = "02"


def start(start_lb4, address, timeout, splice=True):
    return start_lb4(["-w", "1", "-l", LISTEN, "-s", address, "-o", timeout, "-o", "tries 1"],
                     splice=splice)


def is_connecting_to(port):
    """Does a connect to this port of 127.0.0.1 wait for its answer?"""
    lines = pathlib.Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == TCP_SYN_SENT
               for line in lines)


@pytest.mark.parametrize("count", [100, 300])
def test_data_that_came_during_a_stop_keeps_a_connection(start_lb4, splice, count):
    """The wake-up tells of none of them, or, of 300, not of all at once."""
    with servers.EchoServer() as server:
        lb4 = start(start_lb4, server.address, f"timeout idle {IDLE_S}s", splice)
        clients = [servers.connect(LISTEN) for _ in range(count)]
        for client in clients:
            servers.ask(client)
        stopping.stop(lb4)
        for client in clients:
            client.sendall(b"y")
        time.sleep(IDLE_S + OVER_S)
        stopping.go_on(lb4)
        assert [client.recv(10) for client in clients] == [b"y"] * count
        for client in clients:
            client.close()
        ends = lb4.wait_n_closed("rule1", count)
    assert {end["reason"] for end in ends} == {"client_fin"}


def test_a_connect_that_completes_during_a_stop(start_lb4):
    """The server answered in time: it is used, and nothing is held against it."""
    with servers.EchoServer() as server:
        lb4 = start(start_lb4, server.address, f"timeout connect {CONNECT_S}s")
        with namespace.filtered_port("held", server.port):
            client = servers.connect(LISTEN)
            servers.wait_until(lambda: is_connecting_to(server.port), what="a connect on its way")
            stopping.stop(lb4)
        stopped = time.monotonic()
        servers.wait_until(lambda: server.n_accepted == 1, what="the repeated SYN")
        time.sleep(max(0, stopped + CONNECT_S + OVER_S - time.monotonic()))
        stopping.go_on(lb4)
        with client:
            servers.ask(client)
        lb4.wait_n_closed("rule1", 1)
    lb4.finish()
    assert lb4.summary()["server", "rule1/s1"]["connect_failures"] == 0


def test_a_stop_between_the_events_and_the_clock(start_lb4, trace):
    """The wait has fetched one client's event when lb4 is held up; what the others send meanwhile
    is still in the kernel when lb4 reads the clock, and counts."""
    with servers.EchoServer() as server:
        lb4 = start_lb4(
            ["-w", "1", "-l", LISTEN, "-s", server.address, "-o", f"timeout idle {IDLE_S}s"])
        clients = [servers.connect(LISTEN) for _ in range(50)]
        for client in clients:
            servers.ask(client)
        delay_us = int((IDLE_S + 0.7) * 1e6)
        with lb4.traced(trace, "epoll_wait", f"delay_exit={delay_us}:when=1"):
            clients[0].sendall(b"y")
            time.sleep(0.3)  # into the delay, which is much longer: the point of the test
            for client in clients[1:]:
                client.sendall(b"y")
            answers = [client.recv(10) for client in clients]
        assert answers == [b"y"] * len(clients)
        for client in clients:
            client.close()
        lb4.wait_n_closed("rule1", len(clients))
