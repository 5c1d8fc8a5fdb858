"""Connections that are held while servers go and come: who has them, and how both ends end."""
import contextlib
import socket
import threading
import time

import namespace
import pools
import servers

LISTEN = "127.0.0.1:7000"
CHECK = "check tcp interval 100ms timeout 500ms fall 2 rise 2 fast 50ms"


class Pool(pools.Pool):
    """Notes how the connections of each server end: "fin" or "rst"."""

    def __init__(self, addresses, holds=True):
        self.ends = [[] for _ in addresses]
        super().__init__(addresses, holds)

    def read(self, sock, index):
        try:
            if sock.recv(65536):
                return
            end = "fin"
        except BlockingIOError:
            return
        except OSError:
            end = "rst"
        self.ends[index].append(end)
        self.selector.unregister(sock)
        self.forget(sock, index)


def make(count):
    return Pool([(namespace.LOOPBACK["v4"], namespace.take_port()) for _ in range(count)])


class Held:
    """Client connections by the index of their server. A thread keeps every second one busy. As a
    context it closes them all at the end."""

    def __init__(self, address=LISTEN):
        self.address = address
        self.idle = {}
        self.busy = {}
        self.resets = set()
        self.lock = threading.Lock()
        self.is_ending = threading.Event()
        self.thread = threading.Thread(target=self.send, daemon=True)
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_ending.set()
        self.thread.join()
        self.stack.close()

    def add(self, count):
        for i in range(count):
            sock = self.stack.enter_context(servers.connect(self.address))
            index = pools.read_name(sock)
            sock.setblocking(False)
            with self.lock:
                (self.busy if i % 2 else self.idle).setdefault(index, []).append(sock)

    def of(self, index):
        return self.idle.get(index, []) + self.busy.get(index, [])

    def send(self):
        while not self.is_ending.wait(0.002):
            with self.lock:
                busy = [sock for socks in self.busy.values() for sock in socks]
            for sock in busy:
                self.send_some(sock)

    def send_some(self, sock):
        """The kernel tells of a reset once, to whoever asks first."""
        try:
            sock.send(b"x" * 100)
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.resets.add(sock)
        except OSError:
            pass

    def read_ends(self, index, limit_s=10):
        """How those of one server end, within so much time for all of them."""
        deadline = time.monotonic() + limit_s
        ends = []
        for sock in self.of(index):
            end = servers.read_end(sock, max(0.01, deadline - time.monotonic()))
            ends.append("rst" if sock in self.resets else end)
        return ends

    def count_open(self, index):
        """Those that have not ended."""
        return sum(is_open(sock) for sock in self.of(index))


def is_open(sock):
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False


def config(pool, *words, options=None, names=None):
    return pools.config(LISTEN, pool.texts, *words, options=options, names=names)
