"""Clients of a service with limits: who of many that come at once is let in, and what lb4 counts of
those that are not."""
import contextlib
import itertools
import math
import socket
import subprocess
import threading
import time

import daemon
import reloading
import servers
import web

PORT = 7000
LISTEN = f"127.0.0.1:{PORT}"
LIMIT_S = 10 if not daemon.IS_SANITIZED else 30
IPV6_FREEBIND = 78


def config(server, *lines, listen=f"tcp :{PORT}", top=""):
    listens = [listen] if isinstance(listen, str) else listen
    return top + reloading.service("web", listens, [("s1", server.address)], *lines)


def own_networks():
    """The whole of fd77::/16 is ours, beside 127.0.0.0/8 that always is."""
    subprocess.run("ip -6 route replace local fd77::/16 dev lo".split(), check=True)


def enter(source="127.0.0.1", header=b"", port=PORT):
    """A connection that was served, or None for one that was reset."""
    is_v6 = ":" in source
    client = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET)
    try:
        client.settimeout(LIMIT_S)
        if is_v6:
            client.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        client.bind((source, 0))
        client.connect(("::1" if is_v6 else "127.0.0.1", port))
        client.sendall(header + b"x")
        came = client.recv(1)
    except (ConnectionResetError, BrokenPipeError):
        client.close()
        return None
    assert came == b"x", "an end without a reset"
    return client


def is_let_in(source="127.0.0.1", **options):
    """It goes at once. Who comes next may be quicker than lb4's look at that."""
    client = enter(source, **options)
    if client:
        servers.reset(client)
    return client is not None


class Guests:
    """Connections that are in. As a context, which they leave at the end."""

    def __init__(self, lb4):
        self.lb4 = lb4
        self.inside = []

    def enter(self, count=1, source="127.0.0.1", **options):
        """How many of so many, one after the other, are let in."""
        clients = [enter(source, **options) for _ in range(count)]
        return self.keep(clients)

    def keep(self, clients):
        self.inside += filter(None, clients)
        return sum(client is not None for client in clients)

    def leave(self, count=None):
        """So many, all by default; lb4 has seen it when this returns."""
        going = self.inside[:count]
        del self.inside[:count]
        n_closed = self.n_gone()
        for client in going:
            servers.reset(client)
        servers.wait_until(lambda: self.n_gone() >= n_closed + len(going), LIMIT_S, "all gone")

    def n_gone(self):
        """Ends of such as were in."""
        scrape = web.Scrape(self.lb4.http)
        return scrape.sum("lb4_closed_total", service="web") - sum(
            scrape.value("lb4_closed_total", service="web", reason=reason)
            for reason in ("limit", "denied"))

    def all_talk(self):
        for client in self.inside:
            servers.ask(client, b"hello")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.leave()
        for client in self.inside:
            client.close()


class Crowd:
    """So many threads, each with its source, that come at the same moment again and again. As a
    context."""

    def __init__(self, sources):
        self.sources = sources
        self.results = [None] * len(sources)
        self.barrier = threading.Barrier(len(sources) + 1, timeout=2 * LIMIT_S)
        self.is_over = False
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True)
                        for i in range(len(sources))]

    def run(self, nth):
        with contextlib.suppress(threading.BrokenBarrierError):
            while True:
                self.barrier.wait()
                if self.is_over:
                    return
                try:
                    self.results[nth] = enter(self.sources[nth])
                except (OSError, AssertionError) as problem:
                    self.results[nth] = problem
                self.barrier.wait()

    def rush(self):
        """The connections that were let in."""
        self.barrier.wait()
        self.barrier.wait()
        problems = [result for result in self.results if isinstance(result, Exception)]
        assert not problems, problems
        return [result for result in self.results if result]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        with contextlib.suppress(threading.BrokenBarrierError):
            self.barrier.wait()
        for thread in self.threads:
            thread.join()


class Churn:
    """Threads that come, stay for a moment and go, on their own. Nobody may see more than the limit
    inside at a time."""

    def __init__(self, sources):
        self.sources = sources
        self.lock = threading.Lock()
        self.n_in = 0
        self.n_most = 0
        self.n_served = 0
        self.n_refused = 0
        self.problems = []

    def run(self, rounds):
        threads = [threading.Thread(target=self.visit, args=(source, rounds), daemon=True)
                   for source in self.sources]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not self.problems, self.problems[0]

    def visit(self, source, rounds):
        try:
            for _ in range(rounds):
                client = enter(source)
                with self.lock:
                    self.n_in += client is not None
                    self.n_most = max(self.n_most, self.n_in)
                    self.n_served += client is not None
                    self.n_refused += client is None
                if client:
                    time.sleep(0.001)
                    with self.lock:
                        self.n_in -= 1
                    servers.reset(client)
        except (OSError, AssertionError) as problem:
            self.problems.append(problem)


def press(sources, seconds):
    """Come as often as can be, in turn, for so long and until one is refused, so that nothing is due
    any more: (how many were let in, the time that it took)."""
    began = time.monotonic()
    n_in = 0
    for source in itertools.cycle(sources):
        was_in = is_let_in(source)
        took_s = time.monotonic() - began
        n_in += was_in
        if took_s > seconds and not was_in:
            return n_in, took_s
        assert took_s < seconds + LIMIT_S, "this machine is too slow to use up what is due"
    raise AssertionError("no sources")


def assert_due(n_in, due):
    assert math.isclose(n_in, due, rel_tol=0.05, abs_tol=2), f"{n_in} were let in, {due:.1f} due"


def refused(lb4, reason):
    return web.Scrape(lb4.http).value("lb4_refused_total", service="web", reason=reason)


def wait_refused(lb4, reason, count):
    """Exactly so many; a client may know of it before the counters do."""
    servers.wait_until(lambda: refused(lb4, reason) >= count, LIMIT_S, f"{count} {reason}")
    assert refused(lb4, reason) == count
