"""Clients that speak UDP: each asks lb4 who answers, and asks again while nobody does."""

import select
import socket
import time

import demo

PATIENCE_S = 0.3  # until a client asks again


class Client:
    """One of them, with a socket of its own."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", demo.LISTEN_PORT))
        self.name = ""  # of the server that answered last; "" = nobody
        self.n_asked = 0  # times, for that answer

    def ask(self, question):
        self.n_asked += 1
        self.socket.send(question)

    def take(self, question):
        """Reads one datagram: is it the answer to this question?"""
        name, _, asked = self.socket.recv(65536).partition(b" ")
        if asked == question:
            self.name = name.decode()
        return bool(self.name)


class Clients:
    """Many of them, who ask at the same time."""

    def __init__(self, n_clients):
        self.all = [Client() for _ in range(n_clients)]
        self.n_questions = 0

    def ask(self):
        """Ask all, for at most DEADLINE_S. Returns the clients."""
        question = b"who %d" % self.n_questions
        self.n_questions += 1
        for client in self.all:
            client.name, client.n_asked = "", 0
        deadline = time.monotonic() + demo.DEADLINE_S
        while (waiting := self.list_unanswered()) and time.monotonic() < deadline:
            for client in waiting:
                client.ask(question)
            self.listen(question)
        return self.all

    def list_unanswered(self):
        return [client for client in self.all if not client.name]

    def listen(self, question):
        """Until all are answered, for at most PATIENCE_S."""
        until = time.monotonic() + PATIENCE_S
        waiting = {client.socket: client for client in self.list_unanswered()}
        while waiting and (left := until - time.monotonic()) > 0:
            for ready in select.select(waiting, [], [], left)[0]:
                if waiting[ready].take(question):
                    del waiting[ready]
