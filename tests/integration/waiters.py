"""Servers that count the connections they have, and clients that wait for them."""
import collections
import contextlib
import selectors
import socket
import struct
import threading
import time

import namespace
import servers

LIMIT_S = 20


class CountingServer:
    """Greets each connection with its number, and ends it `hold_s` later (None: when the client
    does). What it counts is exact: one that it ends is counted off before. As a context it can be
    stopped and started on the same port."""

    def __init__(self, hold_s=None, port=None, listens=True):
        self.hold_s = hold_s
        self.port = port or namespace.take_port()
        self.address = f"127.0.0.1:{self.port}"
        self.n_accepted = 0
        self.most = 0
        self.open = {}
        self.due = collections.deque()
        self.listens_first = listens
        self.thread = None

    def start(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(4096)
        self.listener.setblocking(False)
        self.wake_recv, self.wake_send = socket.socketpair()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.wake_recv, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        return self

    def stop(self):
        """Nothing listens, and what was open is reset."""
        self.wake_send.send(b"x")
        self.thread.join()
        self.thread = None
        for sock in list(self.open):
            self.forget(sock)
            servers.reset(sock)
        for sock in (self.listener, self.wake_recv, self.wake_send):
            sock.close()
        self.selector.close()
        self.due.clear()

    def serve(self):
        while True:
            left = max(0, self.due[0][0] - time.monotonic()) if self.due else None
            for key, _ in self.selector.select(left):
                if key.fileobj is self.wake_recv:
                    return
                if key.fileobj is self.listener:
                    self.accept()
                else:
                    self.read(key.fileobj)
            while self.due and self.due[0][0] <= time.monotonic():
                self.end(self.due.popleft()[1])

    def accept(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self.listener.accept()
                self.open[sock] = self.n_accepted
                self.most = max(self.most, len(self.open))
                if self.hold_s is not None:
                    self.due.append((time.monotonic() + self.hold_s, sock))
                self.selector.register(sock, selectors.EVENT_READ)
                with contextlib.suppress(OSError):
                    sock.sendall(b"%d\n" % self.n_accepted)
                self.n_accepted += 1

    def read(self, sock):
        try:
            data = sock.recv(65536)
            if data:
                sock.sendall(data)
                return
        except OSError:
            pass
        self.end(sock)

    def end(self, sock):
        if sock in self.open:
            self.forget(sock)
            sock.close()

    def forget(self, sock):
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(sock)
        del self.open[sock]

    def __enter__(self):
        return self.start() if self.listens_first else self

    def __exit__(self, *_):
        if self.thread:
            self.stop()


class Crowd:
    """Clients that connect and wait for a greeting; what became of each: `greeted` (number, when)
    or `ended` ("rst" or "fin", when), by index in order of arrival. One thread watches them."""

    def __init__(self, address):
        self.host, port = address.rsplit(":", 1)
        self.port = int(port)
        self.began = []
        self.socks = []
        self.ports = []
        self.greeted = {}
        self.ended = {}
        self.left = set()
        self.selector = selectors.DefaultSelector()
        self.lock = threading.Lock()
        self.is_over = False
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.thread.join()
        self.selector.close()
        for sock in self.socks:
            sock.close()

    def add(self, n=1, per_s=None):
        """`n` more, one after the other."""
        started = time.monotonic()
        for i in range(n):
            if per_s:
                time.sleep(max(0, started + i / per_s - time.monotonic()))
            self.began.append(time.monotonic())
            sock = socket.socket()
            sock.settimeout(LIMIT_S)
            sock.bind(("127.0.0.1", 0))
            self.ports.append(sock.getsockname()[1])
            self.socks.append(sock)
            try:
                sock.connect((self.host, self.port))
            except ConnectionResetError:  # as prompt as that
                self.ended[len(self.socks) - 1] = ("rst", time.monotonic())
                continue
            sock.setblocking(False)
            with self.lock:
                self.selector.register(sock, selectors.EVENT_READ, len(self.socks) - 1)

    def watch(self):
        while not self.is_over:
            with self.lock:
                ready = self.selector.select(0)
            for key, _ in ready:
                self.take(key.fileobj, key.data)
            if not ready:
                time.sleep(0.001)

    def take(self, sock, index):
        now = time.monotonic()
        end = "fin"
        try:
            data = sock.recv(4096)
        except OSError:
            data, end = b"", "rst"
        if data:
            if b"\n" in data:
                self.greeted.setdefault(index, (int(data.split()[0]), now))
            return
        with self.lock:
            self.selector.unregister(sock)
        sock.close()  # or a half-closed connection would keep its place
        self.ended[index] = (end, now)

    def leave(self, index, how):
        """Client `index` goes: "rst", "fin" without a byte, or "bye", a byte and a FIN."""
        sock = self.socks[index]
        if how != "bye":
            self.left.add(index)
        if how == "rst":
            with self.lock, contextlib.suppress(KeyError, ValueError):
                self.selector.unregister(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
            return
        if how == "bye":
            sock.sendall(b"bye")
        sock.shutdown(socket.SHUT_WR)

    @property
    def n_lost(self):
        """Ended without a greeting, though they stayed."""
        return len(set(self.ended) - set(self.greeted) - self.left)

    def wait_greeted(self, n, limit_s=LIMIT_S):
        servers.wait_until(lambda: len(self.greeted) >= n or self.n_lost, limit_s, f"{n} greeted")
        assert len(self.greeted) >= n, f"{len(self.greeted)} greeted, {self.n_lost} lost"

    def wait_ended(self, n, limit_s=LIMIT_S):
        servers.wait_until(lambda: len(self.ended) >= n, limit_s, f"{n} ended")
