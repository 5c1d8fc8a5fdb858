"""What tests of reload share: the file and the wait for the outcome, counters summed by name, and
clients that stay while everything changes around them."""
import collections
import json
import os
import pathlib
import re
import select
import signal
import subprocess
import threading
import time

import daemon
import servers
import udp_drill

OUTCOME = re.compile(r"\breload: (done, (?P<n>\d+) changes?|nothing has changed)$")
LIMIT_S = 10 if not daemon.IS_SANITIZED else 30
ROOT = pathlib.Path(__file__).resolve().parents[2]
OLD_S = 10  # for a file that was written long ago: lb4 waits for a young one to be complete


def service(name, listens, server_list, *directives):
    """A block. `server_list`: (name, address) or (name, address, options)."""
    lines = [f"    listen {listen}" for listen in listens]
    lines += [f"    {directive}" for directive in directives]
    lines += ["    server " + " ".join(server) for server in server_list]
    return "\n".join([f"service {name} {{", *lines, "}"]) + "\n"


class File:
    """The configuration of a running lb4."""

    def __init__(self, lb4):
        self.lb4 = lb4
        self.path = pathlib.Path(lb4.directory.name, "lb4.conf")

    def put(self, text, is_old=True):
        """By rename; if `is_old`, of a file that was written a while ago."""
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(text if isinstance(text, bytes) else text.encode())
        if is_old:
            then = time.time() - OLD_S
            os.utime(fresh, (then, then))
        os.rename(fresh, self.path)

    def reload(self, text=None, is_old=True, limit_s=LIMIT_S):
        """Put it there and tell lb4. Returns (number of changes or None if it failed, the lines
        that lb4 wrote meanwhile)."""
        if text is not None:
            self.put(text, is_old)
        start = len(self.lb4.lines)
        self.lb4.signal(signal.SIGHUP)
        line = self.lb4.wait_line(OUTCOME.pattern, limit_s, start)
        n_changes = OUTCOME.search(line)["n"]
        return n_changes and int(n_changes), self.lb4.lines[start:]

    def change(self, text, *expected, **options):
        """It succeeds, and the log has each of these lines about it. Returns what it wrote."""
        n_changes, lines = self.reload(text, **options)
        assert n_changes is not None, "\n".join(lines)
        for words in expected:
            assert any(line.endswith(f"reload: {words}") for line in lines), (
                words + " is not in\n" + "\n".join(lines))
        return lines

    def refuse(self, text, expected, **options):
        n_changes, lines = self.reload(text, **options)
        assert n_changes is None, "\n".join(lines)
        assert any("reload: " in line and expected in line for line in lines), (
            expected + " is not in\n" + "\n".join(lines))
        return lines


def start(start_lb4, text, *args, **options):
    """lb4 with this file: (Daemon, File)."""
    lb4 = start_lb4(["-w", "2", *args], config=text, **options)
    return lb4, File(lb4)


# --- counters

def sums(lb4):
    """The totals of now: {("server", "web/s1"): Counter}, where several of a name are added up."""
    start_line = len(lb4.lines)
    lb4.totals()
    found = collections.defaultdict(collections.Counter)
    for line in lb4.lines[start_line:]:
        match = daemon.TOTALS.search(line)
        if match:
            pairs = re.findall(r"(\w+)=(\d+)", match[3])
            found[match[1], match[2]].update({word: int(number) for word, number in pairs})
    return found


def assert_monotone(before, after, names):
    for key in names:
        for word, number in before[key].items():
            assert word == "active" or after[key][word] >= number, (
                f"{key}: {word} was {number} and is {after[key][word]}")


def wait_gone(lb4, what, start_line=0, limit_s=LIMIT_S):
    """`what`: "server web/s1" or "service web"."""
    return lb4.wait_line(rf": {re.escape(what)} has gone\b", limit_s, start_line)


# --- clients that stay

class Transfers:
    """`count` connections through `address`, on each of which blocks go to the server and back for
    as long as the context lasts; `problems` are those that were cut or got other bytes."""

    BLOCK = bytes(range(256)) * 16
    PAUSE_S = 0.02

    def __init__(self, address, count):
        self.problems = []
        self.n_rounds = 0
        self.is_ending = False
        self.socks = [servers.connect(address) for _ in range(count)]
        self.names = {}  # of the servers, by descriptor
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        for sock in self.socks:
            sock.sendall(b"x")
        for sock in self.socks:
            text = b""
            while not text.endswith(b"\nx"):
                text += sock.recv(100)
            self.names[sock.fileno()] = text.partition(b"\n")[0].decode()
            sock.settimeout(servers.ECHO_LIMIT_S)
        self.thread.start()
        return self

    def run(self):
        left = list(self.socks)
        while not self.is_ending:
            for group in (left[i:i + 20] for i in range(0, len(left), 20)):
                for sock in group:
                    self.guard(left, sock, sock.sendall, self.BLOCK)
                for sock in group:
                    self.guard(left, sock, self.read_block, sock)
                time.sleep(self.PAUSE_S)
            self.n_rounds += 1

    def guard(self, left, sock, function, *args):
        try:
            if sock in left:
                function(*args)
        except (OSError, AssertionError) as problem:
            self.problems.append(f"{self.names[sock.fileno()]}: {problem!r}")
            left.remove(sock)

    def read_block(self, sock):
        came = b""
        while len(came) < len(self.BLOCK):
            data = sock.recv(65536)
            assert data, "ended"
            came += data
        assert came == self.BLOCK, "other bytes"

    def __exit__(self, *_):
        self.is_ending = True
        self.thread.join()
        for sock in self.socks:
            sock.close()


class PortServer(udp_drill.UdpServer):
    """Answers "NAME:PORT|payload", PORT being where it came from: a flow that moves shows."""

    def __init__(self, name, **options):
        self.name = name
        super().__init__(**options)

    def serve(self):
        poller = select.poll()
        poller.register(self.sock, select.POLLIN)
        self.sock.setblocking(False)
        while not self.is_ending:
            poller.poll(50)
            try:
                while True:
                    payload, client = self.sock.recvfrom(udp_drill.LONGEST)
                    self.n_received += 1
                    self.sock.sendto(b"%s:%d|%s" % (self.name.encode(), client[1], payload), client)
            except OSError:
                pass


# --- many short connections

def find_tool(name):
    for built in (ROOT / "build").glob(f"*/**/{name}"):
        if built.is_file() and os.access(built, os.X_OK):
            return built
    raise AssertionError(f"no {name}: run scripts/build.sh")


class Answers:
    """One process that serves on all addresses: reads a request, answers, closes."""

    def __init__(self, count, take_port):
        self.addresses = [f"127.0.0.1:{take_port()}" for _ in range(count)]
        words = [word for address in self.addresses for word in (address, "answer")]
        self.process = subprocess.Popen([find_tool("load"), "serve", *words],
                                        stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def start_connections(address, seconds, concurrent=8):
    """So many at a time, one after the other; ends by itself, see end_connections()."""
    return subprocess.Popen([find_tool("load"), "run", "crr", address, "-n", str(concurrent), "-t",
                             str(seconds)], stdout=subprocess.PIPE, text=True)


def end_connections(process, seconds):
    """What it reports."""
    text, _ = process.communicate(timeout=seconds + 30)
    return json.loads(text)
