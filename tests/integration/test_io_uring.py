"""Small sends of many connections leave in one system call, where the kernel lets lb4 have a ring;
where it does not, or takes it back, the same bytes come in the same order."""
import contextlib
import os
import pathlib
import random
import re
import selectors
import shutil
import signal
import socket
import time

import pytest

import servers

LISTEN = "127.0.0.1:7000"
N_PAIRS = 64
LIMIT_S = 20
STORM_S = 4
NO_RING = r"INFO \w+: io_uring: .*: small sends leave one by one"
LOST_RING = r"INFO worker \d+: io_uring: .*: small sends leave one by one from now on"
WITHOUT_LEAKS = {"ASAN_OPTIONS": "detect_leaks=0"}  # LeakSanitizer cannot be traced

needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
KERNEL = tuple(int(word) for word in re.match(r"(\d+)\.(\d+)", os.uname().release).groups())
BLOB = random.Random(9).randbytes(1 << 20)


def pattern(seed, at, n):
    """The bytes of a stream from a place on: no two streams are alike, and no shift goes unseen."""
    at = (at + seed * 7919) % len(BLOB)
    part = BLOB[at:at + n]
    return part if len(part) == n else part + BLOB[:n - len(part)]


class End:
    """One end of a connection: what it says is its own stream, what it hears is its peer's."""

    def __init__(self, sock, seed, peer_seed):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.seed, self.peer_seed = seed, peer_seed
        self.n_said = self.n_heard = 0
        self.owed = 0  # bytes it would have said, had the socket taken them
        self.is_shut = False
        self.ended = None  # "fin" or "rst": how the peer's stream did

    def say(self, n):
        self.owed += n
        with contextlib.suppress(BlockingIOError):
            while self.owed:
                sent = self.sock.send(pattern(self.seed, self.n_said, min(self.owed, 65536)))
                self.n_said += sent
                self.owed -= sent

    def hear(self, most=65536):
        """At most so many bytes of what is there; how many it were."""
        try:
            data = self.sock.recv(most)
        except BlockingIOError:
            return 0
        except (ConnectionResetError, BrokenPipeError):
            self.ended = "rst"
            return 0
        if not data:
            self.ended = "fin"
        assert data == pattern(self.peer_seed, self.n_heard, len(data)), \
            f"wrong bytes from {self.n_heard} on"
        self.n_heard += len(data)
        return len(data)

    def shut(self):
        self.is_shut = True
        self.sock.shutdown(socket.SHUT_WR)


class Pair:
    """A connection through lb4, of which both far ends are ours."""

    def __init__(self, listener, number):
        client = servers.connect(LISTEN)
        listener.settimeout(LIMIT_S)
        server, _ = listener.accept()
        self.client = End(client, 2 * number, 2 * number + 1)
        self.server = End(server, 2 * number + 1, 2 * number)
        self.ends = (self.client, self.server)
        self.is_reset = False

    def reset(self, end):
        """In the middle: what is on its way may be lost, but what comes is right."""
        self.is_reset = True
        end.ended = "rst"
        servers.reset(end.sock)

    def check_whole(self):
        for end, peer in (self.ends, self.ends[::-1]):
            assert end.ended == "fin" and end.n_heard == peer.n_said and peer.owed == 0

    def close(self):
        for end in self.ends:
            end.sock.close()


@contextlib.contextmanager
def connected(listener, n=N_PAIRS):
    pairs = [Pair(listener, i) for i in range(n)]
    yield pairs
    for pair in pairs:
        pair.close()


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0), backlog=256) as sock:
        yield sock


def address_of(listener):
    return "127.0.0.1:%d" % listener.getsockname()[1]


def rings(lb4):
    """The descriptors of lb4 that are rings."""
    found = []
    for path in pathlib.Path(f"/proc/{lb4.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(path) == "anon_inode:[io_uring]":
                found.append(path.name)
    return found


def n_posted(lb4):
    """Sends that the kernel has got by the rings."""
    total = 0
    for fd in rings(lb4):
        text = pathlib.Path(f"/proc/{lb4.pid}/fdinfo/{fd}").read_text()
        total += int(re.search(r"^SqTail:\s*(\d+)", text, re.M)[1])
    return total


def need_ring(lb4):
    said = [line for line in lb4.lines if re.search(NO_RING, line)]
    if said and ("Operation not permitted" in said[0] or "not implemented" in said[0]):
        pytest.skip("io_uring is forbidden here")
    if said and KERNEL < (6, 1):
        pytest.skip("this kernel does not tell how much was sent")


@contextlib.contextmanager
def stopped(lb4):
    """What is said meanwhile finds lb4 with a batch of many events."""
    lb4.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        lb4.signal(signal.SIGCONT)


def hear_all(ends, n):
    """Until each has heard n bytes in all."""
    with selectors.DefaultSelector() as selector:
        for end in ends:
            selector.register(end.sock, selectors.EVENT_READ, end)
        deadline = time.monotonic() + LIMIT_S
        while selector.get_map():
            assert time.monotonic() < deadline, "bytes that do not come"
            for key, _ in selector.select(0.1):
                key.data.hear()
                assert not key.data.ended
                if key.data.n_heard >= n:
                    selector.unregister(key.data.sock)


def ping_pong(lb4, pairs, n_rounds, n=100):
    """All say n bytes at a time, and get n bytes back; how many messages that were."""
    heard = pairs[0].server.n_heard
    for i in range(n_rounds):
        for side in ("client", "server"):
            with stopped(lb4):
                for pair in pairs:
                    getattr(pair, side).say(n)
            other = "server" if side == "client" else "client"
            hear_all([getattr(pair, other) for pair in pairs], heard + (i + 1) * n)
    return 2 * n_rounds * len(pairs)


def end_all(pairs):
    """FINs both ways; all that was said has come."""
    deadline = time.monotonic() + LIMIT_S
    left = [pair for pair in pairs if not pair.is_reset]
    while left:
        assert time.monotonic() < deadline, "connections that do not end"
        for pair in left:
            for end in pair.ends:
                end.say(0)
                if not end.owed and not end.is_shut:
                    end.shut()
                while not end.ended and end.hear():
                    pass
        left = [pair for pair in left if not all(end.ended for end in pair.ends)]
    for pair in pairs:
        if not pair.is_reset:
            pair.check_whole()


def serve_some(lb4, listener):
    """Bytes both ways on many connections, to a clean end."""
    with connected(listener, 16) as pairs:
        ping_pong(lb4, pairs, 5)
        end_all(pairs)
        lb4.wait_n_closed("rule1", 16)


# --- with a ring and without -------------------------------------------------------------------

def test_most_sends_leave_together(start_lb4, listener):
    lb4 = start_lb4(["-w", "1", "-l", LISTEN, "-s", address_of(listener)])
    need_ring(lb4)
    assert len(rings(lb4)) == 1
    with connected(listener) as pairs:
        ping_pong(lb4, pairs, 1)
        before = n_posted(lb4)
        n_messages = ping_pong(lb4, pairs, 10)
        posted = n_posted(lb4) - before
        print(f"{posted} of {n_messages} sends by the ring")
        assert 0.8 * n_messages <= posted <= n_messages
        end_all(pairs)
        lb4.wait_n_closed("rule1", N_PAIRS)
    lb4.finish()


def test_a_ring_for_each_worker(start_lb4, listener):
    lb4 = start_lb4(["-w", "3", "-l", LISTEN, "-s", address_of(listener)])
    need_ring(lb4)
    assert len(rings(lb4)) == 3
    serve_some(lb4, listener)
    lb4.finish()


@needs_strace
def test_few_system_calls(start_lb4, listener, trace):
    """As strace(1) sees it: messages by the hundred, calls of send(2) by the handful."""
    lb4 = start_lb4(["-w", "1", "-l", LISTEN, "-s", address_of(listener)], env=WITHOUT_LEAKS,
                    wrapper=["strace", "-f", "-qq", "--seccomp-bpf", "-o", str(trace),
                             "-e", "trace=io_uring_enter,sendto"])
    need_ring(lb4)
    with connected(listener) as pairs:
        ping_pong(lb4, pairs, 1)
        before = trace.read_text().count("sendto(")
        n_messages = ping_pong(lb4, pairs, 5)
        n_sends = trace.read_text().count("sendto(") - before
        end_all(pairs)
        lb4.wait_n_closed("rule1", N_PAIRS)
    lb4.finish()
    n_enters = len(re.findall(r"io_uring_enter\(.*\) = [1-9]", trace.read_text()))
    print(f"{n_messages} messages: {n_enters} calls of io_uring_enter, {n_sends} of sendto")
    assert n_sends <= 0.25 * n_messages
    assert 2 <= n_enters <= 0.25 * n_messages


@needs_strace
def test_off(start_lb4, listener, trace):
    lb4 = start_lb4(["-o", "io-uring off", "-w", "2", "-l", LISTEN, "-s", address_of(listener)],
                    env=WITHOUT_LEAKS,
                    wrapper=["strace", "-f", "-qq", "--seccomp-bpf", "-o", str(trace),
                             "-e", "trace=io_uring_setup,io_uring_enter"])
    assert not rings(lb4)
    serve_some(lb4, listener)
    lb4.finish()
    assert "io_uring" not in trace.read_text()
    assert not any(re.search(NO_RING, line) for line in lb4.lines)


@needs_strace
@pytest.mark.parametrize("error, text", [("EPERM", "Operation not permitted"),
                                         ("ENOSYS", "Function not implemented"),
                                         ("ENOMEM", "Cannot allocate memory")])
def test_where_it_is_forbidden(start_lb4, listener, trace, error, text):
    """As in most containers: said once, and each send is a call of its own."""
    lb4 = start_lb4(["-w", "2", "-l", LISTEN, "-s", address_of(listener)], env=WITHOUT_LEAKS,
                    wrapper=["strace", "-f", "-qq", "-o", str(trace), "-e",
                             "trace=io_uring_setup,io_uring_enter",
                             "-e", f"inject=io_uring_setup:error={error}"])
    assert not rings(lb4)
    serve_some(lb4, listener)
    lb4.finish()
    said = [line for line in lb4.lines if "io_uring" in line]
    assert len(said) == 1 and re.search(NO_RING, said[0]) and text in said[0]
    assert "io_uring_enter" not in trace.read_text()


@needs_strace
def test_where_some_workers_have_none(start_lb4, listener, trace):
    """RLIMIT_MEMLOCK had room for the first worker's ring only: that is said, too."""
    lb4 = start_lb4(["-w", "3", "-l", LISTEN, "-s", address_of(listener)], env=WITHOUT_LEAKS,
                    wrapper=["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=io_uring_setup",
                             "-e", "inject=io_uring_setup:error=ENOMEM:when=2+"])
    need_ring(lb4)
    assert len(rings(lb4)) == 1
    serve_some(lb4, listener)
    lb4.finish()
    said = [line for line in lb4.lines if "io_uring" in line]
    assert len(said) == 1 and "Cannot allocate memory" in said[0]
    assert said[0].endswith("small sends leave one by one in 2 of 3 workers")


@needs_strace
def test_where_it_only_seems_to_work(start_lb4, listener, trace):
    """A ring may be made, but the trial fails."""
    lb4 = start_lb4(["-w", "2", "-l", LISTEN, "-s", address_of(listener)], env=WITHOUT_LEAKS,
                    wrapper=["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=io_uring_enter",
                             "-e", "inject=io_uring_enter:error=EPERM"])
    assert not rings(lb4)
    lb4.wait_line(NO_RING)
    serve_some(lb4, listener)
    lb4.finish()


# --- taken back while it runs --------------------------------------------------------------------

@contextlib.contextmanager
def pairs_under(fault, lb4, listener, trace):
    """Pairs that have talked, before and while io_uring_enter(2) fails so, up to the block's end."""
    need_ring(lb4)
    with connected(listener) as pairs:
        ping_pong(lb4, pairs, 1)
        with lb4.traced(trace, "io_uring_enter", fault):
            ping_pong(lb4, pairs, 5)
            storm(lb4, pairs, 1, resets=False)
            yield
        end_all(pairs)


WANTS = ["error=ENOMEM", "error=ENOMEM:when=1+3", "error=EBUSY", "error=EINTR:when=1+2"]


@needs_strace
@pytest.mark.parametrize("fault", WANTS)
def test_refused_for_a_while(start_lb4, listener, trace, fault):
    """Every byte still comes, in order; then the ring serves again, and nothing was said."""
    lb4 = start_lb4(["-w", "1", "-l", LISTEN, "-s", address_of(listener)], env=WITHOUT_LEAKS)
    with pairs_under(fault, lb4, listener, trace):
        pass
    with connected(listener) as pairs:
        ping_pong(lb4, pairs, 1)
        before = n_posted(lb4)
        n_messages = ping_pong(lb4, pairs, 5)
        assert n_posted(lb4) - before >= 0.8 * n_messages
        end_all(pairs)
        lb4.wait_n_closed("rule1", 2 * N_PAIRS)
    assert "(INJECTED)" in trace.read_text()
    lb4.finish()
    assert not any("io_uring" in line for line in lb4.lines)


@needs_strace
@pytest.mark.parametrize("fault, text", [("error=EPERM", "Operation not permitted"),
                                         ("error=ENOSYS", "Function not implemented"),
                                         ("error=EACCES:when=3+", "Permission denied"),
                                         ("retval=0", "Input/output error")])
def test_refused_for_good(start_lb4, listener, trace, fault, text):
    """Every byte still comes, in order. Each worker asks once more, says so, and asks no more."""
    lb4 = start_lb4(["-w", "1", "-l", LISTEN, "-s", address_of(listener)], env=WITHOUT_LEAKS)
    with pairs_under(fault, lb4, listener, trace):
        lb4.wait_line(LOST_RING)
        assert not rings(lb4)
    lb4.wait_n_closed("rule1", N_PAIRS)
    assert trace.read_text().count("(INJECTED)") == 1
    lb4.descriptors_at_start["anon_inode"] -= 1  # the ring's
    lb4.finish()
    said = [line for line in lb4.lines if "io_uring" in line]
    assert len(said) == 1 and re.search(LOST_RING, said[0]) and text in said[0]


# --- a storm -------------------------------------------------------------------------------------

SIZES = [(60, 1, 200), (25, 201, 2048), (10, 2049, 16384), (5, 16385, 40960)]


def a_size(dice):
    _, least, most = dice.choices(SIZES, [weight for weight, _, _ in SIZES])[0]
    return dice.randint(least, most)


def act(dice, end):
    """What one end does in one round: says something, or nothing; hears little or much."""
    if not end.is_shut and dice.random() < 0.6:
        end.say(a_size(dice))
    if dice.random() < 0.8:
        end.hear(dice.choice([1, 100, 3000, 65536]) if dice.random() < 0.5 else 65536)


def storm(lb4, pairs, seconds, resets=True):
    """Rounds in which lb4 finds much at once: random sizes, pauses, slow readers, half-closes, and
    resets in the middle."""
    dice = random.Random(len(pairs))
    until = time.monotonic() + seconds
    slow = set(dice.sample(range(len(pairs)), len(pairs) // 8))
    n_rounds = 0
    while time.monotonic() < until:
        with stopped(lb4):
            for i, pair in enumerate(pairs):
                if pair.is_reset or dice.random() < 0.2:
                    continue
                if resets and dice.random() < 0.0001 and not all(end.is_shut for end in pair.ends):
                    pair.reset(dice.choice(pair.ends))
                    continue
                storm_pair(dice, pair, i in slow)
        n_rounds += 1
    return n_rounds


def storm_pair(dice, pair, is_slow):
    for end in pair.ends:
        if end.ended == "rst":
            continue
        if is_slow and end is pair.client:
            end.hear(200)
        else:
            act(dice, end)
        if not end.is_shut and not end.owed and dice.random() < 0.0002:
            end.shut()


def other_ends(pairs):
    """Who is left after a reset gets what came before, then a reset or an end."""
    deadline = time.monotonic() + LIMIT_S
    left = [end for pair in pairs if pair.is_reset for end in pair.ends if not end.ended]
    while left:
        assert time.monotonic() < deadline, "a reset that is not passed on"
        for end in left:
            while not end.ended and end.hear():
                pass
        left = [end for end in left if not end.ended]


@pytest.mark.parametrize("words", [(), ("-o", "io-uring off")], ids=["auto", "off"])
def test_integrity(start_lb4, listener, splice, words):
    """Both ways the same, to the byte."""
    lb4 = start_lb4([*words, "-w", "2", "-l", LISTEN, "-s", address_of(listener)], splice=splice)
    before = n_posted(lb4)
    with connected(listener, 2 * N_PAIRS) as pairs:
        n_rounds = storm(lb4, pairs, STORM_S)
        posted = n_posted(lb4) - before
        other_ends(pairs)
        end_all(pairs)
        n_resets = sum(pair.is_reset for pair in pairs)
        n_bytes = sum(end.n_heard for pair in pairs for end in pair.ends)
        print(f"{n_rounds} rounds, {n_bytes} bytes, {posted} sends by the ring, {n_resets} resets")
        ends = lb4.wait_n_closed("rule1", len(pairs))
    assert sum("rst" in end["reason"] for end in ends) == n_resets > 0
    if not words:
        need_ring(lb4)
        assert posted > 1000
    lb4.finish()


# --- the thread's buffer -------------------------------------------------------------------------

HEADER = b"PROXY TCP4 10.0.0.1 10.0.0.2 1000 2000\r\n"


def test_headers_among_messages(start_lb4, listener):
    """PROXY headers that are read in the same turn, whole or in part, leave others' bytes alone."""
    lb4 = start_lb4(["-w", "1"], config=f"""service rule1 {{
    listen tcp {LISTEN}
    listen tcp 127.0.0.1:7001 accept-proxy from 127.0.0.1
    server s1 {address_of(listener)}
}}
""")
    need_ring(lb4)
    with connected(listener) as pairs, contextlib.ExitStack() as stack:
        n_heads = N_PAIRS // 4
        heads = [stack.enter_context(servers.connect("127.0.0.1:7001")) for _ in range(n_heads)]
        ping_pong(lb4, pairs, 1)  # lb4 has met all of them
        before = n_posted(lb4)
        with stopped(lb4):
            for i, pair in enumerate(pairs):
                pair.client.say(100)
                if i % 4 == 3:
                    heads[i // 4].sendall(HEADER if i % 8 == 3 else HEADER[:20])
        hear_all([pair.server for pair in pairs], 200)
        assert n_posted(lb4) - before > N_PAIRS // 2
        end_all(pairs)
        for head in heads:
            servers.reset(head)
        lb4.wait_n_closed("rule1", N_PAIRS + n_heads)
    lb4.finish()
