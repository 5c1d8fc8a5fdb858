"""1,000 servers of which 500 are silent: every one is probed on time, the probes are spread, and
cost little. Seen in the log, and by the servers themselves. The same for checks that talk, to servers
of which half are hung: they accept, and never answer."""
import bisect
import contextlib
import pathlib
import re
import selectors
import socket
import statistics
import time

import pytest

import daemon
import pools
import namespace
import servers

N_LIVE = N_SILENT = 500
INTERVAL_S = 2
TIMEOUT_S = 1
LISTEN = "127.0.0.1:7000"
LATE_BAR_S = 0.1 * INTERVAL_S
GAP_BAR_S = 1.1 * INTERVAL_S
WINDOW_S = 0.1
SPREAD_BAR = 1.5
SEEN_SPREAD_BAR = 1.8  # only half of the probes are seen there: chance has more room
CPU_BAR = 0.05
RSS_BAR_BYTES = 32 << 20
SLACK = 3  # CI shares its processors

pytestmark = pytest.mark.serial

ANSWERS = {"http": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfine\n", "redis": b"+PONG\r\n"}


class Answering(pools.Pool):
    """Servers that answer whatever they are asked."""

    def __init__(self, addresses, answer):
        self.answer = answer
        super().__init__(addresses)

    def accept(self, listener, index):
        sock, _ = listener.accept()
        self.accepted_at[index].append(time.monotonic())
        sock.setblocking(False)
        self.held.add(sock)
        self.n_active[index] += 1
        self.selector.register(sock, selectors.EVENT_READ, (self.read, index))

    def read(self, sock, index):
        with contextlib.suppress(OSError):
            if sock.recv(65536):
                sock.send(self.answer)
                return
        self.selector.unregister(sock)
        self.forget(sock, index)


@contextlib.contextmanager
def hung(port):
    """Servers as SIGSTOP makes them: the kernel accepts for them, and that is all."""
    with contextlib.ExitStack() as stack:
        for host in hosts_of(3, N_SILENT):
            stack.enter_context(socket.create_server((host, port), backlog=4096))
        yield


def hosts_of(net, count):
    return [f"127.{net}.{i // 250}.{i % 250 + 1}" for i in range(count)]


@pytest.fixture(scope="module", params=["tcp", "http /health", "redis"])
def check(request):
    if request.param == "tcp" and not namespace.has_nft():
        pytest.skip("nft is not installed")
    if request.param == "redis" and not request.getfixturevalue("is_full"):
        pytest.skip("in the long form only: http shows the same")
    return request.param


@pytest.fixture(scope="module")
def live(check):
    port = namespace.take_port()
    addresses = [(host, port) for host in hosts_of(2, N_LIVE)]
    answer = ANSWERS.get(check.split()[0])
    with Answering(addresses, answer) if answer else pools.Pool(addresses) as live:
        yield live


@pytest.fixture(scope="module")
def silent(check):
    """Addresses whose packets are dropped, or of servers that are hung."""
    port = namespace.take_port()
    with namespace.filtered_port("held", port) if check == "tcp" else hung(port):
        yield [f"{host}:{port}" for host in hosts_of(3, N_SILENT)]


def start(start_lb4, live, silent, check, debug):
    """A daemon that has judged all of them."""
    mixed = [address for pair in zip(live.texts, silent) for address in pair]
    text = pools.config(
        LISTEN, mixed, f"check {check} interval {INTERVAL_S}s timeout {TIMEOUT_S}s fall 3 rise 2")
    started = time.monotonic()
    lb4 = start_lb4(["-w", "1"], config=text, debug=debug)
    print(f"judged after {time.monotonic() - started:.2f} s")
    lb4.wait_line(rf"first probes are done: {N_LIVE} of {N_LIVE + N_SILENT} servers are up")
    lb4.descriptors_at_start = None  # probes of silent servers are under way at any time
    return lb4


def prober_cpu_s(pid):
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == "prober":
            return int((task / "schedstat").read_text().split()[0]) / 1e9
    raise AssertionError("no thread is named prober")


def bar(strict, is_full, slack=SLACK):
    return strict if is_full and not daemon.IS_SANITIZED else strict * slack


def spread_of(times, first, last):
    """(max in aligned windows, max in any window) / mean, of events between two instants."""
    times = sorted(at for at in times if first <= at < last)
    n_windows = int((last - first) / WINDOW_S)
    mean = len(times) / ((last - first) / WINDOW_S)
    aligned = [0] * (n_windows + 1)
    for at in times:
        aligned[int((at - first) / WINDOW_S)] += 1
    sliding = max(bisect.bisect_left(times, at + WINDOW_S) - i for i, at in enumerate(times))
    return max(aligned) / mean, sliding / mean


def probes_in(lines):
    """[(server, outcome, start, late)] of the log's lines, seconds of the day."""
    pattern = re.compile(r"T(\d\d):(\d\d):(\d\d\.\d{3})Z \S+ [^:]*: probe server=(\S+) "
                         r"outcome=(\w+) .*late_us=(\d+) took_us=(\d+)")
    found = []
    for line in lines:
        match = pattern.search(line)
        if match:
            hours, minutes, seconds, server, outcome, late_us, took_us = match.groups()
            at = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
            found.append((server, outcome, at - int(took_us) / 1e6, int(late_us) / 1e6))
    return found


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def let_pass(seconds):
    """An observation of so many seconds."""
    time.sleep(seconds)


def test_probes_are_on_time_and_spread(start_lb4, live, silent, check, is_full):
    lb4 = start(start_lb4, live, silent, check, debug=True)
    let_pass(INTERVAL_S)
    n_before, first = len(lb4.lines), time.monotonic()
    let_pass(20 if is_full else 6)
    last, lines = time.monotonic(), lb4.lines[n_before:]
    probes = probes_in(lines)
    check_log(probes, is_full)
    check_accepts(live, first, last, is_full)
    assert {server for server, *_ in probes} == {f"web/s{i + 1}" for i in range(N_LIVE + N_SILENT)}
    assert not [line for line in lines if " is DOWN" in line or " is UP" in line]


def check_log(probes, is_full):
    """Lateness, and the spread over time."""
    late = [late for *_, late in probes]
    # Where others use the processors the prober's turns come late, and then bring many at once:
    # how they are spread is seen by when they were due.
    starts = sorted(start if is_full else start - late for _, _, start, late in probes)
    # Probes of silent servers are told when they time out: those on their way are missing at the
    # end, and before the beginning.
    aligned, sliding = spread_of(starts, starts[0] + TIMEOUT_S, starts[-1] - TIMEOUT_S)
    print(f"log: {len(probes)} probes; late p50 {statistics.median(late) * 1e3:.2f} ms, p99 "
          f"{percentile(late, 0.99) * 1e3:.1f} ms, max {max(late) * 1e3:.1f} ms; per 100 ms "
          f"max/mean {aligned:.2f}, in any window {sliding:.2f}")
    assert {outcome for _, outcome, _, _ in probes} == {"ok", "failed"}
    assert percentile(late, 0.99) <= bar(LATE_BAR_S, is_full)
    assert aligned <= bar(SPREAD_BAR, is_full, 1.3)


def check_accepts(live, first, last, is_full):
    """The same without trust in the log."""
    gaps = []
    for times in live.accepted_at:
        times = [at for at in times if first - GAP_BAR_S <= at < last]
        gaps += [later - earlier for earlier, later in zip(times, times[1:])]
        assert times and last - times[-1] <= bar(GAP_BAR_S, is_full), "a server was forgotten"
    aligned, sliding = spread_of([at for times in live.accepted_at for at in times], first, last)
    print(f"servers: {len(gaps)} gaps, mean {statistics.mean(gaps):.3f} s, min {min(gaps):.3f}, "
          f"max {max(gaps):.3f}; per 100 ms max/mean {aligned:.2f}, in any window {sliding:.2f}")
    assert max(gaps) <= bar(GAP_BAR_S, is_full)
    if is_full and not daemon.IS_SANITIZED:  # elsewhere it is the machine's spread, not lb4's
        assert aligned <= SEEN_SPREAD_BAR


def test_the_prober_costs_little(start_lb4, live, silent, check, is_full):
    """Without -v. Clients are served meanwhile, by servers that live."""
    lb4 = start(start_lb4, live, silent, check, debug=False)
    let_pass(INTERVAL_S)
    at_start, started = prober_cpu_s(lb4.pid), time.monotonic()
    let_pass(20 if is_full else 3)
    share = (prober_cpu_s(lb4.pid) - at_start) / (time.monotonic() - started)
    rss = lb4.rss_bytes()
    print(f"prober {share:.2%} of a CPU, RSS {rss / 2**20:.1f} MiB")
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            client = stack.enter_context(servers.connect(LISTEN))
            if check == "tcp":
                pools.read_name(client)
            else:
                client.sendall(b"anything")
                assert client.recv(5) in (b"HTTP/", b"+PONG")
    assert share <= bar(CPU_BAR, is_full)
    if not daemon.IS_SANITIZED:
        assert rss <= RSS_BAR_BYTES
    lb4.finish()
    checks = [values for (kind, _), values in lb4.summary().items() if kind == "server"]
    assert len(checks) == N_LIVE + N_SILENT
    assert sum(values["checks_unknown"] for values in checks) == 0
