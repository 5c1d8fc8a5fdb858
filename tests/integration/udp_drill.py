"""UDP servers, flows and packets for tests, and lb4's line of totals about them.

Also a program, so that a test can kill a server: udp_drill.py NAME HOST PORT [REPORT-PORT]. It
answers "NAME|payload", or tells that to REPORT-PORT of 127.0.0.1 and answers nothing but PING. It
says "listening" on standard output, and ends when its standard input does."""
import collections
import contextlib
import os
import pathlib
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

LINE = re.compile(r": udp (\S+): (total=.*)$")
SESSION_CLOSED = re.compile(r": udp session closed (.*)$")
RECEIVE_BUFFER = 1 << 22  # the kernel grants what net.core.rmem_max allows
ANSWER_LIMIT_S = 5
LONGEST = 65535
PING = b"ping"  # of a check: answered by every server
FLOOD = b"flood"


def udp_socket(host, port=0):
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sock.bind((host, port))
    return sock


def split(address):
    host, port = address.rsplit(":", 1)
    return host.strip("[]"), int(port)


def join(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# --- servers


class UdpServer:
    """A thread that sends back what `answer(payload)` returns, nothing for None. As a context."""

    def __init__(self, host="127.0.0.1", port=0, answer=lambda payload: payload):
        self.sock = udp_socket(host, port)
        self.address = join(host, self.sock.getsockname()[1])
        self.answer = answer
        self.n_received = 0
        self.is_ending = False
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        self.sock.settimeout(0.1)
        while not self.is_ending:
            try:
                payload, client = self.sock.recvfrom(LONGEST)
            except TimeoutError:
                continue
            except OSError:
                continue  # a client has gone: no business of ours
            self.n_received += 1
            answer = self.answer(payload)
            if answer is not None:
                self.send(answer, client)

    def send(self, answer, client):
        """An answer that cannot leave, on a link that is new, is lost like any other datagram."""
        with contextlib.suppress(OSError):
            self.sock.sendto(answer, client)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.is_ending = True
        self.thread.join()
        self.sock.close()


class UdpProcess:
    """A server that says its name, and can die or stop for real. As a context."""

    def __init__(self, name, port, report_to=None, host="127.0.0.1"):
        self.name = name
        self.address = join(host, port)
        self.command = [sys.executable, "-E", "-S", str(pathlib.Path(__file__).resolve()), name,
                        host, str(port), *([str(report_to)] if report_to else [])]
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        if line != b"listening\n":
            self.__exit__()
            raise AssertionError(f"server {self.name} does not listen")
        return self

    def kill(self):
        """SIGKILL. Once this returns its port is closed."""
        self.__exit__()

    def signal(self, number):
        self.process.send_signal(number)

    def __exit__(self, *_):
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process = None


def serve_named(name, host, port, report_to=None):
    sock = udp_socket(host, port)
    target = ("127.0.0.1", report_to) if report_to else None
    print("listening", flush=True)
    while True:
        ready = select.select([sock, sys.stdin], [], [])[0]
        if sys.stdin in ready:
            return
        payload, client = sock.recvfrom(LONGEST)
        try:
            sock.sendto(name.encode() + b"|" + payload,
                        client if payload == PING else target or client)
        except OSError:
            pass  # it was told of a client that has gone


# --- flows


def ask(sock, payload, limit_s=ANSWER_LIMIT_S):
    """Send on a connected socket; the answer, None if there is none in time."""
    sock.settimeout(limit_s)
    sock.send(payload)
    try:
        return sock.recv(LONGEST)
    except TimeoutError:
        return None


class Flows:
    """`count` client sockets connected to `address`. Payloads are "FLOW.SEQUENCE"; what comes back
    is "SERVER|FLOW.SEQUENCE" or, of a plain echo, the payload. One thread; as a context."""

    def __init__(self, address, count):
        host, port = split(address)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.epoll = select.epoll()
        self.socks = []
        self.by_fd = {}
        for flow in range(count):
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.connect((host, port))
            sock.setblocking(False)
            self.epoll.register(sock.fileno(), select.EPOLLIN)
            self.by_fd[sock.fileno()] = flow
            self.socks.append(sock)
        self.n_sent = [0] * count
        self.n_answers = [0] * count
        self.last = [None] * count  # (server, sequence) of the latest answer
        self.n_foreign = 0  # answers that belong to another flow
        self.n_refused = 0

    def __len__(self):
        return len(self.socks)

    def send(self, flow):
        payload = b"%d.%d" % (flow, self.n_sent[flow])
        self.n_sent[flow] += 1
        try:
            self.socks[flow].send(payload)
        except ConnectionRefusedError:
            self.n_refused += 1

    def collect(self, limit_s):
        """Read what is there, waiting for at most `limit_s` for the first; how many answers."""
        n = 0
        for fd, _ in self.epoll.poll(limit_s):
            flow = self.by_fd[fd]
            try:
                while True:
                    self.take(flow, self.socks[flow].recv(LONGEST))
                    n += 1
            except BlockingIOError:
                pass
            except ConnectionRefusedError:
                self.n_refused += 1
        return n

    def take(self, flow, answer):
        server, _, rest = answer.rpartition(b"|")
        owner, _, sequence = rest.partition(b".")
        if int(owner) != flow:
            self.n_foreign += 1
            return
        self.n_answers[flow] += 1
        self.last[flow] = (server.decode(), int(sequence))

    def round(self, window=50, limit_s=ANSWER_LIMIT_S):
        """Every flow asks once, `window` at a time; how many had no answer in time."""
        n_missing = 0
        for first in range(0, len(self), window):
            flows = range(first, min(first + window, len(self)))
            for flow in flows:
                self.send(flow)
            deadline = time.monotonic() + limit_s
            while (n_left := sum(not self.is_answered(f) for f in flows)) > 0:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self.collect(left)
            n_missing += n_left
        return n_missing

    def is_answered(self, flow):
        """Its latest datagram."""
        return self.last[flow] is not None and self.last[flow][1] == self.n_sent[flow] - 1

    @property
    def servers(self):
        """How many flows had their latest answer from each server."""
        return collections.Counter(last[0] if last else None for last in self.last)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.epoll.close()
        for sock in self.socks:
            sock.close()


class Reports:
    """What one-way servers have received: for each flow (server, sequence), in order."""

    def __init__(self):
        self.sock = udp_socket("127.0.0.1")
        self.port = self.sock.getsockname()[1]
        self.by_flow = collections.defaultdict(list)

    def read(self):
        """All that is there."""
        self.sock.setblocking(False)
        try:
            while True:
                server, _, rest = self.sock.recv(LONGEST).partition(b"|")
                flow, _, sequence = rest.partition(b".")
                self.by_flow[int(flow)].append((server.decode(), int(sequence)))
        except BlockingIOError:
            return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


# --- packets with a source of our choice


def raw_socket():
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, RECEIVE_BUFFER)
    return sock


def send_spoofed(sock, source, target, payload):
    """One IPv4 UDP datagram from (host, port) to (host, port); the kernel fills in the header's
    checksum, and UDP's may be left out."""
    n_udp = 8 + len(payload)
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + n_udp, 0, 0, 64, socket.IPPROTO_UDP, 0,
                         socket.inet_aton(source[0]), socket.inet_aton(target[0]))
    udp = struct.pack("!HHHH", source[1], target[1], n_udp, 0)
    sock.sendto(header + udp + payload, (target[0], 0))


class Flood:
    """`count` datagrams, each from an address of its own in 127.64.0.0/10, at a steady rate."""

    def __init__(self, target, count, per_s):
        self.target = split(target)
        self.count = count
        self.per_s = per_s
        self.pid = 0

    def __enter__(self):
        # A process, so that it does not wait for the clients' interpreter.
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.run()
                os._exit(0)
            finally:
                os._exit(1)
        return self

    def run(self):
        with raw_socket() as sock:
            began = time.monotonic()
            for i in range(self.count):
                source = f"127.{64 + (i >> 16)}.{i >> 8 & 255}.{i & 255}"
                send_spoofed(sock, (source, 20000 + i % 40000), self.target, FLOOD)
                if i % 50 == 49:
                    ahead = began + i / self.per_s - time.monotonic()
                    if ahead > 0:
                        time.sleep(ahead)

    def is_running(self):
        if self.pid:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                assert status == 0, "the flood failed"
        return bool(self.pid)

    def __exit__(self, *_):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


# --- what lb4 says


def parse_udp(lines):
    """The last `udp S:` line of each service: {"dns": {"total": 3, "drop_limit": 0, ...}}; drops
    that did not occur read as 0."""
    found = {}
    for line in lines:
        match = LINE.search(line)
        if match:
            pairs = re.findall(r"(\w+)=(\d+)", match[2])
            found[match[1]] = collections.Counter({word: int(n) for word, n in pairs})
    return found


def totals(lb4, service):
    """Asked for now; of the exit once it has ended."""
    start = 0
    if lb4.process.poll() is None:
        start = len(lb4.lines)
        lb4.totals()
    found = parse_udp(lb4.lines[start:])
    assert service in found, f"no udp line of {service}\n{lb4.tail()}"
    return found[service]


def wait_totals(lb4, service, condition, limit_s=10, what="totals"):
    """The first totals for which condition(totals) holds."""
    deadline = time.monotonic() + limit_s
    while not condition(now := totals(lb4, service)):
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}: {dict(now)}"
        time.sleep(0.05)
    return now


def closed_sessions(lb4):
    """The words of each line about the end of a session."""
    found = []
    for line in list(lb4.lines):
        match = SESSION_CLOSED.search(line)
        if match:
            found.append(dict(word.split("=", 1) for word in match[1].split()))
    return found


if __name__ == "__main__":
    serve_named(sys.argv[1], sys.argv[2], int(sys.argv[3]), *map(int, sys.argv[4:5]))
