"""Trouble that is ours, not the server's: no descriptor, no local port, a stop, a connect that
ended up at itself. No server goes down for it, and none is called up."""
import contextlib
import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest

import namespace
import pools
import servers
import stopping

LISTEN = "127.0.0.1:7000"
N_SERVERS = 3
CHECK = "check tcp interval 50ms timeout 50ms fall 1 rise 1"
LIMIT_S = 30
STOP_S = 1.5

needs_nft = pytest.mark.skipif(not namespace.has_nft(), reason="nft is not installed")


@pytest.fixture
def pool():
    with pools.make(N_SERVERS) as pool:
        yield pool


def start(start_lb4, addresses, check=CHECK, **more):
    return start_lb4(["-w", "1"], config=pools.config(LISTEN, addresses, check), **more)


def outcomes(lb4, start_line=0):
    """[outcome] of the probes in the log from a line on."""
    with lb4.changed:
        lines = lb4.lines[start_line:]
    found = [re.search(r" probe server=\S+ outcome=(\w+) ", line) for line in lines]
    return [match.group(1) for match in found if match]


def wait_outcomes(lb4, count, outcome, start_line=0):
    lb4.wait_for(lambda: outcomes(lb4, start_line).count(outcome) >= count, LIMIT_S,
                 f"fewer than {count} probes that are {outcome}")


def changes(lb4):
    return [line for line in lb4.lines if re.search(r" is (DOWN|UP)\b| is flapping", line)]


# --- self-connect

def client_end(listen, source_port):
    """How a client ends that is bound to a port, since the ephemeral range is not for it."""
    host = listen.rsplit(":", 1)[0].strip("[]")
    try:
        with servers.connect(listen, source=(host, source_port)) as client:
            return servers.read_end(client)
    except ConnectionResetError:
        return "rst"


def test_a_connect_to_itself_is_no_sign_of_life(start_lb4, family, is_full):
    """The ephemeral range is the dead server's port alone: each probe would find itself there."""
    count = 1000 if is_full else 100
    port, sources = namespace.take_port(), namespace.take_ports(5)
    listen = namespace.address(family, namespace.take_port())
    text = pools.config(listen, [namespace.address(family, port)],
                        "check tcp interval 2ms timeout 100ms fall 1 rise 1")
    with namespace.sysctl("net.ipv4.ip_local_port_range", f"{port} {port}"):
        lb4 = start_lb4(["-w", "1"], config=text)
        lb4.wait_line("server web/s1 is DOWN")
        wait_outcomes(lb4, count, "refused")
        found = outcomes(lb4)
        ends = [client_end(listen, source) for source in range(sources, sources + 5)]
    print(f"{found.count('refused')} of {len(found)} refused")
    assert "ok" not in found
    assert found.count("refused") >= 0.99 * len(found)
    assert ends == ["rst"] * 5
    assert not [line for line in lb4.lines if " is UP" in line]


# --- no descriptor, no port

@contextlib.contextmanager
def no_descriptors(lb4):
    """Lower the soft limit below what is in use, as its own user may."""
    def set_soft(limit):
        subprocess.run(["prlimit", f"--pid={lb4.pid}", f"--nofile={limit}:"], check=True,
                       **lb4.drop)

    limits = pathlib.Path(f"/proc/{lb4.pid}/limits").read_text()
    before = re.search(r"^Max open files\s+(\d+)", limits, re.M).group(1)
    set_soft(3)
    try:
        yield
    finally:
        set_soft(before)


def test_no_descriptor_is_no_verdict(start_lb4, pool):
    """Every probe is unknown, and nothing changes."""
    lb4 = start(start_lb4, pool.texts)
    with no_descriptors(lb4):
        wait_outcomes(lb4, 20, "unknown", len(lb4.lines))
    wait_outcomes(lb4, 20, "ok", len(lb4.lines))
    assert not changes(lb4)
    assert pools.ask_name(LISTEN) in range(N_SERVERS)
    lb4.finish()
    summary = lb4.summary()
    assert sum(summary["server", f"web/s{i + 1}"]["checks_unknown"] for i in range(3)) >= 20
    assert sum(summary["server", f"web/s{i + 1}"]["checks_failed"] for i in range(3)) == 0


def test_no_descriptor_keeps_a_dead_server_down(start_lb4, pool):
    lb4 = start(start_lb4, pool.texts)
    pool.close(1)
    lb4.wait_line("server web/s2 is DOWN")
    with no_descriptors(lb4):
        wait_outcomes(lb4, 20, "unknown", len(lb4.lines))
        assert len(changes(lb4)) == 1
    pool.open(1)
    lb4.wait_line("server web/s2 is UP")


def test_no_local_port_is_no_verdict(start_lb4, pool):
    """All ports of the ephemeral range are taken towards every server."""
    lb4 = start(start_lb4, pool.texts)
    with contextlib.ExitStack() as stack:
        first = namespace.take_ports(4)
        ports = range(first, first + 4)
        stack.enter_context(namespace.sysctl("net.ipv4.ip_local_port_range",
                                             f"{ports[0]} {ports[-1]}"))
        # A probe's port may be in use for another moment, its leave is not ours to hurry.
        servers.wait_until(lambda: all(take_ports_towards(stack, ports, host_port)
                                       for host_port in pool.addresses), what="ports taken")
        wait_outcomes(lb4, 20, "unknown", len(lb4.lines))
        stack.close()
        wait_outcomes(lb4, 20, "ok", len(lb4.lines))
    assert not changes(lb4)
    lb4.finish()
    summary = lb4.summary()
    assert sum(summary["server", f"web/s{i + 1}"]["checks_failed"] for i in range(3)) == 0


def take_ports_towards(stack, ports, address):
    """Connect from each port of the range; True once none can be had any more."""
    for port in ports:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.connect(address)
        except OSError:
            sock.close()
            continue
        stack.callback(servers.reset, sock)
    with socket.socket() as sock:
        return sock.connect_ex(address) != 0


def test_few_descriptors_are_enough_for_many_servers(start_lb4):
    """100 servers and more clients than descriptors: every server is probed, none goes down."""
    with pools.make(100) as pool, contextlib.ExitStack() as stack:
        lb4 = start(start_lb4, pool.texts,
                    "check tcp interval 500ms timeout 200ms fall 1 rise 1", nofile=64)
        for _ in range(80):
            stack.enter_context(servers.connect(LISTEN))
        first = len(lb4.lines)
        wait_outcomes(lb4, 400, "ok", first)
        probed = {line.split(" server=")[1].split()[0]
                  for line in lb4.lines[first:] if " probe server=" in line}
        found = outcomes(lb4)
        print(f"{found.count('unknown')} of {len(found)} unknown")
        assert len(probed) == 100
        assert not changes(lb4)
        assert "failed" not in found and found.count("unknown") <= 0.05 * len(found)


# --- an end in the middle

@needs_nft
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_an_end_does_not_wait_for_first_probes(start_lb4, number):
    """200 servers that do not answer, each of which may take a minute."""
    port = namespace.take_port()
    addresses = [f"127.3.0.{i + 1}:{port}" for i in range(200)]
    text = pools.config(LISTEN, addresses, "check tcp interval 1m timeout 1m", "timeout connect 1m")
    with namespace.filtered_port("held", port), contextlib.ExitStack() as stack:
        lb4 = start_lb4(["-w", "1"], config=text, waits=False)
        lb4.wait_line(r"\bready\b")
        servers.wait_until(lambda: is_connecting_to(port), what="a probe on its way")
        client = None
        if number == signal.SIGINT:  # TERM would let it wait for a server
            client = stack.enter_context(servers.connect(LISTEN))
        began = time.monotonic()
        lb4.signal(number)
        lb4.check_end()
        lb4.is_finished = True
        assert time.monotonic() - began < 10
        if client:
            with pytest.raises(ConnectionResetError):
                client.recv(1)
    assert not changes(lb4)
    assert "first probes are done" not in "\n".join(lb4.lines)


# --- a process that was stopped

def test_a_stop_takes_no_server_down(start_lb4, pool, repeats):
    lb4 = start(start_lb4, pool.texts)
    for _ in range(min(repeats, 10)):
        first = len(lb4.lines)
        stopping.stop(lb4)
        time.sleep(STOP_S)
        stopping.go_on(lb4)
        wait_outcomes(lb4, 2 * N_SERVERS, "ok", first)
    assert not changes(lb4)
    assert "failed" not in outcomes(lb4)


@needs_nft
def test_a_probe_answered_during_a_stop_is_a_success(start_lb4):
    """Its time is over when lb4 reads the clock again, but the server had answered long before."""
    timeout_s = 2
    with pools.make(1) as pool:
        (_, port), = pool.addresses
        lb4 = start(start_lb4, pool.texts,
                    f"check tcp interval 100ms timeout {timeout_s}s fall 1 rise 1")
        with namespace.filtered_port("held", port):
            servers.wait_until(lambda: is_connecting_to(port), what="a probe on its way")
            n_accepted = len(pool.accepted_at[0])
            stopping.stop(lb4)
            stopped = time.monotonic()
        servers.wait_until(lambda: len(pool.accepted_at[0]) > n_accepted, what="the repeated SYN")
        time.sleep(max(0, stopped + timeout_s + 0.7 - time.monotonic()))
        first = len(lb4.lines)
        stopping.go_on(lb4)
        wait_outcomes(lb4, 3, "ok", first)
        assert not changes(lb4)
        assert "failed" not in outcomes(lb4)


def is_connecting_to(port):
    """Does a connect to this port of 127.0.0.1 wait for its answer?"""
    with open("/proc/self/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table][1:]
    return any(row[2].endswith(f":{port:04X}") and row[3] == "02" for row in rows)
