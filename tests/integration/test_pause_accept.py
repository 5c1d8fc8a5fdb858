"""Accepting that pauses, with many listeners: a pause costs what the listeners with clients cost,
and one that the kernel does not let end for lack of memory is tried again, without a spin."""
import re
import select
import shutil
import threading
import time

import pytest

import namespace
import servers
import stopping

HOST = "127.0.0.1"
N_LISTENERS = 32
N_PORTS = 200
N_TURNS = 40
OBSERVED_S = 1
TURNS_BAR = 1500  # in OBSERVED_S; a try every 5 ms is two turns of the loop
OTHER_CALLS = 30  # the event descriptors of threads

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


@pytest.fixture
def server():
    with servers.EchoServer() as server:
        yield server


def rules(first, count, server):
    return ["-w", "1", "-o", "maxconn 1", "-l", f"{HOST}:{first}-{first + count - 1}", "-s",
            server.address]


def connect_all(first):
    clients = [servers.connect(f"{HOST}:{first + i}") for i in range(N_LISTENERS)]
    for client in clients:
        client.sendall(b"x")
    return clients


def serve_all(clients):
    """Each gets its byte, and makes room for the next by closing; they come in any order."""
    poller = select.poll()
    by_number = {client.fileno(): client for client in clients}
    for number in by_number:
        poller.register(number, select.POLLIN)
    deadline = time.monotonic() + servers.ECHO_LIMIT_S
    while by_number:
        assert time.monotonic() < deadline, f"{len(by_number)} clients are not served"
        for number, _ in poller.poll(100):
            poller.unregister(number)
            with by_number.pop(number) as client:
                assert client.recv(10) == b"x"


def inject_on_resume(lb4, trace, first):
    """All listeners get a client at once and leave the loop, one call each; the call after the next
    is the second one of those that bring them back. The clients."""
    stopping.stop(lb4)
    clients = connect_all(first)
    with lb4.traced(trace, "epoll_ctl", f"error=ENOMEM:when={N_LISTENERS + 2}"):
        stopping.go_on(lb4)
        servers.wait_until(lambda: "(INJECTED)" in trace.read_text(), what="the injection")
    injected = [line for line in trace.read_text().splitlines() if "(INJECTED)" in line]
    assert len(injected) == 1 and "EPOLL_CTL_ADD" in injected[0], injected
    return clients


def test_no_memory_to_resume_does_not_spin(start_lb4, trace, server):
    first = namespace.take_ports(N_LISTENERS)
    lb4 = start_lb4(rules(first, N_LISTENERS, server))
    with servers.connect(f"{HOST}:{first}") as holder:
        servers.ask(holder)
        clients = inject_on_resume(lb4, trace, first)
        turns = trace.with_name("turns")
        with lb4.traced(turns, "epoll_wait,epoll_pwait", "delay_enter=1"):
            time.sleep(OBSERVED_S)  # an observation: turns of the loop while all places are taken
        n_turns = turns.read_text().count("epoll_")
        print(f"{n_turns} turns in {OBSERVED_S} s")
        assert n_turns <= TURNS_BAR
        assert server.n_accepted == 1
    serve_all(clients)
    lb4.wait_n_closed("rule1", 1 + N_LISTENERS)


def ask_often(address):
    for _ in range(N_TURNS):
        servers.ask_once(address)


def test_a_pause_costs_two_calls_whatever_the_number_of_ports(start_lb4, trace, server):
    """Two clients on one port of 200 that are in each other's way."""
    first = namespace.take_ports(N_PORTS)
    lb4 = start_lb4(rules(first, N_PORTS, server), env={"ASAN_OPTIONS": "detect_leaks=0"},
                    wrapper=["strace", "-f", "-qq", "--seccomp-bpf", "-o", str(trace), "-e",
                             "trace=epoll_ctl"])
    address = f"{HOST}:{first + 1}"
    asking = [threading.Thread(target=ask_often, args=(address,)) for _ in range(2)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    n_ends = 2 * N_TURNS
    lb4.wait_n_closed("rule1", n_ends)
    lb4.finish()
    n_pauses = sum(values["pauses"] for (kind, _), values in lb4.summary().items()
                   if kind == "worker")
    # Each port is added at the start, and taken out when the drain begins.
    n_calls = len(re.findall(r"epoll_ctl\(", trace.read_text())) - 2 * N_PORTS
    print(f"{n_ends} connections, {n_pauses} pauses, {n_calls} calls")
    assert n_pauses > 0
    assert n_calls <= 2 * n_ends + 2 * n_pauses + OTHER_CALLS
