"""The filter for fail2ban, by fail2ban's own tool, on lines that lb4 wrote."""
import collections
import contextlib
import pathlib
import shutil
import signal
import socket
import subprocess

import pytest

import daemon
import log_files
import reloading
import servers

FILTER = pathlib.Path(__file__).resolve().parents[2] / "scripts/fail2ban/filter.d/lb4.conf"
V4, V6 = "127.0.0.1:7000", "[::1]:7000"
OTHER = "203.0.113.66"
FORGED = (f"2026-11-22T18:07:07.123Z INFO worker 1: access client={OTHER}:1 service=web server=s1"
          " listener=1.2.3.4:1 queue_ms=0 connect_ms=0 total_ms=0 in=0 out=0 reason=denied tries=0")
FORGED_JSON = (
    '{"time":"2026-11-22T18:07:07.123Z","level":"INFO","thread":"worker 1","event":"access",'
    f'"client":"{OTHER}:1","service":"web","server":null,"listener":"1.2.3.4:1","queue_ms":0,'
    '"connect_ms":0,"total_ms":0,"in":0,"out":0,"reason":"denied","tries":0}')

pytestmark = [pytest.mark.skipif(not shutil.which("fail2ban-regex"), reason="no fail2ban-regex"),
              pytest.mark.skipif(daemon.IS_SANITIZED, reason="lines are the same in any build")]


@pytest.fixture(params=["text", "json"])
def form(request):
    return request.param


@pytest.fixture
def folder():
    with log_files.folder() as folder:
        yield folder


@pytest.fixture
def server():
    with servers.EchoServer() as server:
        yield server


def config(server, log, form):
    return (f"log file {log}\nlog-format {form}\n"
            + reloading.service("web", ["tcp :7000"], [("s1", server.address)], "access-log on")
            + reloading.service("dns", ["udp :7001"], [("s1", "127.0.0.1:7002")], "access-log on",
                                "timeout udp 100ms"))


def found(log, **parameters):
    """How often each address is found in a log with these parameters of the filter."""
    options = ",".join(f"{key}={value}" for key, value in parameters.items())
    done = subprocess.run(
        ["fail2ban-regex", "-o", "ip", str(log), f"{FILTER}[{options}]"], capture_output=True,
        text=True, check=False)
    assert "ERROR" not in done.stderr and "Traceback" not in done.stderr, done.stderr
    return collections.Counter(done.stdout.split())


def visit(address, payload):
    with servers.connect(address) as client:
        if payload:
            servers.ask(client, payload)


def write_log(binary, folder, server, form, visits):
    """A whole life of lb4; its log."""
    log = folder / "lb4.log"
    lb4 = log_files.LoggedDaemon(binary, ["-w", "2"], config=config(server, log, form),
                                 log_path=log, debug=False)
    try:
        lb4.wait_ready()
        visits(lb4)
        lb4.finish()
    finally:
        lb4.kill()
    return log


def test_clients_are_found(binary, folder, server, form):
    def visits(lb4):
        for _ in range(3):
            visit(V4, b"x")
        for _ in range(2):
            visit(V6, b"x")
        visit(V4, b"")
        lb4.wait_access(6)
    log = write_log(binary, folder, server, form, visits)
    assert found(log, mode="connections") == {"127.0.0.1": 4, "::1": 2}
    assert found(log, mode="connections", service="web") == {"127.0.0.1": 4, "::1": 2}
    assert not found(log, mode="connections", service="we")
    assert found(log, mode="idle") == {"127.0.0.1": 1}
    assert not found(log) and not found(log, mode="refused")
    # Of the same lines with another reason those whose clients were turned away.
    told = {"text": "reason={}", "json": '"reason":"{}"'}[form]
    text = log.read_text()
    log.write_text(text.replace(told.format("client_fin"), told.format("denied")))
    assert found(log) == {"127.0.0.1": 4, "::1": 2}
    # Who found all servers full has done nothing wrong.
    log.write_text(text.replace(told.format("client_fin"), told.format("limit")))
    assert not found(log)
    log.write_text(text.replace(told.format("client_fin"), told.format("live")))
    assert not found(log, mode="connections")


@pytest.mark.parametrize("way", ["reset", "close", "silent"])
def test_who_is_denied_is_found(binary, folder, server, form, way):
    log = folder / "lb4.log"
    text = config(server, log, form).replace(
        "access-log on", f"access-log on\n    allow 127.0.0.1\n    refuse {way}", 1)
    lb4 = log_files.LoggedDaemon(binary, ["-w", "2"], config=text, log_path=log, debug=False)
    try:
        lb4.wait_ready()
        visit(V4, b"x")
        for address, source in [(V4, "127.0.0.2")] * 3 + [(V6, "::1")]:
            with contextlib.suppress(OSError):
                with servers.connect(address, source=(source, 0)) as client:
                    client.recv(1)
        lb4.wait_access(5)
        lb4.finish()
    finally:
        lb4.kill()
    assert found(log) == found(log, mode="refused", service="web") == {"127.0.0.2": 3, "::1": 1}


@pytest.mark.parametrize("source", ["syslog", "journal"])
def test_lines_behind_a_host_and_a_name(binary, folder, server, form, source):
    """As syslog writes them to a file, and as fail2ban makes lines of the journal's entries."""
    log = write_log(binary, folder, server, form,
                    lambda lb4: (visit(V4, b"x"), visit(V6, b"x"), lb4.wait_access(2)))
    date = {"syslog": "Nov 22 18:07:07", "journal": "2026-11-22T18:07:07.123456"}[source]
    lines = log.read_text().splitlines()
    if form == "text":
        lines = [line.split(" ", 1)[1] for line in lines]
    log.write_text("".join(f"{date} host lb4[123]: {line}\n" for line in lines))
    assert found(log, mode="connections") == {"127.0.0.1": 1, "::1": 1}


def test_nobody_is_framed(binary, folder, server, form):
    """Whatever a peer says, and whatever a file has in it, no line is made of it."""
    def visits(lb4):
        for forged in (FORGED, FORGED_JSON):
            payload = f"\n{forged}\n\r\n{forged}\r".encode()
            visit(V4, payload)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(payload, ("127.0.0.1", 7001))
        lb4.wait_access(2)
        file = reloading.File(lb4)
        escaped = FORGED_JSON.replace('"', '\\"')
        for words in (f'"\\n{FORGED}\\n" x\n', FORGED_JSON + "\n", f"service {FORGED}\n",
                      config(server, f'"/nowhere/\\n{FORGED}"', "text"),
                      config(server, f'"/nowhere/\\n{escaped}"', "text")):
            file.put(words)
            start = len(lb4.lines)
            lb4.signal(signal.SIGHUP)
            lb4.wait_line("reload: nothing has changed", start=start)
    log = write_log(binary, folder, server, form, visits)
    assert OTHER in log.read_text(), "the forged words were not even logged"
    for mode in ("refused", "idle", "connections"):
        for transport in ("tcp", "any"):
            assert OTHER not in found(log, mode=mode, transport=transport)


def test_udp_only_where_it_is_wanted(binary, folder, server, form):
    def visits(lb4):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 7002))
            other.settimeout(10)
            sock.sendto(b"x", ("127.0.0.1", 7001))
            answer, lb4_address = other.recvfrom(10)
            other.sendto(answer, lb4_address)
            entries = lb4.wait_access(1)
        assert entries[0]["transport"] == "udp" and entries[0]["datagrams_in"] == "1"
        assert entries[0]["datagrams_out"] == "1" and entries[0]["listener"] == "127.0.0.1:7001"
        assert entries[0]["reason"] == "idle"
    log = write_log(binary, folder, server, form, visits)
    assert not found(log, mode="connections")
    assert found(log, mode="connections", transport="any") == {"127.0.0.1": 1}


def test_the_jails_name_the_filter():
    text = FILTER.parent.parent.joinpath("jail.d/lb4.conf").read_text()
    assert "lb4[mode=refused]" in text and text.count("enabled  = false") == text.count("\n[lb4-")
