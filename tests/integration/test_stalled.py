"""1,000 stalled connections of each kind cost next to no CPU and little memory: whatever a
connection waits for, lb4 must not be woken for it again and again (F20), nor hold much."""
import fcntl
import os
import select
import socket
import termios
import time

import pytest

import daemon
import namespace
import servers

N_STALLED = 1000
N_SMALL_SEGMENTS = 300  # in CI: a million small sends take their time
CPU_BAR = 0.01
MEMORY_BAR_BYTES = 64 * 1024  # for each connection
WINDOW_S = 1
SMALL = 4096
BUFFERS = "4096 16384 65536"  # of the kernel's sockets: 1,000 times megabytes is too much for CI


class Pairs:
    """Connections through lb4 with both ends in our hands."""

    def __init__(self, family, connect_to, listener, count):
        self.clients, self.servers = [], []
        for _ in range(count):
            client = socket.socket(socket.AF_INET6 if family == "v6" else socket.AF_INET)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            client.connect((namespace.LOOPBACK[family], connect_to))
            client.setblocking(False)
            listener.settimeout(daemon.END_LIMIT_S)
            server, _ = listener.accept()
            server.setblocking(False)
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.clients.append(client)
            self.servers.append(server)

    def close(self):
        for sock in self.clients + self.servers:
            servers.reset(sock)


def wait_readable(socks):
    """Until each has something to read: the other side's FIN."""
    for sock in socks:
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        assert poller.poll(daemon.END_LIMIT_S * 1000)


def send_until_full(socks, piece=bytes(65536), n_pieces=1):
    """Send on all until nobody takes anything for a while; bytes sent."""
    poller = select.poll()
    by_number = {sock.fileno(): sock for sock in socks}
    for number in by_number:
        poller.register(number, select.POLLOUT)
    n_sent = 0
    while True:
        ready = poller.poll(300)
        if not ready:
            return n_sent
        for number, events in ready:
            try:
                for _ in range(n_pieces):
                    n_sent += by_number[number].send(piece)
            except BlockingIOError:
                pass
            except OSError:
                poller.unregister(number)


def stall_client(pairs):
    send_until_full(pairs.servers)


def stall_server(pairs):
    send_until_full(pairs.clients)


def stall_both(pairs):
    send_until_full(pairs.clients)
    send_until_full(pairs.servers)


def stall_small_segments(pairs):
    send_until_full(pairs.servers, bytes(100), 64)


def stall_then_fin(pairs):
    send_until_full(pairs.servers)
    for sock in pairs.servers:
        sock.shutdown(socket.SHUT_WR)


def stall_both_then_fin(pairs):
    stall_both(pairs)
    for sock in pairs.clients + pairs.servers:
        sock.shutdown(socket.SHUT_WR)


def stay_half_closed(pairs):
    for sock in pairs.clients:
        sock.shutdown(socket.SHUT_WR)
    wait_readable(pairs.servers)


def stay_half_closed_by_server(pairs):
    for sock in pairs.servers:
        sock.shutdown(socket.SHUT_WR)
    wait_readable(pairs.clients)


KINDS = [stall_client, stall_server, stall_both, stall_small_segments, stall_then_fin,
         stall_both_then_fin, stay_half_closed, stay_half_closed_by_server]


def bytes_in_pipes(pid):
    """What the pipes of a process hold."""
    seen, total = set(), 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        try:
            target = os.readlink(path)
            if target.startswith("pipe:") and target not in seen:
                seen.add(target)
                pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                total += int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), "little")
                os.close(pipe)
        except FileNotFoundError:
            pass
    return total


@pytest.fixture
def small_buffers():
    with namespace.sysctl("net.ipv4.tcp_rmem", BUFFERS), \
            namespace.sysctl("net.ipv4.tcp_wmem", BUFFERS):
        yield


@pytest.fixture
def n_stalled(request, is_full):
    params = request.node.callspec.params
    is_slow = params.get("kind") is stall_small_segments and not is_full
    return N_SMALL_SEGMENTS if is_slow else N_STALLED


@pytest.fixture
def stalled(start_lb4, splice, small_buffers, n_stalled):
    """A daemon with n_stalled connections, and the figures before them."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    server_port, connect_port = namespace.take_port(), namespace.take_port()
    listener.bind(("127.0.0.1", server_port))
    listener.listen(4096)
    lb4 = start_lb4(["-w", "2", "-l", f"127.0.0.1:{connect_port}",
                     "-s", f"127.0.0.1:{server_port}"], splice=splice)
    rss_before = lb4.rss_bytes()
    pairs = Pairs("v4", connect_port, listener, n_stalled)
    yield lb4, pairs, rss_before
    pairs.close()
    listener.close()


def check_load(lb4, what):
    cpu, wakeups = lb4.load_during(WINDOW_S)
    print(f"{what}: CPU {cpu:.2%}, {wakeups:.0f} wake-ups/s")
    assert cpu <= CPU_BAR or daemon.IS_SANITIZED and cpu <= 5 * CPU_BAR


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_stalled(stalled, kind, n_stalled):
    lb4, pairs, rss_before = stalled
    kind(pairs)
    held = lb4.rss_bytes() - rss_before + bytes_in_pipes(lb4.pid)
    print(f"{held / n_stalled / 1024:.1f} KiB each, in pipes {bytes_in_pipes(lb4.pid)} B")
    check_load(lb4, kind.__name__)
    assert held <= n_stalled * MEMORY_BAR_BYTES or daemon.IS_SANITIZED
    assert not lb4.closed["rule1"], "stalled connections are alive"


def test_reset_with_full_buffers_leaves_nothing_behind(stalled, n_stalled):
    """The data that nobody reads is waited for at most a second, then the reset is passed on."""
    lb4, pairs, _ = stalled
    send_until_full(pairs.servers)
    started = time.monotonic()
    for sock in pairs.servers:
        servers.reset(sock)
    ends = lb4.wait_n_closed("rule1", n_stalled)
    print(f"all {n_stalled} ended {time.monotonic() - started:.2f} s after the reset")
    assert {end["reason"] for end in ends} == {"server_rst"}
    pairs.servers = []
    check_load(lb4, "after the resets")
