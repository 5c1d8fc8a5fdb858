"""Started without standard descriptors: no socket takes their place, where the log would be written
into it."""
import os
import signal
import subprocess

import pytest

import daemon
import servers

LISTEN = "127.0.0.1:7000"


@pytest.fixture
def start_closed(binary):
    """start_closed("<&- ...", args) -> a process, with those descriptors closed and the others at
    /dev/null; ended after the test. Its log may be lost, so there is nothing to wait for in it."""
    started = []

    def start(redirections, args):
        drop = {}
        if daemon.can_change_uid():
            drop = {"user": daemon.NOBODY, "group": daemon.NOBODY, "extra_groups": []}
        started.append(subprocess.Popen(
            ["sh", "-c", f'exec "$0" "$@" {redirections}', binary, *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **drop))
        return started[-1]
    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("redirections", ["<&-", ">&- 2>&-", "<&- 2>&-", "<&- >&- 2>&-"],
                         ids=["0", "12", "02", "012"])
def test_closed_standard_descriptors_are_filled(start_closed, redirections):
    with servers.EchoServer() as server:
        process = start_closed(redirections, ["-w", "1", "-l", LISTEN, "-s", server.address])
        servers.wait_until(lambda: process.poll() is not None or not servers.is_refused(LISTEN),
                           what="lb4 listens")
        assert process.poll() is None
        for _ in range(5):
            servers.ask_once(LISTEN, b"log" * 1000)
        at = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)]
        assert at == ["/dev/null"] * 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(daemon.END_LIMIT_S) == 0
