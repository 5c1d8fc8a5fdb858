"""allow and deny: who comes in, from lines and from files, at the start and at a reload; how others
end, on this machine and on another one; and what operators are told."""
import contextlib
import os
import pathlib
import re
import socket
import struct
import tempfile
import time

import pytest

import daemon
import namespace
import reloading
import servers
import udp_drill
import web

PORT = 7000
V4, V6, ANY = f"127.0.0.1:{PORT}", f"[::1]:{PORT}", f":{PORT}"
LIMIT_S = 10 if not daemon.IS_SANITIZED else 30
MANY = 100000


@pytest.fixture
def server():
    with servers.EchoServer() as server:
        yield server


def config(server, *lines, listen=f"tcp {ANY}", name="web"):
    return reloading.service(name, [listen], [("s1", server.address)], *lines)


def target(host):
    return (host, PORT)


def fate(host="127.0.0.1", source=None, says=b"hello"):
    """What a client meets: "in", "reset", "end" or "nothing" within a second."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(LIMIT_S)
        if source:
            client.bind((source, 0))
        try:
            client.connect(target(host))
            if says:
                client.sendall(says)
            client.settimeout(LIMIT_S if says else 1)
            came = client.recv(100)
        except TimeoutError:
            return "nothing"
        except OSError as error:
            assert isinstance(error, (ConnectionResetError, BrokenPipeError)), error
            return "reset"
        if not came:
            return "end"
        assert came == says
        return "in"


def refused(lb4, reason="denied", service="web"):
    return web.Scrape(lb4.http).value("lb4_refused_total", service=service, reason=reason)


def wait_refused(lb4, count, reason="denied", service="web"):
    lb4.wait_for(lambda: refused(lb4, reason, service) >= count, LIMIT_S, f"{count} {reason}")
    assert refused(lb4, reason, service) == count


# --- rules

CASES = {
    "no rule": ((), "127.0.0.1", "::1"),
    "only denies": (("deny 127.0.0.2", "deny ::2/127"), "127.0.0.1", "::1"),
    "an allow, and nobody else": (("allow 127.0.0.1/32",), "127.0.0.1", None),
    "the first decides": (("deny 127.0.0.2", "allow 127.0.0.0/8", "allow ::1"), "127.0.0.1", "::1"),
    "the first, the other way": (("allow 127.0.0.1", "allow ::1", "deny all"), "127.0.0.1", "::1"),
    "IPv6 alone": (("allow ::/0",), None, "::1"),
    "a mapped network": (("allow ::ffff:127.0.0.0/104", "deny all"), "127.0.0.1", None),
}


@pytest.mark.parametrize("name", CASES)
def test_who_comes_in(start_lb4, server, name):
    """On a dual-stack listener IPv4 clients are IPv4 to the rules."""
    lines, v4, v6 = CASES[name]
    lb4 = start_lb4(["-w", "2"], config=config(server, *lines))
    assert fate("127.0.0.1") == ("in" if v4 else "reset")
    assert fate("::1") == ("in" if v6 else "reset")
    n_refused = (not v4) + (not v6)
    if "127.0.0.2" in " ".join(lines):
        assert fate(source="127.0.0.2") == "reset"
        n_refused += 1
    wait_refused(lb4, n_refused)
    lb4.finish()
    assert sum(entry["reason"] == "denied" for entry in lb4.closed["web"]) == n_refused


def test_defaults(start_lb4, server):
    text = ("defaults {\n allow 127.0.0.1\n refuse close\n}\n" + config(server)
            + config(server, "allow all", listen="tcp 127.0.0.1:7001", name="open"))
    start_lb4(["-w", "1"], config=text)
    assert fate() == "in" and fate(source="127.0.0.2") == "end"
    with socket.create_connection(("127.0.0.1", 7001), LIMIT_S, ("127.0.0.2", 0)) as client:
        assert servers.ask(client, b"x") is not None


# --- how others end

@pytest.mark.parametrize("says", [b"hello", b""], ids=["talks", "silent"])
@pytest.mark.parametrize("way, expected", [("reset", "reset"), ("close", "end")])
def test_ways(start_lb4, server, way, expected, says):
    lb4 = start_lb4(["-w", "1"], config=config(server, "deny all", f"refuse {way}"))
    assert fate(says=says) == expected and fate("::1", says=says) == expected
    wait_refused(lb4, 2)
    assert server.n_accepted == 0


def test_close_holds_nobody_for_long(start_lb4, server):
    """A client that neither reads nor goes has its descriptor of lb4 for a second at most."""
    lb4 = start_lb4(["-w", "1"], config=config(server, "deny all", "refuse close"))
    clients = [socket.create_connection(target("127.0.0.1"), LIMIT_S) for _ in range(300)]
    lb4.wait_n_closed("web", len(clients))
    for client in clients:
        assert client.recv(1) == b""
        client.close()
    assert refused(lb4) == len(clients)


ETH_P_ALL, FIN_RST = 3, 0x05


class Sniffer:
    """The flags of TCP segments from PORT that arrive at the other side of the link."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.sock.bind(("far", 0))
        self.sock.settimeout(0.01)
        self.flags = []

    def look(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                packet, source = self.sock.recvfrom(200)
            except TimeoutError:
                continue
            if source[2] == socket.PACKET_OUTGOING:
                continue
            head = (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40
            if packet[9 if head < 40 else 6] == socket.IPPROTO_TCP and len(packet) >= head + 14 and (
                    struct.unpack("!H", packet[head:head + 2])[0] == PORT):
                self.flags.append(packet[head + 13])


@pytest.mark.parametrize("host", ["10.77.0.1", "fd77::1"])
def test_silent_is_silent(start_lb4, server, host):
    """On the very next machine: no FIN and no reset arrives, the client takes itself for connected.
    What it says afterwards the kernel answers, as it does for any connection that it does not know.
    """
    with namespace.Neighbour(1500) as neighbour:
        lb4 = start_lb4(["-w", "1"], config=config(server, "allow 127.0.0.0/8", "refuse silent"))

        def visit():
            sniffer = Sniffer()
            with sniffer.sock, socket.create_connection(target(host), LIMIT_S) as client:
                lb4.wait_n_closed("web", 1)
                sniffer.look(0.5)
                client.settimeout(0.05)
                with pytest.raises(TimeoutError):
                    client.recv(1)
                return sniffer.flags
        flags = neighbour.run(visit)
        assert flags and not any(flag & FIN_RST for flag in flags), [hex(flag) for flag in flags]
        wait_refused(lb4, 1)
        assert fate() == "in"
        lb4.finish()


def test_reset_is_heard_next_door(start_lb4, server):
    """The same look at the default, so that the test above can fail."""
    with namespace.Neighbour(1500) as neighbour:
        lb4 = start_lb4(["-w", "1"], config=config(server, "allow 127.0.0.0/8"))

        def visit():
            sniffer = Sniffer()
            with sniffer.sock, contextlib.ExitStack() as stack:
                with contextlib.suppress(ConnectionError):  # also the connect may already say so
                    stack.enter_context(socket.create_connection(target("10.77.0.1"), LIMIT_S))
                lb4.wait_n_closed("web", 1)
                sniffer.look(0.5)
                return sniffer.flags
        assert any(flag & 4 for flag in neighbour.run(visit))
        lb4.finish()


# --- UDP

def test_udp(start_lb4):
    with udp_drill.UdpServer() as server:
        lb4 = start_lb4(["-w", "1"], config=reloading.service(
            "dns", [f"udp 127.0.0.1:{PORT}"], [("s1", server.address)], "deny 127.0.0.2",
            "timeout udp 100ms"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind(("127.0.0.2", 0))
            for _ in range(5):
                client.sendto(b"x", target("127.0.0.1"))
            wait_refused(lb4, 5, service="dns")
        scrape = web.Scrape(lb4.http)
        assert scrape.value("lb4_udp_dropped_total", service="dns", reason="denied") == 5
        assert server.n_received == 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(LIMIT_S)
            client.sendto(b"x", target("127.0.0.1"))
            client.recv(100)
        lb4.wait_line(r"refused client 127\.0\.0\.2:\d+ of dns: denied")


# --- files

class Lists:
    """Files of networks beside the configuration."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def put(self, name, text):
        path = self.folder / name
        fresh = path.with_suffix(".new")
        fresh.write_text(text)
        os.utime(fresh, (time.time() - reloading.OLD_S,) * 2)
        os.rename(fresh, path)
        return path


@pytest.fixture
def lists():
    with tempfile.TemporaryDirectory(prefix="lb4-lists-") as folder:
        os.chmod(folder, 0o755)  # lb4 reads them as another user
        yield Lists(folder)


def many(count, extra=""):
    return "".join(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}\n" for i in range(count)) + extra


def test_files(start_lb4, server, lists):
    """Read at the start, and at each reload, also when nothing else has changed; a broken one
    changes nothing."""
    path = lists.put("bad", "# of today\n127.0.0.2  # one\n\n::2\n")
    text = config(server, f"deny file:{path}")
    lb4, file = reloading.start(start_lb4, text)
    assert fate() == "in" and fate(source="127.0.0.2") == "reset"
    lists.put("bad", "127.0.0.3\n127.0.0.4/31\n127.0.0.2\n")
    assert fate(source="127.0.0.3") == "in"
    file.change(None, f"~ deny 'file:{path}' of web: +2 -1 prefixes", "done, 1 change")
    assert fate(source="127.0.0.3") == fate(source="127.0.0.5") == "reset"
    file.change(None, "done, 0 changes")
    for broken, error in (("127.0.0.3\nlocalhost\n", f"{path}:2:1: 'localhost': not a network"),
                          ("  1.2.3.4/33", f"{path}:1:3: '1.2.3.4/33': the length of the prefix")):
        lists.put("bad", broken)
        file.refuse(None, error)
        assert fate(source="127.0.0.3") == "reset" and fate() == "in"
    path.unlink()
    file.refuse(None, f"lb4.conf:3:10: '{path}': No such file or directory")
    assert fate(source="127.0.0.3") == "reset"
    lists.put("bad", "")
    file.change(None, f"~ deny 'file:{path}' of web: +0 -3 prefixes")
    assert fate(source="127.0.0.3") == "in"
    file.change(config(server, "allow 127.0.0.1", "refuse close"),
                f"- deny 'file:{path}' of web: 0 prefixes", "+ allow 127.0.0.1 of web",
                "~ refuse of web reset -> close", "done, 3 changes")
    assert fate(source="127.0.0.3") == "end" and fate() == "in"


def test_a_path_is_relative_to_its_file(start_lb4, binary, server, tmp_path_factory):
    lb4, file = reloading.start(start_lb4, config(server))
    (file.path.parent / "lists").mkdir()
    os.chmod(file.path.parent / "lists", 0o755)
    Lists(file.path.parent / "lists").put("bad", "127.0.0.2\n")
    file.change(config(server, "deny file:lists/bad"), "+ deny 'file:lists/bad' of web: 1 prefixes")
    assert fate(source="127.0.0.2") == "reset" and fate() == "in"
    shown = daemon.subprocess.run([binary, "-T", "-c", file.path], capture_output=True, text=True,
                                  check=True).stdout
    assert '    deny "file:lists/bad"\n' in shown and "127.0.0.2" not in shown


def test_many_prefixes(start_lb4, server, lists):
    """A reload of a list of 100,000 takes a moment, and clients do not notice."""
    path = lists.put("bad", many(MANY, "127.0.0.2\n"))
    lb4, file = reloading.start(start_lb4, config(server, f"deny file:{path}"))
    before = lb4.rss_bytes()
    assert fate() == "in" and fate(source="127.0.0.2") == "reset"
    lists.put("bad", many(MANY, "127.0.0.3\n"))
    with servers.connect(V4) as client:
        servers.ask(client)
        file.change(None, f"~ deny 'file:{path}' of web: +1 -1 prefixes")
        servers.ask(client)
    assert fate(source="127.0.0.3") == "reset" and fate(source="127.0.0.2") == "in"
    print(f"{(lb4.rss_bytes() - before) / 2**20:.1f} MiB more behind the reload")


# --- what operators are told

def test_the_log_is_bounded(start_lb4, server):
    """The first at once; what follows is summed up ten seconds later."""
    lb4 = start_lb4(["-w", "2"], config=config(server, "deny 127.0.0.0/8"))
    for i in range(60):
        assert fate(source=f"127.0.0.{i + 2}") == "reset"
    wait_refused(lb4, 60)
    lb4.wait_line(r"INFO worker \d: refused client 127\.0\.0\.2:\d+ of web: denied$")
    lb4.wait_line(r"refused 59 clients of web in 1\d s: denied, last 127\.0\.0\.61:\d+$", 30)
    lines = [line for line in lb4.lines if re.search(r": refused (\d+ )?client", line)]
    assert len(lines) == 2, lines


def test_why_status_and_show(start_lb4, desk, server, lists):
    path = lists.put("bad", "# comment\n127.0.0.2\n127.0.0.64/26\n")
    text = desk.directive + config(server, f"deny file:{path}", "deny 127.0.1.0/24",
                                   "allow 127.0.0.0/8", "refuse close")
    lb4, file = reloading.start(start_lb4, text)
    n = text[:text.index("deny file")].count("\n") + 1
    answer = desk.json("why", "web", "127.0.0.65")
    place = f"{file.path}:{n}, {path}:3"
    assert answer["candidates"] == []
    assert answer["verdict"][0] == (
        f"The client is denied (its connections are closed) by: deny file:{path} ({place}).")
    assert len(answer["verdict"]) == 1
    assert [row["chance"] for row in answer["servers"]] == ["no"]
    assert f"deny 127.0.1.0/24 ({file.path}:{n + 1})" in desk.do("why", "web", "127.0.1.9")
    assert "no allow has its address" in desk.do("why", "web", "::1")
    answer = desk.json("why", "web", "127.0.0.1")
    assert answer["verdict"][0].startswith("The client is let in by: allow 127.0.0.0/8")
    assert answer["candidates"] == ["s1"]
    for source in ("127.0.0.65", "127.0.1.9"):
        assert fate(source=source) == "end"
    lb4.wait_n_closed("web", 2)
    row = desk.json("show", "services")[0]
    assert row["refused"] == row["refused_by_reason"]["denied"] == row["closed_by_reason"]["denied"] == 2
    assert web.status(lb4.http)["services"][0]["refused"]["denied"] == 2


def test_doctor(start_lb4, desk, server, lists):
    path = lists.put("bad", "127.0.0.2\n")

    def findings(about):
        return [finding for finding in desk.json("doctor")["findings"] if finding["about"] == about]
    lb4, file = reloading.start(start_lb4, desk.directive + config(server, f"deny file:{path}"))
    assert not findings("lists") and not findings("access")
    path.write_text("127.0.0.2\n# more\n")
    assert "changed since it was read" in findings("lists")[0]["found"]
    file.change(None, "done, 0 changes")
    assert not findings("lists")
    path.unlink()
    assert "cannot be read" in findings("lists")[0]["found"]
    file.change(desk.directive + config(server, "deny all"))
    assert "let nobody in: web" in findings("access")[0]["found"] and not findings("lists")
    lb4.finish()
