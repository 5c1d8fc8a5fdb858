"""Servers that answer health checks over TCP as they are told to: right, wrong, in single bytes, with
a megabyte of junk, never, or by hanging up."""
import contextlib
import socket
import struct
import threading
import time

import namespace
import servers

JUNK = b"junk \x00\x1b\xff" * 131_072  # a megabyte
LIMIT_S = 10


class Kind:
    """What one kind of check says, and the answers to it: `ends` is how its question ends, `right`
    and `wrong` are answers, or functions of the question."""

    def __init__(self, ends, right, wrong, is_greeted=False):
        self.ends = ends
        self.right = right
        self.wrong = wrong
        self.is_greeted = is_greeted

    def answer(self, name, question):
        answer = getattr(self, name)
        return answer(question) if callable(answer) else answer


def dns_answer(code):
    """A message that repeats its question, with its length before it."""
    def answer(question):
        message = bytearray(question[2:])
        message[2] |= 0x80
        message[3] = code
        return struct.pack(">H", len(message)) + bytes(message)
    return answer


HTTP = Kind(b"\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
            b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
PING = Kind(b"PING\r\n", b"+PONG\r\n", b"-LOADING Redis is loading\r\n")
ROLE = Kind(b"ROLE\r\n", b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
            b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:0\r\n")
DNS = Kind(b"\x00\x01\x00\x01", dns_answer(0), dns_answer(2))
TEXT = Kind(b"hello\n", b"who is it: hello yourself\n", b"go away\x07\n")
HEX = Kind(b"\x00\xff", b"\x01\x02\x03\x04", b"\x04\x03")
REGEX = Kind(b"", b"220 mail.example ESMTP ready\r\n", b"554 no\r\n", is_greeted=True)


class Server:
    """Speaks one kind, in one manner, which may be changed at any time. Keeps how connections ended
    from its side, in `ends`, and what it was asked, in `questions`. Use as a context."""

    def __init__(self, kind, manner, host="127.0.0.1", port=None):
        self.kind = kind
        self.manner = manner
        self.ends = []
        self.questions = []
        self.peers = []
        self.sockets = set()
        self.lock = threading.Lock()
        self.listener = socket.create_server((host, port or namespace.take_port()), backlog=4096)
        self.address = f"{host}:{self.listener.getsockname()[1]}"
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, peer = self.listener.accept()
                self.peers.append(peer[0])
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(LIMIT_S)
                with self.lock:
                    self.sockets.add(sock)
                thread = threading.Thread(target=self.run, args=(sock,), daemon=True)
                self.threads.append(thread)
                thread.start()

    def run(self, sock):
        with contextlib.suppress(OSError):
            question = self.read(sock)
            getattr(self, self.manner)(sock, question)
            self.ends.append(servers.read_end(sock))
        with self.lock:
            self.sockets.discard(sock)
        sock.close()

    def read(self, sock):
        question = b""
        while not self.kind.is_greeted and not question.endswith(self.kind.ends):
            data = sock.recv(4096)
            if not data:
                raise ConnectionError("hung up within its question")
            question += data
        self.questions.append(question)
        return question

    # --- manners

    def right(self, sock, question):
        sock.sendall(self.kind.answer("right", question))

    def wrong(self, sock, question):
        sock.sendall(self.kind.answer("wrong", question))

    def bytes(self, sock, question):
        for byte in self.kind.answer("right", question):
            sock.sendall(bytes([byte]))
            time.sleep(0.001)  # so that it is read by itself, mostly

    def begins(self, sock, question):
        sock.sendall(self.kind.answer("right", question)[:2])

    def junk(self, sock, question):
        sock.sendall(JUNK + self.kind.answer("right", question))

    def right_and_junk(self, sock, question):
        sock.sendall(self.kind.answer("right", question) + JUNK)

    def silent(self, sock, question):
        pass

    def closes(self, sock, question):
        sock.shutdown(socket.SHUT_WR)

    def resets(self, sock, question):
        servers.reset(sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for sock in self.sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(LIMIT_S)
