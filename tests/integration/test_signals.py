"""TERM and QUIT drain, INT and a second TERM stop now, HUP does no harm; the exit code is 0."""
import contextlib
import signal
import socket
import time

import pytest

import servers

LISTEN = "127.0.0.1:7000"
PROMPT_S = 2  # "at once", on a busy machine; the bar is 0.1
TERM, QUIT, INT = signal.SIGTERM, signal.SIGQUIT, signal.SIGINT


@pytest.fixture
def server():
    with servers.EchoServer() as server:
        yield server


def start(start_lb4, server, *more):
    return start_lb4(["-w", "2", *more, "-l", LISTEN, "-s", server.address])


def end_of(lb4):
    """Wait for the exit; seconds that it took, after all that must hold has been checked."""
    started = time.monotonic()
    lb4.is_finished = True
    lb4.check_end()
    return time.monotonic() - started


@pytest.mark.parametrize("number", [TERM, QUIT, INT], ids=lambda n: n.name)
def test_without_connections_any_of_them_ends_at_once(start_lb4, server, number):
    lb4 = start(start_lb4, server)
    servers.ask_once(LISTEN)
    lb4.wait_n_closed("rule1", 1)
    lb4.signal(number)
    assert end_of(lb4) < PROMPT_S


@pytest.mark.parametrize("number", [TERM, QUIT], ids=lambda n: n.name)
def test_drain_lets_live_connections_finish(start_lb4, server, splice, number):
    lb4 = start_lb4(["-w", "2", "-l", LISTEN, "-s", server.address], splice=splice)
    with servers.connect(LISTEN) as client:
        servers.ask(client)
        lb4.signal(number)
        servers.wait_until(lambda: servers.is_refused(LISTEN), what="no new connections")
        for _ in range(20):
            servers.ask(client, bytes(10000))
        client.shutdown(socket.SHUT_WR)
        assert servers.read_end(client) == "fin"
        took = end_of(lb4)
        print(f"exit {took * 1000:.0f} ms after the last connection")
        assert took < PROMPT_S
    assert [end["reason"] for end in lb4.closed["rule1"]].count("client_fin") >= 1
    assert "drain" not in {end["reason"] for end in lb4.closed["rule1"]}


def test_drain_ends_at_its_deadline(start_lb4, server):
    lb4 = start(start_lb4, server, "-o", "drain 1s")
    with servers.connect(LISTEN) as client:
        servers.ask(client)
        started = time.monotonic()
        lb4.signal(TERM)
        assert servers.read_end(client) == "rst"
        took = time.monotonic() - started
        print(f"cut after {took:.2f} s")
        assert 0.8 <= took <= 1.2 + PROMPT_S
        assert end_of(lb4) < PROMPT_S
    assert [end["reason"] for end in lb4.closed["rule1"]] == ["drain"]


@pytest.mark.parametrize("numbers", [[INT], [TERM, TERM], [TERM, INT], [QUIT, TERM]],
                         ids=lambda ns: "-".join(n.name for n in ns))
def test_stop_now_resets_live_connections(start_lb4, server, numbers):
    lb4 = start(start_lb4, server)
    with servers.connect(LISTEN) as client:
        servers.ask(client)
        for number in numbers[:-1]:
            lb4.signal(number)
            servers.wait_until(lambda: servers.is_refused(LISTEN), what="the drain begins")
        lb4.signal(numbers[-1])
        assert servers.read_end(client) == "rst"
        assert end_of(lb4) < PROMPT_S
    servers.wait_until(lambda: server.n_active == 0, what="the server's end")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE],
                         ids=lambda n: n.name)
def test_other_signals_do_no_harm(start_lb4, server, number):
    lb4 = start(start_lb4, server)
    with servers.connect(LISTEN) as client:
        for _ in range(10):
            lb4.signal(number)
            servers.ask(client)
            servers.ask_once(LISTEN)
    lb4.wait_n_closed("rule1", 11)


def test_queued_clients_are_served_before_the_listener_closes(start_lb4, server):
    """Connected before TERM, not yet accepted: they are in, not refused."""
    lb4 = start(start_lb4, server)
    lb4.signal(signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(servers.connect(LISTEN)) for _ in range(20)]
        for client in clients:
            client.sendall(b"hello")
        lb4.signal(TERM)
        lb4.signal(signal.SIGCONT)
        for client in clients:
            assert client.recv(5) == b"hello"
    assert end_of(lb4) < PROMPT_S


def test_term_during_a_connect_waits_for_its_outcome(start_lb4):
    """No listener at the server: the client is reset, and the drain ends."""
    lb4 = start_lb4(["-l", LISTEN, "-s", "127.0.0.1:9"])
    try:
        client = servers.connect(LISTEN)
    except ConnectionResetError:  # the reset may come before connect(2) has returned
        client = None
    lb4.signal(TERM)
    if client:
        assert servers.read_end(client) == "rst"
        client.close()
    assert end_of(lb4) < PROMPT_S


def test_signals_at_random_moments(start_lb4, server, is_full):
    """TERM at once after the start, after ready, and while clients come: always exit 0."""
    for i in range(30 if is_full else 6):
        lb4 = start(start_lb4, server)
        clients = [servers.connect(LISTEN) for _ in range(i)]
        lb4.signal([TERM, QUIT, INT][i % 3])
        for client in clients:
            client.close()
        assert end_of(lb4) < 5
