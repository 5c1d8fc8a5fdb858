"""Signals that come while lb4 reads its configuration are as good as later ones."""
import os
import pathlib
import shutil
import signal
import tempfile

import pytest

import servers

LISTEN = "127.0.0.1:7000"
CONFIG = "service web {{\n    listen tcp {}\n    server s1 {}\n}}\n"
NUMBERS = [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]
DELAY_US = 1000000  # opening the configuration takes so long: the time that the test has

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


@pytest.fixture
def config():
    """Where the unprivileged uid can read it."""
    with tempfile.TemporaryDirectory(prefix="lb4-early-") as directory:
        os.chmod(directory, 0o755)
        yield pathlib.Path(directory, "lb4.conf")


def has_open(pid, path):
    """Does the process hold the file open?"""
    held = pathlib.Path(f"/proc/{pid}/fd")
    try:
        return any(os.readlink(entry) == str(path) for entry in held.iterdir())
    except FileNotFoundError:
        return False


def wait_reader(lb4, path):
    """The pid of lb4, once it has opened its configuration."""
    found = []

    def look():
        found[:] = [pid for pid in lb4.children() if has_open(pid, path)]
        return bool(found)
    servers.wait_until(look, what="lb4 opens its configuration")
    return found[0]


def blocked(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigBlk:"):
            return int(line.split()[1], 16)
    raise AssertionError("no SigBlk")


def start_interrupted(start_lb4, trace, config, address, numbers):
    """Start, and signal while the configuration is being opened."""
    config.write_text(CONFIG.format(LISTEN, address))
    lb4 = start_lb4(["-w", "1", "-c", str(config)], waits=False,
                    env={"ASAN_OPTIONS": "detect_leaks=0"},
                    wrapper=["strace", "-f", "-qq", "-o", str(trace), "-P", str(config), "-e",
                             "trace=openat", "-e", f"inject=openat:delay_exit={DELAY_US}"])
    pid = wait_reader(lb4, config)
    for number in numbers:
        assert blocked(pid) & 1 << (number - 1), signal.Signals(number).name
        os.kill(pid, number)
    return lb4


@pytest.mark.parametrize("numbers", [*[[number] for number in NUMBERS], NUMBERS],
                         ids=["HUP", "USR1", "USR2", "all"])
def test_a_signal_before_the_start_does_not_kill(start_lb4, trace, config, numbers):
    with servers.EchoServer() as server:
        lb4 = start_interrupted(start_lb4, trace, config, server.address, numbers)
        lb4.wait_ready()
        servers.ask_once(LISTEN)
        lb4.wait_n_closed("web", 1)
    lb4.finish()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT],
                         ids=["TERM", "QUIT", "INT"])
def test_an_early_end_is_a_clean_one(start_lb4, trace, config, number):
    """What is asked before the start is done after it."""
    lb4 = start_interrupted(start_lb4, trace, config, "127.0.0.1:1", [number])
    lb4.check_end()
    lb4.is_finished = True
    assert servers.is_refused(LISTEN)
