"""A program of its own, so that a test can kill it: named_server.py NAME HOST PORT.

Answers each connection with its name and a newline, then echoes what comes. A payload that begins
with "R" is answered by a reset. Says "listening" on standard output, and ends when its standard
input does."""
import select
import socket
import struct
import sys

LINGER_0 = struct.pack("ii", 1, 0)
CHUNK = 65536


class NamedServer:
    def __init__(self, name, host, port):
        self.greeting = name.encode() + b"\n"
        self.listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((host, port))
        self.listener.listen(4096)
        self.listener.setblocking(False)
        self.greeted = {}  # by descriptor: (socket, has it been greeted)
        self.epoll = select.epoll()
        self.epoll.register(self.listener.fileno(), select.EPOLLIN)
        self.epoll.register(sys.stdin.fileno(), select.EPOLLIN)

    def run(self):
        print("listening", flush=True)
        while True:
            for number, _ in self.epoll.poll():
                if number == sys.stdin.fileno():
                    return
                if number == self.listener.fileno():
                    self.accept()
                else:
                    self.serve(number)

    def accept(self):
        try:
            while True:
                sock, _ = self.listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.greeted[sock.fileno()] = (sock, False)
                self.epoll.register(sock.fileno(), select.EPOLLIN)
        except BlockingIOError:
            pass

    def serve(self, number):
        sock, is_greeted = self.greeted[number]
        try:
            data = sock.recv(CHUNK)
            if data and not data.startswith(b"R"):
                sock.sendall(data if is_greeted else self.greeting + data)
                self.greeted[number] = (sock, True)
                return
            if data:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        except OSError:
            pass
        del self.greeted[number]
        sock.close()


if __name__ == "__main__":
    NamedServer(sys.argv[1], sys.argv[2], int(sys.argv[3])).run()
