"""Access lines and the counters tell the same story: connections, reasons, bytes, of each service."""
import collections
import contextlib
import re
import signal
import socket
import threading

import pytest

import log_files
import namespace
import reloading
import servers

PORTS = {"web": 7000, "gone": 7001, "silent": 7002, "talker": 7003, "dns": 7004}
WEB, GONE, IDLE, CLOSED, DNS = (f"127.0.0.1:{port}" for port in PORTS.values())
N_ROUNDS = 10
TOTALS = re.compile(r": (service|udp) (?P<name>\S+): (?P<pairs>total=.*)$")
NOT_IN_LINES = ("active", "closed", "redispatches", "rebinds", "dropped")


class Talker:
    """Sends some bytes, and closes or resets without having read."""

    def __init__(self):
        self.port = namespace.take_port()
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self.n = 0
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self.listener.accept()
                peer.sendall(b"last words")
                self.n += 1
                if self.n % 2:
                    servers.reset(peer)
                peer.close()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()


def visit(round_number):
    """One of each kind."""
    with servers.connect(WEB) as client:
        servers.ask(client, bytes(1 + round_number * 33331))
    with servers.connect(WEB) as client:
        client.sendall(b"half")
        client.shutdown(socket.SHUT_WR)
        assert servers.read_end(client) == "fin"
    client = servers.connect(WEB)
    servers.ask(client)
    client.sendall(b"x" * round_number)
    servers.reset(client)
    servers.reset(servers.connect(WEB))
    for address in (GONE, IDLE, CLOSED):
        with contextlib.suppress(ConnectionError), servers.connect(address) as client:
            client.sendall(b"hello")
            servers.read_end(client)


def visit_by_udp(server):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for size in (0, 1, 1000):
            client.sendto(bytes(size), ("127.0.0.1", PORTS["dns"]))
            answer, lb4 = server.recvfrom(2000)
            server.sendto(answer + b"!", lb4)
            client.settimeout(10)
            client.recv(2000)


def sums_of(entries):
    """By service: what totals of lb4 call total, in, out, and each reason."""
    sums = collections.defaultdict(collections.Counter)
    for entry in entries:
        assert entry["reason"] != "live"
        words = {"total": 1, "in": int(entry["in"]), "out": int(entry["out"])}
        if entry.get("transport") == "udp":
            words |= {"datagrams_in": int(entry["datagrams_in"]),
                      "datagrams_out": int(entry["datagrams_out"])}
        else:
            words[entry["reason"]] = 1
        sums[entry["service"]].update(words)
    return sums


def totals_of(lines):
    """The same from lb4's last totals."""
    found = {}
    for line in lines:
        match = TOTALS.search(line)
        if match:
            pairs = re.findall(r"(\w+)=(\d+)", match["pairs"])
            words = {word: int(n) for word, n in pairs if word not in NOT_IN_LINES}
            if words["total"]:
                found[match["name"]] = words
    return found


def check_fields(entries):
    """What is true of each line."""
    seen = collections.Counter()
    for entry in entries:
        name, reason = entry["service"], entry["reason"]
        seen[name, entry["server"], reason, entry["tries"]] += 1
        assert entry["client"].startswith("127.0.0.1:")
        assert entry["listener"] == f"127.0.0.1:{PORTS[name]}"
        assert float(entry["connect_ms"]) <= float(entry["total_ms"]) + 0.1
        if name == "silent":
            assert 50 <= float(entry["total_ms"]) < 20000 and entry["in"] == "5"
        if name == "gone":
            assert entry["in"] == entry["out"] == "0"
    assert seen["gone", "-", "connect_failed", "2"] > 0
    assert seen["silent", "s1", "idle", "1"] == N_ROUNDS
    assert any(key[:2] == ("web", "s1") and key[3] == "2" for key in seen), (
        "one that went on to the second server")
    assert seen["web", "s1", "drain", "1"] + seen["web", "s1", "drain", "2"] == 1
    assert seen["talker", "s1", "server_rst", "1"] > 0
    assert seen["dns", "s1", "idle", "1"] + seen["dns", "s1", "drain", "1"] == N_ROUNDS


@pytest.mark.parametrize("form", ["text", "json"])
def test_lines_and_counters_agree(binary, form):
    talker = Talker()
    with servers.EchoServer() as echo, log_files.folder() as folder, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dns:
        dns.bind(("127.0.0.1", 0))
        dns.settimeout(10)
        refusing = f"127.0.0.1:{namespace.take_port()}"
        path = folder / "lb4.log"
        echoes = [("s1", echo.address)]
        two = [("s1", refusing), ("s2", refusing.replace("0.0.1", "0.0.2"))]
        lb4 = log_files.LoggedDaemon(
            binary, ["-w", "2"], log_path=path, debug=False,
            config=f"log file {path}\nlog-format {form}\ndefaults {{\n    access-log on\n}}\n"
            + reloading.service("web", [f"tcp {WEB}"], [("bad", refusing), *echoes], "check none")
            + reloading.service("gone", [f"tcp {GONE}"], two, "check none")
            + reloading.service("silent", [f"tcp {IDLE}"], echoes, "timeout idle 50ms")
            + reloading.service("talker", [f"tcp {CLOSED}"], [("s1", f"127.0.0.1:{talker.port}")])
            + reloading.service("dns", [f"udp {DNS}"],
                                [("s1", "127.0.0.1:%d" % dns.getsockname()[1])],
                                "timeout udp 200ms"))
        try:
            lb4.wait_ready()
            for number in range(N_ROUNDS):
                visit(number)
                visit_by_udp(dns)
            with servers.connect(WEB) as live:
                servers.ask(live, b"to the end")
                lb4.signal(signal.SIGINT)
                assert servers.read_end(live) == "rst"
            assert lb4.wait_exit() == 0
            lb4.is_finished = True
        finally:
            lb4.kill()
            talker.stop()
    entries = lb4.access
    sums = sums_of(entries)
    print(sums)
    assert set(sums) == set(PORTS) and log_files.count_dropped(lb4.lines) == 0
    assert sums == totals_of(lb4.lines)
    check_fields(entries)
