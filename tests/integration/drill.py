"""Clients at a steady rate, whatever becomes of them: each connects, sends a tagged payload, reads
the server's name and the payload back, and closes."""
import collections
import dataclasses
import datetime
import errno
import heapq
import math
import os
import select
import socket
import threading
import time

import daemon
import servers

IS_FULL = os.environ.get("LB4_TEST_FULL", "") not in ("", "0")
IS_STRICT = IS_FULL and not daemon.IS_SANITIZED
CLIENT_LIMIT_S = 8  # a client that has no answer by then has failed
PAYLOAD_BYTES = 32


def bar(strict, factor=4):
    """What a measured time must keep to: the bar itself in a full run, a multiple elsewhere, as CI
    shares its processors."""
    return strict if IS_STRICT else strict * factor * (3 if daemon.IS_SANITIZED else 1)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def wall(at):
    """A moment of the monotonic clock as the log and the kernel's packet stamps give it."""
    return at + time.time() - time.monotonic()


@dataclasses.dataclass
class Record:
    """What became of one client. Times are of the monotonic clock."""
    index: int
    start: float
    source: str = ""  # its address, as the log writes it
    end: float = math.inf  # of the exchange
    outcome: str = ""  # ok, rst, fin, refused, timeout, foreign (bytes of somebody else)
    server: str = ""
    cut: str = ""  # how it ended while it lived on after the exchange: rst, fin
    gone: float = math.inf  # when its connection ended

    @property
    def seconds(self):
        return self.end - self.start


@dataclasses.dataclass
class Script:
    """What a client does. `kind`: fin, rst (ends so after the exchange), early_rst (resets instead
    of asking), server_rst (asks for a reset), silent (never sends)."""
    kind: str = "fin"
    hold_s: float = 0.0  # from the exchange to its end


class Client:
    """One connection of a drill; used by its thread alone."""

    def __init__(self, record, script):
        self.record = record
        self.script = script
        self.payload = f"{record.index:012d}.".encode().ljust(PAYLOAD_BYTES, b"x")
        if script.kind == "server_rst":
            self.payload = b"R" + self.payload[1:]
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.is_sent = False
        self.came = b""

    def has_all(self):
        return self.came.endswith(self.payload) and b"\n" in self.came

    def is_foreign(self):
        rest = self.came.partition(b"\n")[2]
        return not self.payload.startswith(rest)


class Drill:
    """`per_s` new connections each second from start to stop, from one thread. `script` is called
    for each with its number. As a context it starts, and stops at the end."""

    def __init__(self, address, per_s, script=None):
        host, port = address.rsplit(":", 1)
        self.address = (host, int(port))
        self.per_s = per_s
        self.script = script or (lambda index: Script())
        self.records = []  # in order of start
        self.max_lag_s = 0.0  # a connection that started so late
        self.clients = {}  # by descriptor
        self.timers = []  # heap of (at, number, descriptor, client)
        self.epoll = select.epoll()
        self.is_paused = False
        self.is_stopping = False
        self.is_idle = threading.Event()  # paused, and every exchange has ended
        self.thread = threading.Thread(target=self.run, daemon=True)

    # --- for the test

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """No new connections; returns when the last has ended, held ones at once."""
        self.is_paused = False
        self.is_stopping = True
        self.thread.join()

    def pause(self, waits=True):
        """Open nothing, end nothing, until resume(). If it `waits`, it returns when no exchange is
        under way."""
        self.is_idle.clear()
        self.is_paused = True
        if not waits:
            return
        assert self.is_idle.wait(2 * CLIENT_LIMIT_S), "exchanges that do not end"

    def resume(self):
        self.is_paused = False

    def wait_records(self, count, limit_s=60):
        servers.wait_until(lambda: len(self.records) >= count, limit_s, f"{count} connections")

    def during(self, start, end=math.inf):
        """Records of those that started then; all have ended if the drill has."""
        return [record for record in list(self.records) if start <= record.start < end]

    def wait_served_by(self, name, since, limit_s):
        """The first exchange with this server that started after `since`, as a record."""
        found = []

        def look():
            recent = self.records[-int(self.per_s * (limit_s + 1)):]
            found[:] = [record for record in recent
                        if record.server == name and record.start >= since]
            return bool(found)
        servers.wait_until(look, limit_s, f"traffic at {name}")
        return found[0]

    # --- the thread

    def run(self):
        due = time.monotonic()
        while not (self.is_stopping and not self.clients):
            now = time.monotonic()
            if self.is_paused or self.is_stopping:
                due = now
            while due <= now:
                if self.is_paused or self.is_stopping:
                    break
                self.max_lag_s = max(self.max_lag_s, now - due)
                self.open()
                due += 1 / self.per_s
            self.expire(now)
            if self.is_paused and not any(map(is_exchanging, list(self.clients.values()))):
                self.is_idle.set()
            for number, _ in self.epoll.poll(self.patience(due)):
                if number in self.clients:
                    self.on_event(self.clients[number])
        self.epoll.close()

    def patience(self, due):
        now = time.monotonic()
        until = now + 0.02 if self.is_paused or self.is_stopping else due
        if self.timers and not self.is_paused:
            until = min(until, self.timers[0][0])
        return max(0.0, until - now)

    def open(self):
        index = len(self.records)
        client = Client(Record(index, time.monotonic()), self.script(index))
        self.records.append(client.record)
        code = client.sock.connect_ex(self.address)
        if code not in (0, errno.EINPROGRESS):
            self.conclude(client, errno.errorcode[code].lower())
            self.close(client)
            return
        client.record.source = "%s:%d" % client.sock.getsockname()
        number = client.sock.fileno()
        self.clients[number] = client
        self.set_timer(client, client.record.start + CLIENT_LIMIT_S)
        if client.script.kind == "early_rst":
            self.conclude(client, "ok")
            self.close(client)
            return
        self.epoll.register(number, select.EPOLLIN | select.EPOLLOUT)

    def set_timer(self, client, at):
        heapq.heappush(self.timers, (at, client.record.index, client.sock.fileno(), client))

    def expire(self, now):
        if self.is_paused:
            return
        if self.is_stopping:
            for client in list(self.clients.values()):
                if client.record.outcome:
                    self.close(client)
        while self.timers and self.timers[0][0] <= now:
            _, _, number, client = heapq.heappop(self.timers)
            if self.clients.get(number) is client:
                if not client.record.outcome:
                    self.conclude(client, "timeout")
                elif client.record.end + client.script.hold_s > now + 0.001:
                    continue  # the limit of an exchange that has ended: it lives on
                self.close(client)

    def on_event(self, client):
        try:
            if not client.is_sent:
                self.send(client)
            else:
                self.receive(client)
        except BlockingIOError:
            pass
        except ConnectionRefusedError:
            self.end_by_peer(client, "refused")
        except ConnectionError:
            self.end_by_peer(client, "rst")

    def send(self, client):
        if client.script.kind != "silent":
            client.sock.send(client.payload)
        client.is_sent = True
        self.epoll.modify(client.sock.fileno(), select.EPOLLIN)

    def receive(self, client):
        data = client.sock.recv(4096)
        if not data:
            self.end_by_peer(client, "fin")
            return
        client.came += data
        if client.has_all():
            client.record.server = client.came.partition(b"\n")[0].decode()
        if client.is_foreign() and b"\n" in client.came:
            self.conclude(client, "foreign")
            self.close(client)
        elif client.has_all() and not client.record.outcome:
            self.conclude(client, "ok")
            if client.script.hold_s or self.is_paused:
                self.set_timer(client, client.record.end + client.script.hold_s)
            else:
                self.close(client)

    def end_by_peer(self, client, how):
        if client.record.outcome:
            client.record.cut = how
        else:
            self.conclude(client, how)
        self.close(client)

    @staticmethod
    def conclude(client, outcome):
        client.record.end = time.monotonic()
        client.record.outcome = outcome

    def close(self, client):
        client.record.gone = time.monotonic()
        self.clients.pop(client.sock.fileno(), None)
        if client.script.kind in ("rst", "early_rst"):
            servers.reset(client.sock)
        else:
            client.sock.close()


def is_exchanging(client):
    return not client.record.outcome and client.script.kind != "silent"


# --- what the records say

def log_seconds(line):
    """The stamp of a log line, as seconds of the wall clock; cut to milliseconds."""
    return datetime.datetime.fromisoformat(line[:23] + "+00:00").timestamp()


def failures(records, excused=lambda record: False):
    """Those that were not served, or were cut while they lived on."""
    return [record for record in records
            if (record.outcome != "ok" or record.cut) and not excused(record)]


def describe(records, lb4=None, limit=5):
    """For the message of an assertion: the first few, with what lb4 logged about them."""
    text = [str(collections.Counter(record.outcome for record in records))]
    for record in records[:limit]:
        text.append(f"{record} at {wall(record.start):.3f}")
        if lb4:
            text += [line for line in lb4.lines if f"client={record.source} " in line][-2:]
    return "\n".join(text)


class Blame:
    """Which server a client had, by lb4's log: for clients that got no name. lb4 must have logged
    all ends."""

    def __init__(self, lb4):
        self.ends = collections.defaultdict(list)  # by the client's address: (when, server)
        for line in list(lb4.lines):
            entry = daemon.parse_closed(line)
            if entry:
                self.ends[entry["client"]].append((log_seconds(line), entry["server"]))

    def server_of(self, record):
        """Ports of clients are used again: of several ends the nearest is meant."""
        ends = self.ends.get(record.source)
        if record.server or not ends:
            return record.server
        return min(ends, key=lambda end: abs(end[0] - wall(record.gone)))[1]

    def was_on(self, record, name, died):
        """Was it established on this server when it died, and ended with it?"""
        return (record.start <= died <= record.gone + 0.5) and self.server_of(record) == name


# --- lb4 in front of processes

LISTEN = "127.0.0.1:7000"


@dataclasses.dataclass
class Check:
    """How the servers of a drill are probed."""
    interval_ms: int = 500
    timeout_ms: int = 300
    fall: int = 3
    rise: int = 2

    @property
    def interval_s(self):
        return self.interval_ms / 1000

    @property
    def return_s(self):
        """From the return of a server to its clients, at most."""
        return (self.rise + 1) * self.interval_s

    def __str__(self):
        return (f"check tcp interval {self.interval_ms}ms timeout {self.timeout_ms}ms "
                f"fall {self.fall} rise {self.rise}")


def start_lb4_before(start_lb4, pool, policy, *directives, check=Check(), **options):
    """lb4 with the service `web` over the servers of the pool, by their names."""
    lines = ["service web {", f"    listen tcp {LISTEN}", f"    balance {policy}", f"    {check}"]
    lines += [f"    {directive}" for directive in directives]
    lines += [f"    server {server.name} {server.address}" for server in pool]
    return start_lb4(["-w", "2"], config="\n".join([*lines, "}"]) + "\n", **options)
