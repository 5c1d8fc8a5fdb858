"""splice(2) that starts to fail in the middle of a transfer, with errors that nobody expects of it:
the rest is copied, and no byte is lost."""
import hashlib
import random
import re
import shutil
import socket
import threading

import pytest

import servers

LISTEN = "127.0.0.1:7000"
SIZE = 20_000_000
LIMIT_S = 20

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


@pytest.fixture(scope="module")
def payload():
    return random.Random(1).randbytes(SIZE)


class Exchange:
    """A server for one connection: reads to the end, then sends `payload` and ends."""

    def __init__(self, payload):
        self.payload = payload
        self.came = None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        sock, _ = self.listener.accept()
        with sock:
            self.came = read_all(sock)
            sock.sendall(self.payload)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        self.thread.join(LIMIT_S)


def read_all(sock):
    """(bytes, digest) of what comes up to the end."""
    digest = hashlib.sha256()
    n_bytes = 0
    sock.settimeout(LIMIT_S)
    while data := sock.recv(1 << 20):
        digest.update(data)
        n_bytes += len(data)
    return n_bytes, digest.digest()


def first_injected(trace):
    """Which end of the pipe the first call that failed was at; the first of all reads the
    client."""
    calls = re.findall(r"splice\((\d+),.*", trace.read_text())
    failed = re.search(r"splice\((\d+),.*\(INJECTED\)", trace.read_text())
    return "reading" if failed[1] == calls[0] else "writing"


def transfer(start_lb4, trace, payload, fault):
    """20 MB there, then 20 MB back."""
    expected = (SIZE, hashlib.sha256(payload).digest())
    with Exchange(payload) as server:
        lb4 = start_lb4(["-w", "1", "-l", LISTEN, "-s", server.address],
                        env={"ASAN_OPTIONS": "detect_leaks=0"},
                        wrapper=["strace", "-f", "-qq", "--seccomp-bpf", "-o", str(trace),
                                 "-e", "trace=splice", "-e", f"inject=splice:{fault}"])
        with servers.connect(LISTEN, LIMIT_S) as client:
            client.sendall(payload)
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == expected
        assert server.came == expected
        lb4.wait_n_closed("rule1", 1)
        lb4.finish()


@pytest.mark.parametrize("error", ["EIO", "EMFILE", "EACCES"])
def test_both_ends_of_the_pipe_fall_back_to_copy(start_lb4, trace, payload, error):
    """From the 10th call on, or a later one, until each end was the first one to fail."""
    seen = set()
    for first in range(10, 42):
        transfer(start_lb4, trace, payload, f"error={error}:when={first}+")
        seen.add(first_injected(trace))
        if len(seen) == 2:
            return
    raise AssertionError(f"only {seen} ever failed first")
