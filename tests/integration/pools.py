"""Servers that tell each client who they are, many of them in one thread: a test sees where its
clients went without asking lb4."""
import contextlib
import selectors
import socket
import threading
import time

import namespace
import servers

BACKLOG = 4096
NAME_BYTES = 2


class Pool:
    """Listens on all `addresses`, pairs of host and port. Each connection gets the index of its
    server in two bytes; it is held until the client ends it, or closed at once if not `holds`.
    One thread of its own; use as a context."""

    def __init__(self, addresses, holds=True):
        self.addresses = addresses
        self.holds = holds
        self.n_active = [0] * len(addresses)
        self.accepted_at = [[] for _ in addresses]
        self.is_ending = False
        self.lock = threading.Lock()
        self.selector = selectors.DefaultSelector()
        self.wake_recv, self.wake_send = socket.socketpair()
        self.selector.register(self.wake_recv, selectors.EVENT_READ)
        self.listeners = {}
        self.held = set()
        for index in range(len(addresses)):
            self.open(index)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    @property
    def texts(self):
        """The addresses as the configuration writes them."""
        return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                for host, port in self.addresses]

    def open(self, index):
        host, port = self.addresses[index]
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
        with self.lock:
            self.listeners[index] = listener
            self.selector.register(listener, selectors.EVENT_READ, (self.accept, index))

    def close(self, index):
        """From now on connects to this server are refused; what it holds lives on."""
        with self.lock:
            listener = self.listeners.pop(index)
            self.selector.unregister(listener)
            listener.close()

    def serve(self):
        while not self.is_ending:
            for key, _ in self.selector.select():
                if key.data:
                    handle, index = key.data
                    with self.lock, contextlib.suppress(OSError):
                        handle(key.fileobj, index)

    def accept(self, listener, index):
        sock, _ = listener.accept()
        self.accepted_at[index].append(time.monotonic())
        sock.setblocking(False)
        self.held.add(sock)
        self.n_active[index] += 1
        with contextlib.suppress(OSError):
            sock.send(index.to_bytes(NAME_BYTES, "big"))
        if self.holds:
            self.selector.register(sock, selectors.EVENT_READ, (self.read, index))
        else:
            self.forget(sock, index)

    def read(self, sock, index):
        try:
            if sock.recv(65536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.selector.unregister(sock)
        self.forget(sock, index)

    def forget(self, sock, index):
        self.held.discard(sock)
        self.n_active[index] -= 1
        sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.is_ending = True
        self.wake_send.send(b"x")
        self.thread.join()
        for sock in [*self.listeners.values(), *self.held, self.wake_recv, self.wake_send]:
            sock.close()
        self.selector.close()


def make(count, family="v4", holds=True):
    """So many on ports of their own."""
    host = namespace.LOOPBACK[family]
    return Pool([(host, namespace.take_port()) for _ in range(count)], holds)


def read_name(client):
    """The index that the server of this connection has sent."""
    name = b""
    while len(name) < NAME_BYTES:
        data = client.recv(NAME_BYTES - len(name))
        if not data:
            raise ConnectionError("the connection ended before the server's name")
        name += data
    return int.from_bytes(name, "big")


def ask_name(listen, source=None):
    """Connect, from the address `source` if it is given; the index of the server that answers."""
    with servers.connect(listen, source=(source, 0) if source else None) as client:
        return read_name(client)


def config(listen, addresses, *words, names=None, options=None):
    """The text of a file: a service `web` of servers s1, s2 ...; `words` are further lines of it,
    `options` what is written behind each server."""
    names = names or [f"s{i + 1}" for i in range(len(addresses))]
    options = options or [""] * len(addresses)
    lines = [f"listen tcp {listen}", *words]
    lines += [f"server {name} {address} {option}".rstrip()
              for name, address, option in zip(names, addresses, options)]
    return "\n    ".join(["service web {", *lines]) + "\n}\n"
