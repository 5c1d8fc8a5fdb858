"""Real programs that speak UDP through lb4: dnsperf against two DNS servers of different make, one
of which is killed while it runs; iperf3, whose TCP and UDP go to one port; sockperf."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time

import pytest

import daemon
import namespace
import servers
import udp_drill

RUN_LIMIT_S = 60
N_NAMES = 200
OUTSTANDING = 20  # of all clients of dnsperf together
UNPRIVILEGED = ({"user": daemon.NOBODY, "group": daemon.NOBODY, "extra_groups": []}
                if daemon.can_change_uid() else {})


def needs(*programs):
    return pytest.mark.skipif(not all(shutil.which(name) for name in programs),
                              reason=f"not all installed: {', '.join(programs)}")


@pytest.fixture
def directory():
    with tempfile.TemporaryDirectory(prefix="lb4-real-udp-") as name:
        if daemon.can_change_uid():
            os.chown(name, daemon.NOBODY, daemon.NOBODY)
        yield pathlib.Path(name)


@contextlib.contextmanager
def running(command, is_ready, **options):
    """A server program, from when is_ready() until the end of the block; it may be killed in it."""
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, **UNPRIVILEGED, **options)
    try:
        servers.wait_until(is_ready, 30, command[0])
        yield process
    finally:
        process.kill()
        process.wait()


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=RUN_LIMIT_S, check=False, **UNPRIVILEGED)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def end(lb4, service="u"):
    udp_drill.wait_totals(lb4, service, lambda t: t["active"] == 0, what="all sessions end")
    lb4.finish()
    now = udp_drill.totals(lb4, service)
    print(dict(now))
    return now


# --- DNS

NAMES = [f"n{i}.lb4.example" for i in range(N_NAMES)]


def write_zone(directory):
    """A file that both servers read; each record's address tells its name."""
    records = "".join(f"n{i} A 10.9.{i // 250}.{i % 250 + 1}\n" for i in range(N_NAMES))
    path = directory / "zone"
    path.write_text("$ORIGIN lb4.example.\n$TTL 60\n@ SOA ns root 1 3600 600 86400 60\n@ NS ns\n"
                    f"ns A 10.9.9.9\n{records}")
    return path


def nsd(directory, zone, port):
    conf = directory / "nsd.conf"
    conf.write_text(
        f'server:\n  ip-address: 127.0.0.1@{port}\n  username: ""\n  chroot: ""\n'
        f'  zonesdir: "{directory}"\n  database: ""\n  pidfile: "{directory}/nsd.pid"\n'
        f'  xfrdfile: "{directory}/xfrd"\n  xfrdir: "{directory}"\n'
        f'  zonelistfile: "{directory}/zones"\n  logfile: "{directory}/nsd.log"\n'
        f'remote-control:\n  control-enable: no\nzone:\n  name: lb4.example\n'
        f'  zonefile: "{zone}"\n')
    return ["nsd", "-d", "-c", conf]


def knot(directory, zone, port):
    conf = directory / "knot.conf"
    conf.write_text(
        f"server:\n  listen: 127.0.0.1@{port}\n  rundir: {directory}\n"
        f"  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n"
        f"database:\n  storage: {directory}/db\n  journal-db-max-size: 16M\n"
        f"log:\n  - target: {directory}/knot.log\n    any: info\n"
        f"zone:\n  - domain: lb4.example\n    file: {zone}\n    zonefile-sync: -1\n")
    return ["knotd", "-m", "16", "-c", conf]


def question(name, number):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return number.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"


def resolve(address, name, tries=1, limit_s=0.5):
    """The A record's address, asked for as a stub resolver does: from a fresh port, and again after
    a time without an answer. None = no answer to any."""
    for number in range(1, tries + 1):
        with udp_drill.udp_socket("127.0.0.1") as sock:
            sock.connect(udp_drill.split(address))
            try:
                answer = udp_drill.ask(sock, question(name, number), limit_s)
            except ConnectionRefusedError:
                answer = None
        if answer and answer[:2] == number.to_bytes(2, "big") and answer[3] & 15 == 0:
            # The record is the first of the answer, its address the last four of its 16 bytes.
            start = len(question(name, number))
            return socket.inet_ntoa(answer[start + 12:start + 16])
    return None


@contextlib.contextmanager
def dns_servers(directory):
    """Two, both answering: [(address, process)]."""
    zone = write_zone(directory)
    with contextlib.ExitStack() as stack:
        found = []
        for make in (nsd, knot):
            port = namespace.take_port()
            home = directory / make.__name__
            home.mkdir()
            if daemon.can_change_uid():
                os.chown(home, daemon.NOBODY, daemon.NOBODY)
            address = f"127.0.0.1:{port}"
            process = stack.enter_context(running(
                make(home, zone, port),
                lambda address=address: resolve(address, NAMES[0], limit_s=0.1) == "10.9.0.1",
                start_new_session=True, stderr=subprocess.DEVNULL))
            found.append((address, process))
        yield found


def kill_group(process):
    """The whole server: nsd is several processes."""
    os.killpg(process.pid, 9)
    process.wait()


def dnsperf(listen, questions, seconds, rate):
    host, port = udp_drill.split(listen)
    return subprocess.Popen(
        ["dnsperf", "-s", host, "-p", str(port), "-d", str(questions), "-l", str(seconds),
         "-Q", str(rate), "-c", "10", "-q", str(OUTSTANDING), "-t", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **UNPRIVILEGED)


def counts_of(process):
    text, _ = process.communicate(timeout=RUN_LIMIT_S)
    found = {word: int(n) for word, n in re.findall(r"Queries (sent|completed|lost):\s+(\d+)",
                                                    text)}
    assert len(found) == 3 and process.returncode == 0, text
    if found["sent"] == 0:  # seen now and then on a busy machine, while others were answered
        pytest.skip(f"dnsperf has sent nothing: {text}")
    codes = re.search(r"Response codes:\s+(.*)", text)
    return found, codes.group(1) if codes else text


@needs("dnsperf", "nsd", "knotd")
@pytest.mark.parametrize("responses", ["udp-responses 1", "udp-responses 10000000"],
                         ids=["one-answer", "lasting"])
def test_dnsperf_outlives_a_killed_server(start_lb4, directory, is_full, responses):
    """What the killed server had taken in and not answered is lost, and what taught a session that
    had answers before; a client that asks again, as every resolver does, misses nothing."""
    seconds, rate = (20, 5000) if is_full else (3, 1000 if daemon.IS_SANITIZED else 3000)
    listen = f"127.0.0.1:{namespace.take_port()}"
    questions = directory / "questions"
    questions.write_text("".join(f"{name} A\n" for name in NAMES))
    with dns_servers(directory) as ((one, victim), (two, _)):
        lb4 = start_lb4(["-w", "2"], config=(
            f"service u {{\n    listen udp {listen}\n    balance roundrobin\n"
            f"    timeout udp 1s\n    {responses}\n"
            f"    check dns lb4.example interval 400ms timeout 200ms fall 2 rise 1 fast 100ms\n"
            f"    server nsd {one}\n    server knot {two}\n}}\n"))
        process = dnsperf(listen, questions, seconds, rate)
        unanswered, wrong, n_asked, is_killed = 0, 0, 0, False
        began = time.monotonic()
        while process.poll() is None:
            if not is_killed and time.monotonic() - began > seconds / 3:
                kill_group(victim)
                is_killed = True
            name = NAMES[n_asked % N_NAMES]
            answer = resolve(listen, name, tries=2)
            unanswered += answer is None
            wrong += answer not in (None, f"10.9.{n_asked % N_NAMES // 250}."
                                          f"{n_asked % N_NAMES % 250 + 1}")
            n_asked += 1
            time.sleep(0.005)
        found, codes = counts_of(process)
        print(f"dnsperf {found}, {codes}; {n_asked} resolved beside it, {unanswered} in vain")
        lb4.wait_line("server u/nsd is DOWN")
        totals = lb4.totals()
        assert all(totals["server", f"u/{name}"]["total"] > 0 for name in ("nsd", "knot"))
        assert is_killed and found["completed"] > rate * seconds * 0.3
        assert unanswered == wrong == 0
        assert codes.startswith("NOERROR") and "," not in codes
        assert found["lost"] <= OUTSTANDING
        found, _ = counts_of(dnsperf(listen, questions, 1, rate))
        assert found["lost"] == 0
        end(lb4)


# --- iperf3

@needs("iperf3")
@pytest.mark.parametrize("way", [[], ["-R"]], ids=["up", "down"])
def test_iperf3_udp(start_lb4, way):
    """Its control connection is TCP, its load UDP, both to the port that it is given."""
    port, listen = namespace.take_port(), namespace.take_port()
    with running(["iperf3", "-s", "-B", "127.0.0.1", "-p", port],
                 lambda: is_listening(port)):
        lb4 = start_lb4(["-w", "2"], config=(
            f"service u {{\n    listen both 127.0.0.1:{listen}\n    timeout udp 1s\n"
            f"    server s 127.0.0.1:{port}\n}}\n"))
        found = json.loads(run("iperf3", "-c", "127.0.0.1", "-p", listen, "-u", "-b", "5M",
                               "-l", "1200", "-P", "2", "-t", "1", "-J", *way))["end"]
        print(found["sum"])
        assert found["sum"]["packets"] > 500 and found["sum"]["lost_packets"] == 0
        assert all(stream["udp"]["out_of_order"] == 0 for stream in found["streams"])
        now = end(lb4)
        assert now["total"] == 2 and now["dropped"] == 0
        assert now["datagrams_out" if way else "datagrams_in"] >= found["sum"]["packets"]
        assert lb4.summary()["service", "u"]["total"] >= 1


def is_listening(port):
    """By the kernel's table: iperf3 takes a connect for a test."""
    return f":{port:04X} 00000000:0000 0A" in pathlib.Path("/proc/net/tcp").read_text()


# --- sockperf

@needs("sockperf")
def test_sockperf_udp(start_lb4):
    port, listen = namespace.take_port(), namespace.take_port()
    with running(["sockperf", "server", "-i", "127.0.0.1", "-p", port],
                 lambda: f":{port:04X} " in pathlib.Path("/proc/net/udp").read_text()):
        lb4 = start_lb4(["-w", "2"], config=(
            f"service u {{\n    listen udp 127.0.0.1:{listen}\n    timeout udp 1s\n"
            f"    server s 127.0.0.1:{port}\n}}\n"))
        text = run("sockperf", "ping-pong", "-i", "127.0.0.1", "-p", listen, "-m", 200, "-r", 100,
                   "-t", 1, "--mps", 2000, "--data-integrity")
        counts = re.search(r"SentMessages=(\d+); ReceivedMessages=(\d+)", text)
        print(counts.group(0), re.search(r"# dropped.*", text).group(0))
        assert re.search("dropped messages = 0; # duplicated messages = 0;"
                         " # out-of-order messages = 0", text)
        # The last one may be on its way when the time is over.
        assert 0 <= int(counts.group(1)) - int(counts.group(2)) <= 1
        assert int(counts.group(2)) > 500
        now = end(lb4)
        assert now["dropped"] == 0 and now["datagrams_in"] >= int(counts.group(1))
