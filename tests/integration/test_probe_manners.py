"""Probes as servers see them: they come, take leave in the proper way, and leave nothing behind."""
import contextlib
import pathlib
import socket
import subprocess
import tempfile
import threading
import time

import pytest

import daemon
import namespace
import pools
import servers
import test_real_clients as real

LISTEN = "127.0.0.1:7000"
N_PROBES = 100
INTERVAL_S = 0.05
TIMEOUT_S = 0.5
CHECK = f"check tcp interval {INTERVAL_S * 1000:.0f}ms timeout {TIMEOUT_S * 1000:.0f}ms"
LINES_LIMIT_S = 30
CPU_BAR = 0.10
LATE_S = 0.2
N_NAMES = 10
# The leave ends with the time-out, or when the next probe is due: room for a busy machine.
PATIENT_CHECK = "check tcp interval 1s timeout 900ms"


def start(start_lb4, address, check=CHECK, times=1):
    """A daemon that knows the server under so many names, and probes it for each."""
    return start_lb4(["-w", "1"], config=pools.config(LISTEN, [address] * times, check))


def count_probes(lb4, outcome=r"\w+"):
    with lb4.changed:
        return sum(f" outcome={outcome} " in line if outcome.isalpha() else " outcome=" in line
                   for line in lb4.lines)


def wait_probes(lb4, count, outcome):
    lb4.wait_for(lambda: count_probes(lb4, outcome) >= count, LINES_LIMIT_S,
                 f"fewer than {count} probes that are {outcome}")


class Script:
    """A server that gives each connection to a function in a thread of its own, and keeps what it
    returns in `results`. Use as a context."""

    def __init__(self, play):
        self.play = play
        self.results = []
        self.sockets = []
        self.is_ending = False
        self.listener = socket.create_server(("127.0.0.1", namespace.take_port()), backlog=4096)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.sockets.append(sock)
                sock.settimeout(servers.ECHO_LIMIT_S)
                self.threads.append(threading.Thread(target=self.run, args=(sock,), daemon=True))
                self.threads[-1].start()

    def run(self, sock):
        try:
            result = self.play(sock)
        except OSError as error:
            result = type(error).__name__
        if not self.is_ending:
            self.results.append(result)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.is_ending = True
        for sock in [self.listener, *self.sockets]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self.threads:
            thread.join(servers.ECHO_LIMIT_S)


# --- how a connection ends, seen by the server

def greet_first(sock):
    sock.sendall(b"SSH-2.0-test\r\n")
    return end_of(sock)


def greet_much(sock):
    sock.sendall(bytes(50_000))
    return end_of(sock)


def greet_late(sock):
    """The prober's FIN is there already; the greeting must not be answered by a reset."""
    assert sock.recv(1) == b""
    time.sleep(LATE_S)
    sock.sendall(b"220 late\r\n")
    time.sleep(LATE_S / 4)
    sock.sendall(b"220 later\r\n")
    return end_of(sock)


def say_nothing(sock):
    return end_of(sock)


def end_of(sock):
    """Read to the end; whether a reset has come, before it or a little later."""
    while sock.recv(65536):
        pass
    sock.shutdown(socket.SHUT_WR)
    time.sleep(0.02)  # a reset that answers our bytes or our FIN has come by now
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    sock.close()
    return "rst" if error else "fin"


@pytest.mark.parametrize("play", [say_nothing, greet_first, greet_much, greet_late])
def test_a_probe_ends_with_fin(start_lb4, play, is_full):
    count = N_PROBES if is_full else N_PROBES // 4
    with Script(play) as server:
        lb4 = start(start_lb4, server.address, PATIENT_CHECK, times=N_NAMES)
        if play is greet_late:
            lb4.descriptors_at_start = None  # there is always a probe that takes its leave
        servers.wait_until(lambda: len(server.results) >= count, LINES_LIMIT_S, "probes")
        results = server.results[N_NAMES:]  # the first leaves may be cut short by the first slots
        lb4.finish()
    assert set(results) == {"fin"}, f"{[r for r in results if r != 'fin'][:5]} of {len(results)}"
    assert not [line for line in lb4.lines if " is DOWN" in line]


def test_a_server_that_never_closes_holds_no_descriptors(start_lb4):
    """After the prober's FIN it keeps its side open for ever: probes go on, none piles up."""
    ending = threading.Event()
    with Script(lambda _: ending.wait()) as server, contextlib.ExitStack() as stack:
        stack.callback(ending.set)
        lb4 = start(start_lb4, server.address)
        n_base, n_most = lb4.descriptors_at_start["socket"], 0
        lb4.descriptors_at_start = None  # there is always a probe that takes its leave
        deadline = time.monotonic() + LINES_LIMIT_S
        while count_probes(lb4, "ok") < N_PROBES:
            assert time.monotonic() < deadline, "probes have stopped"
            n_most = max(n_most, lb4.descriptors()["socket"])
            time.sleep(INTERVAL_S / 2)
        print(f"sockets: {n_base} without probes, at most {n_most}")
        assert n_most <= n_base + TIMEOUT_S / INTERVAL_S + 2
        assert not [line for line in lb4.lines if " is DOWN" in line]


def test_a_server_that_never_stops_sending_costs_little(start_lb4):
    """It talks on although the prober has taken leave; the prober need not listen to it all."""
    def talk(sock):
        while True:
            sock.sendall(bytes(65536))

    with Script(talk) as server:
        lb4 = start(start_lb4, server.address, "check tcp interval 1s timeout 500ms")
        wait_probes(lb4, 1, "ok")
        share, wakeups = lb4.load_during(4)
        print(f"{share:.1%} of a CPU, {wakeups:.0f} wake-ups/s")
        lb4.finish()
    assert not [line for line in lb4.lines if " is DOWN" in line]
    if not daemon.IS_SANITIZED:
        assert share <= CPU_BAR


def test_a_server_that_resets_at_once_is_not_down(start_lb4):
    """It accepted: that is what is asked. A wrapper that denies our address does this."""
    def slam(sock):
        servers.reset(sock)

    with Script(slam) as server:
        lb4 = start(start_lb4, server.address)
        lb4.wait_for(lambda: count_probes(lb4) >= N_PROBES // 2, LINES_LIMIT_S, "few probes")
        print(f"{count_probes(lb4, 'ok')} of {count_probes(lb4)} ok")
        changes = [line for line in lb4.lines if " is DOWN" in line or " is UP" in line]
        assert len(changes) <= 1, changes


def test_a_frozen_server_stays_up(start_lb4):
    """Nobody accepts, as with a process under SIGSTOP, but the kernel completes the handshake: a
    connect cannot tell (documented)."""
    with socket.create_server(("127.0.0.1", namespace.take_port()), backlog=4096) as listener:
        lb4 = start(start_lb4, f"127.0.0.1:{listener.getsockname()[1]}")
        lb4.descriptors_at_start = None  # there is always a probe that takes its leave
        wait_probes(lb4, N_PROBES // 2, "ok")
        assert not [line for line in lb4.lines if " is DOWN" in line]
        lb4.finish()


# --- PostgreSQL

@pytest.fixture
def postgres():
    """(port, log file) of a fresh cluster."""
    with tempfile.TemporaryDirectory(prefix="lb4-probed-") as name:
        directory = pathlib.Path(name)
        if daemon.can_change_uid():
            subprocess.run(["chown", str(daemon.NOBODY), name], check=True)
        port, data, log = namespace.take_port(), directory / "data", directory / "postgres.log"
        real.run(f"{real.PG_BIN}/initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N",
                 "--no-locale", cwd=directory)
        command = [f"{real.PG_BIN}/postgres", "-D", str(data), "-p", str(port), "-k", name,
                   "-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]
        with open(log, "w", encoding="utf-8") as out:
            with real.running(command, port, stdout=out, stderr=out):
                servers.wait_until(lambda: "ready to accept" in log.read_text(), 30, "PostgreSQL")
                yield port, log


@real.needs_postgres
def test_the_log_of_postgres_is_silent(start_lb4, postgres):
    port, log = postgres
    before = log.read_text()
    lb4 = start(start_lb4, f"127.0.0.1:{port}")
    wait_probes(lb4, N_PROBES, "ok")
    assert real.psql(7000, "select 6 * 7").strip() == "42"
    assert count_probes(lb4) == count_probes(lb4, "ok")
    time.sleep(0.2)  # the server writes its log a moment later
    assert log.read_text() == before
