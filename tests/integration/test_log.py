"""The log: its form, its levels, and that it never holds up traffic, even if nobody reads it."""
import fcntl
import os
import signal

import pytest

import daemon
import servers

LISTEN = "127.0.0.1:7000"
F_SETPIPE_SZ = 1031
N_SHORT = 2000  # some 200 kB of log


@pytest.fixture
def server():
    with servers.EchoServer() as server:
        yield server


def start_with_stderr(start_lb4, server, stderr):
    """Without a log to read, ready is when a client is served."""
    lb4 = start_lb4(["-w", "2", "-l", LISTEN, "-s", server.address], waits=False, reads_log=False,
                    stderr=stderr)
    servers.wait_until(lambda: not servers.is_refused(LISTEN), what="lb4 listens")
    return lb4


def stop(lb4):
    lb4.signal(signal.SIGTERM)
    code = lb4.wait_exit(10)
    lb4.is_finished = True
    return code


def test_a_log_that_nobody_reads_holds_up_nothing(start_lb4, server):
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, F_SETPIPE_SZ, 4096)
    lb4 = start_with_stderr(start_lb4, server, write_end)
    os.close(write_end)
    with servers.connect(LISTEN) as live:
        slowest = 0
        for _ in range(N_SHORT):
            slowest = max(slowest, servers.ask_once(LISTEN), servers.ask(live))
    print(f"slowest {slowest * 1000:.1f} ms")
    assert slowest < 1
    assert stop(lb4) == 0, "nor the end"
    os.close(read_end)


def test_dropped_lines_are_counted(start_lb4, server):
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, F_SETPIPE_SZ, 4096)
    lb4 = start_with_stderr(start_lb4, server, write_end)
    os.close(write_end)
    for _ in range(3 * N_SHORT):
        servers.ask_once(LISTEN)
    lb4.signal(signal.SIGTERM)
    with os.fdopen(read_end, "rb") as log:
        lines = log.read().decode().splitlines()
    assert lb4.wait_exit() == 0
    lb4.is_finished = True
    n_closed = sum(1 for line in lines if daemon.parse_closed(line))
    print(f"{n_closed} of {3 * N_SHORT} ends logged")
    assert n_closed >= 3 * N_SHORT or any("dropped" in line for line in lines)
    assert all(daemon.LOG_LINE.match(line) for line in lines), "a torn line"


@pytest.mark.parametrize("kind", ["closed pipe", "/dev/full", "/dev/null"])
def test_a_log_that_cannot_be_written_is_survived(start_lb4, server, kind):
    if kind == "closed pipe":
        read_end, write_end = os.pipe()
        os.close(read_end)
    else:
        write_end = os.open(kind, os.O_WRONLY)
    lb4 = start_with_stderr(start_lb4, server, write_end)
    os.close(write_end)
    for _ in range(50):
        servers.ask_once(LISTEN)
    assert stop(lb4) == 0


def test_the_form_of_every_line(start_lb4, server):
    lb4 = start_lb4(["-w", "2", "-l", LISTEN, "-s", server.address])
    for _ in range(20):
        servers.ask_once(LISTEN)
    ends = lb4.wait_n_closed("rule1", 20)
    lb4.finish()
    strange = [line for line in lb4.lines if not daemon.LOG_LINE.match(line)]
    assert not strange
    for end in ends:
        assert end["reason"] in daemon.REASONS
        assert end["server"] == "s1" and (end["in"], end["out"]) == ("1", "1")
        assert end["client"].startswith("127.0.0.1:") and end["ms"].isdigit()


def test_connections_are_logged_only_when_asked_for(start_lb4, server):
    lb4 = start_lb4(["-l", LISTEN, "-s", server.address], debug=False)
    for _ in range(5):
        servers.ask_once(LISTEN)
    lb4.finish()
    assert not lb4.closed and any(" ready" in line for line in lb4.lines)


def test_quiet_says_nothing_of_ordinary_days(start_lb4, server):
    lb4 = start_lb4(["-q", "-l", LISTEN, "-s", server.address], debug=False, waits=False)
    servers.wait_until(lambda: not servers.is_refused(LISTEN), what="lb4 listens")
    lb4.signal(signal.SIGTERM)
    assert lb4.wait_exit() == 0
    lb4.is_finished = True
    assert not lb4.lines
