"""Small echo servers and their clients, for tests that look at other things than bytes."""
import contextlib
import errno
import pathlib
import selectors
import socket
import struct
import subprocess
import sys
import threading
import time

import namespace

ECHO_LIMIT_S = 10
NAMED_SERVER = pathlib.Path(__file__).with_name("named_server.py")


class EchoServer:
    """Accepts, counts, sends back what comes, and holds connections until the client ends them.
    One thread of its own; use as a context."""

    def __init__(self, family="v4", host=None, port=None, backlog=4096):
        self.host = host or namespace.LOOPBACK[family]
        self.port = port or namespace.take_port()
        self.n_accepted = 0
        self.n_echoes = 0
        self.connections = set()
        self.lock = threading.Lock()
        self.listener = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((self.host, self.port))
        self.listener.listen(backlog)
        self.listener.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.wake_recv, self.wake_send = socket.socketpair()
        self.selector.register(self.wake_recv, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    @property
    def address(self):
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def n_active(self):
        with self.lock:
            return len(self.connections)

    def serve(self):
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is self.wake_recv:
                    return
                if key.fileobj is self.listener:
                    self.accept()
                else:
                    self.echo(key.fileobj)

    def accept(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self.listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self.lock:
                    self.n_accepted += 1
                    self.connections.add(sock)
                self.selector.register(sock, selectors.EVENT_READ)

    def echo(self, sock):
        try:
            data = sock.recv(65536)
            if data:
                self.n_echoes += 1
                sock.sendall(data)
                return
        except OSError:
            pass
        self.selector.unregister(sock)
        with self.lock:
            self.connections.discard(sock)
        sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wake_send.send(b"x")
        self.thread.join()
        for sock in [self.listener, self.wake_recv, self.wake_send, *self.connections]:
            sock.close()
        self.selector.close()


class ServerProcess:
    """An echo server that says its name and can die for real: a process, see named_server.py. As a
    context it starts, and is killed at the end."""

    def __init__(self, name, host=namespace.LOOPBACK["v4"], port=None):
        self.name = name
        self.host = host
        self.port = port or namespace.take_port()
        self.process = None

    @property
    def address(self):
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def start(self):
        """Returns once it listens, on the same port every time."""
        self.process = subprocess.Popen(
            [sys.executable, "-E", "-S", str(NAMED_SERVER), self.name, self.host, str(self.port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        if line != b"listening\n":
            self.kill()
            raise AssertionError(f"server {self.name} does not listen")
        return self

    def kill(self):
        """SIGKILL. Once this returns nothing listens, and its connections have ended."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process = None

    @property
    def is_running(self):
        return self.process is not None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.is_running:
            self.kill()


def connect(address, limit_s=ECHO_LIMIT_S, source=None):
    """A TCP connection to "host:port" as the configuration writes it."""
    host, port = address.rsplit(":", 1)
    sock = socket.create_connection((host.strip("[]"), int(port)), limit_s, source_address=source)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def ask(sock, payload=b"x"):
    """Send, and read the same bytes back; seconds that it took."""
    started = time.monotonic()
    sock.sendall(payload)
    answer = b""
    while len(answer) < len(payload):
        data = sock.recv(65536)
        if not data:
            raise ConnectionError("the connection ended before the echo")
        answer += data
    assert answer == payload
    return time.monotonic() - started


def ask_once(address, payload=b"x"):
    """Connect, ask, close; seconds from the connect to the answer."""
    started = time.monotonic()
    with connect(address) as sock:
        ask(sock, payload)
    return time.monotonic() - started


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def reset_now(sock):
    """A reset while others still name the socket: it stays open, and leads nowhere."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def read_end(sock, limit_s=ECHO_LIMIT_S):
    """Discard what comes, to the end: "fin", "rst" or "timeout"."""
    sock.settimeout(limit_s)
    try:
        while sock.recv(65536):
            pass
        return "fin"
    except ConnectionResetError:
        return "rst"
    except TimeoutError:
        return "timeout"


def connect_end(address, limit_s=ECHO_LIMIT_S):
    """Connect and read to the end: (how it ended, seconds)."""
    started = time.monotonic()
    try:
        with connect(address, limit_s) as sock:
            end = read_end(sock, limit_s)
    except ConnectionResetError:
        end = "rst"
    except ConnectionRefusedError:
        end = "refused"
    return end, time.monotonic() - started


def wait_until(condition, limit_s=ECHO_LIMIT_S, what="condition"):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.005)


def is_refused(address):
    try:
        connect(address).close()
    except OSError as error:
        return error.errno == errno.ECONNREFUSED
    return False
