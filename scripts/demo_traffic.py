"""Clients at a steady rate: each connects to lb4, asks who answers, and is recorded."""

import math
import socket
import threading
import time
import typing

import demo

N_THREADS = 6


class Client(typing.NamedTuple):
    """One of them, when it was over. Times are of time.monotonic()."""

    started: float
    ended: float
    port: int  # its own
    name: str  # of the server that answered; "" = it failed
    problem: str  # why

    def ms(self):
        return (self.ended - self.started) * 1000


def ask(client):
    client.settimeout(demo.DEADLINE_S)
    client.connect(("127.0.0.1", demo.LISTEN_PORT))
    client.sendall(b"who\n")
    return demo.read_all(client).decode().strip()


def be_client():
    name = problem = ""
    started = time.monotonic()
    with socket.socket() as client:
        try:
            name = ask(client)
            problem = "" if name else "ended without an answer"
        except (ConnectionResetError, BrokenPipeError):
            problem = "reset"
        except OSError as error:
            problem = str(error)
        ended = time.monotonic()
        port = client.getsockname()[1]
    return Client(started, ended, port, name, problem)


class Traffic:
    """`per_second` clients, spread evenly over threads; fewer where the machine is too slow."""

    def __init__(self, per_second):
        self.step_s = N_THREADS / per_second
        self.clients = []
        self.begun = [0.0] * N_THREADS  # when each thread's present client started
        self.is_over = threading.Event()
        self.threads = [
            threading.Thread(target=self.run, args=(index,), daemon=True)
            for index in range(N_THREADS)
        ]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def run(self, index):
        due = time.monotonic() + index * self.step_s / N_THREADS
        while not self.is_over.wait(max(0, due - time.monotonic())):
            self.begun[index] = time.monotonic()
            self.clients.append(be_client())
            due = max(due + self.step_s, time.monotonic())
        self.begun[index] = math.inf

    def settle(self):
        """Wait until all who have started by now are over."""
        now = time.monotonic()
        demo.wait_until(lambda: min(self.begun) > now, "every client is over")

    def take(self):
        """Those that are over; they are forgotten."""
        taken = self.clients[:]
        del self.clients[:len(taken)]
        return taken
