"""Two small actors at the ends of a TCP connection, told what to do by a line of verbs.

A script is verbs separated by `|`, for instance "send 100 | fin | end". Every byte that an actor
sends follows from its tag, and every byte that it receives is compared with what the other actor's
tag says, so loss, repetition, reordering and foreign bytes all show. The same scripts run through
lb4 and without it.

    send N [in SIZE]   N bytes, in pieces of SIZE
    more N             N bytes with MSG_MORE, so that a following fin travels with the last of them
    urgent             one urgent byte (it may be dropped on the way; it is not counted)
    fill               send until nothing has been taken for a while
    flush              wait until the kernel at the other end has all that was sent
    queued N           wait until N bytes are here to be read
    recv N             read N bytes more
    end                read to the end: FIN or RST
    swap N             send N bytes, then FIN, while reading to the end
    push N             send N bytes while reading to the end, without FIN; errors only stop sending
    reset              wait for a reset without reading
    fin, rst, close    shutdown(SHUT_WR); close with linger 0; close
    stall MS           do nothing
    widen              give a receiver with a small buffer a large one, once its stall is over: with
                       a window below its segments' size the kernel's sender crawls by its persist
                       timer, 2 kB each 200 ms, in rare runs and whoever sends
    trickle N MS       N bytes, one each MS
    ping N, pong N     N rounds of one byte and of 100 bytes; ping fails if the median is high
    meet               wait for the other actor to come to its `meet`
    release, vanish    (with nft) let held connects through; drop all from and to this end

`end` and `reset` take bounds in milliseconds, counted from the start of the verb: "reset within
2500", "end after 900 within 2500".
"""
import array
import errno
import fcntl
import random
import select
import socket
import statistics
import struct
import termios
import threading
import time

import namespace

URGENT = b"\xff"  # never part of a stream, so that a receiver can tell it
READ_BYTES = 262144
FILL_QUIET_S = 0.25
WIDE_BYTES = 1 << 20
CORK_S = 0.040  # the kernel's shortest delay of an acknowledgement

_BLOCK_BYTES = 4 * 1024 * 1024 + 3
_BLOCK = random.Random(4).randbytes(_BLOCK_BYTES).replace(URGENT, b"\0")
_STREAM = memoryview(_BLOCK + _BLOCK[:1 << 21])  # any piece of a send or a recv in one slice


class CaseTimeout(Exception):
    pass


class Case:
    """What the two actors of one connection share."""

    def __init__(self, tag, limit_s, server_port=0):
        self.tag = tag
        self.deadline = time.monotonic() + limit_s
        self.server_port = server_port
        self.barrier = threading.Barrier(2)
        self.vanished_port = 0

    def left_s(self):
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise CaseTimeout
        return left


class Actor:
    """One end of a connection. After run(): n_received, end ("fin", "rst", "timeout" or None when
    the script did not look) and problems (texts)."""

    def __init__(self, role, case, sock=None):
        self.role = role
        self.case = case
        self.before = time.monotonic()  # lb4's clock for the present verb runs since then or later
        self.sock = sock
        self.n_received = 0
        self.n_sent = 0
        self.n_urgent = 0
        self.end = None
        self.can_send = True
        self.is_reset = False  # a send was told so; the kernel reports it once, recv then says 0
        self.problems = []
        own, other = (2 * case.tag, 2 * case.tag + 1)
        if role == "server":
            own, other = other, own
        self.send_from = own * 7919 % _BLOCK_BYTES
        self.expect_from = other * 7919 % _BLOCK_BYTES

    def run(self, script):
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for number, verb in enumerate(script.split("|")):
                words = verb.split()
                began = time.monotonic()
                if words and self.sock is not None:
                    getattr(self, "do_" + words[0])(*words[1:])
                if number > 0:
                    self.before = began
        except CaseTimeout:
            self.problems.append(f"{self.role}: no progress in '{verb.strip()}' of '{script}'")
            self.end = self.end or "timeout"
        except threading.BrokenBarrierError:
            self.problems.append(f"{self.role}: the other side did not come to meet")
        finally:
            if self.problems:
                self.case.barrier.abort()
            self.close()

    def close(self):
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    # --- sending

    def do_send(self, count, _in="in", piece=None):
        self.pump(int(count), None, piece=int(piece or 1 << 30))

    def do_more(self, count):
        self.pump(int(count), None, flags=socket.MSG_MORE)

    def do_urgent(self):
        self.wait(select.POLLOUT)
        try:
            self.sock.send(URGENT, socket.MSG_OOB)
        except OSError as error:
            self.problems.append(f"{self.role}: urgent byte: {error}")

    def do_fill(self):
        while self.can_send:
            ready = self.poll(select.POLLOUT, FILL_QUIET_S)
            if not ready:
                return
            self.send_some(1 << 20)
            self.case.left_s()

    def do_trickle(self, count, interval_ms):
        for _ in range(int(count)):
            self.do_stall(interval_ms)
            self.pump(1, None)

    def do_flush(self):
        unsent = array.array("i", [0])
        while fcntl.ioctl(self.sock, termios.TIOCOUTQ, unsent) == 0 and unsent[0] > 0:
            self.case.left_s()
            time.sleep(0.001)

    # --- receiving

    def do_queued(self, count):
        unread = array.array("i", [0])
        while fcntl.ioctl(self.sock, termios.FIONREAD, unread) == 0 and unread[0] < int(count):
            self.case.left_s()
            time.sleep(0.001)

    def do_recv(self, count):
        self.pump(0, self.n_received + int(count))

    def do_end(self, *bounds):
        with self.timed("end", bounds):
            self.pump(0, 1 << 60)

    def do_swap(self, count):
        self.pump(int(count), 1 << 60, then_fin=True)

    def do_push(self, count):
        self.pump(int(count), 1 << 60)

    def do_reset(self, *bounds):
        with self.timed("reset", bounds):
            while not self.poll(0, 0.05) & select.POLLERR:
                self.case.left_s()
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.end = "rst" if code in (errno.ECONNRESET, errno.EPIPE) else errno.errorcode[code]

    # --- both ways

    def do_ping(self, rounds):
        took = []
        for size in [1, 100] * (int(rounds) // 2):
            started = time.monotonic()
            self.pump(size, None)
            self.pump(0, self.n_received + size)
            took.append(time.monotonic() - started)
        median = statistics.median(took)
        if median > CORK_S:
            self.problems.append(f"median round {median * 1000:.1f} ms: something is corked")

    def do_pong(self, rounds):
        for size in [1, 100] * (int(rounds) // 2):
            self.pump(0, self.n_received + size)
            self.pump(size, None)

    # --- endings and pauses

    def do_fin(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise

    def do_rst(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def do_close(self):
        self.close()

    def do_stall(self, duration_ms):
        time.sleep(int(duration_ms) / 1000)

    def do_widen(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WIDE_BYTES)

    def do_meet(self):
        self.case.barrier.wait(self.case.left_s())

    def do_release(self):
        namespace.unfilter_port("held", self.case.server_port)

    def do_vanish(self):
        self.case.vanished_port = self.sock.getsockname()[1]
        namespace.filter_port("gone", self.case.vanished_port)

    # --- what the verbs are made of

    def timed(self, verb, bounds):
        return _Bounds(self, verb, dict(zip(bounds[::2], map(int, bounds[1::2]))))

    def poll(self, events, timeout_s):
        poller = select.poll()
        poller.register(self.sock, events)
        ready = poller.poll(timeout_s * 1000)
        return ready[0][1] if ready else 0

    def wait(self, events):
        ready = self.poll(events, self.case.left_s())
        if not ready:
            raise CaseTimeout
        return ready

    def pump(self, n_send, receive_to, piece=1 << 30, flags=0, then_fin=False):
        """Send n_send bytes, and unless receive_to is None read until that many bytes have come
        in all, or the end."""
        send_to = self.n_sent + n_send
        is_reading = receive_to is not None
        while True:
            is_sending = self.can_send and self.n_sent < send_to
            if then_fin and not is_sending:
                self.do_fin()
                then_fin = False
            is_reading = is_reading and not self.end and self.n_received < receive_to
            if not is_sending and not is_reading:
                return
            mask = (select.POLLOUT if is_sending else 0) | (select.POLLIN if is_reading else 0)
            ready = self.wait(mask)
            if is_reading and ready & ~select.POLLOUT:
                self.receive_some(receive_to - self.n_received)
            if is_sending and ready & ~select.POLLIN:
                self.send_some(min(piece, send_to - self.n_sent), flags)

    def send_some(self, most, flags=0):
        start = (self.send_from + self.n_sent) % _BLOCK_BYTES
        try:
            self.n_sent += self.sock.send(_STREAM[start:start + min(most, 1 << 20)], flags)
        except BlockingIOError:
            pass
        except (ConnectionResetError, BrokenPipeError):
            self.can_send = False
            self.is_reset = True

    def receive_some(self, most):
        try:
            data = self.sock.recv(min(most, READ_BYTES))
        except BlockingIOError:
            return
        except ConnectionResetError:
            self.end = "rst"
            return
        except OSError as error:
            self.end = errno.errorcode[error.errno]
            return
        if not data:
            self.end = "rst" if self.is_reset else "fin"
            return
        n_urgent = data.count(URGENT)
        if n_urgent:
            data = data.replace(URGENT, b"")
            self.n_urgent += n_urgent
        start = (self.expect_from + self.n_received) % _BLOCK_BYTES
        if data != _STREAM[start:start + len(data)] and not self.problems:
            self.problems.append(f"{self.role}: wrong bytes at or after {self.n_received}")
        self.n_received += len(data)


class _Bounds:
    """Times a verb and notes a problem when it took less than `after` or more than `within`. What
    it waits for may run since the verb before, which a loaded machine separates from it, and after
    the first verb since the connect: `after` counts from there."""

    def __init__(self, actor, verb, bounds):
        self.actor, self.verb, self.bounds = actor, verb, bounds

    def __enter__(self):
        self.started = time.monotonic()

    def __exit__(self, *_):
        now = time.monotonic()
        took_ms = (now - self.started) * 1000
        low, high = self.bounds.get("after", 0), self.bounds.get("within", 1 << 40)
        if (now - self.actor.before) * 1000 < low or took_ms > high:
            self.actor.problems.append(
                f"{self.actor.role}: {self.verb} took {took_ms:.0f} ms, not {low}..{high}")
