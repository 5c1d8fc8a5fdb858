"""A demo server: demo_server.py NAME PORT, on 127.0.0.1. The first line of a client decides:

GET ...   an HTTP answer with the server's name
echo      sends back all that follows
sum       reads until the client's FIN, and only then answers: name, number of bytes, SHA-256
slow      answers its name, then waits for a line and answers 'done'
other     the server's name

A datagram is answered on the same port: the server's name, and the datagram.
"""

import hashlib
import socket
import socketserver
import sys
import threading

CHUNK_BYTES = 256 * 1024


class Handler(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self):
        try:
            self.answer(self.rfile.readline(4096).strip())
        except ConnectionError:
            pass  # the client left

    def answer(self, line):
        name = self.server.name.encode()
        if line.startswith(b"GET "):
            self.wfile.write(
                b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello from " + name + b"\n"
            )
        elif line == b"echo":
            while chunk := self.rfile.read1(CHUNK_BYTES):
                self.wfile.write(chunk)
        elif line == b"sum":
            self.wfile.write(name + b" " + self.read_sum() + b"\n")
        elif line == b"slow":
            self.wfile.write(name + b"\n")
            self.rfile.readline(4096)
            self.wfile.write(b"done\n")
        elif line:
            self.wfile.write(name + b"\n")

    def read_sum(self):
        digest, n_bytes = hashlib.sha256(), 0
        while chunk := self.rfile.read1(CHUNK_BYTES):
            digest.update(chunk)
            n_bytes += len(chunk)
        return b"%d %s" % (n_bytes, digest.hexdigest().encode())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024


def answer_datagrams(datagrams, name):
    while True:
        datagram, client = datagrams.recvfrom(CHUNK_BYTES)
        datagrams.sendto(name.encode() + b" " + datagram, client)


def main():
    name, port = sys.argv[1], int(sys.argv[2])
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", port))
    threading.Thread(target=answer_datagrams, args=(datagrams, name), daemon=True).start()
    with Server(("127.0.0.1", port), Handler) as server:
        server.name = name
        server.serve_forever()


main()
