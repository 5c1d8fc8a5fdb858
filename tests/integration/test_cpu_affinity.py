"""Each worker on a CPU of its own, if there are as many as CPUs that lb4 may use, but where it moves
bulk; and lb4 works where it may not bind them."""
import contextlib
import os
import pathlib
import shutil
import socket
import threading

import pytest

import servers

LISTEN = "127.0.0.1:7000"
AS_CHILD = ("sh", "-c", '"$@"; exit $?', "sh")  # taskset(1) becomes what it starts
CPUS = sorted(os.sched_getaffinity(0))
needs_two_cpus = pytest.mark.skipif(len(CPUS) < 2, reason="one CPU: there is nothing to choose")


@pytest.fixture
def server():
    with servers.EchoServer() as echo:
        yield echo


def start(start_lb4, server, *words, **options):
    lb4 = start_lb4([*words, "-l", LISTEN, "-s", server.address], **options)
    n = int(lb4.wait_line(r"\bready\b.* \d+ workers?$").split()[-2])
    named = {f"worker {i + 1}" for i in range(n)} | {"prober"}
    servers.wait_until(lambda: named <= cpus_of_threads(lb4).keys(),
                       what="threads have given themselves names")
    return lb4


def cpus_of_threads(lb4):
    """{name: CPUs that the thread may use}; the process's first thread is control."""
    cpus = {}
    for task in pathlib.Path("/proc", str(lb4.pid), "task").iterdir():
        name = "control" if task.name == str(lb4.pid) else (task / "comm").read_text().strip()
        cpus[name] = sorted(os.sched_getaffinity(int(task.name)))
    return cpus


def cpus_of_workers(lb4):
    return [cpus for name, cpus in sorted(cpus_of_threads(lb4).items()) if "worker" in name]


def send_all(sock, chunk=bytes(1 << 20)):
    with sock, contextlib.suppress(OSError):
        while True:
            sock.sendall(chunk)


class Bulk:
    """A server that sends for ever, and a client that reads while the block lasts."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(servers.ECHO_LIMIT_S)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.is_ending = False
        self.n_bytes = 0
        self.threads = []

    def run(self, function, *args):
        self.threads.append(threading.Thread(target=function, args=args))
        self.threads[-1].start()

    def read(self, sock, buffer=bytearray(1 << 20)):
        with contextlib.suppress(TimeoutError):
            while not self.is_ending and (n := sock.recv_into(buffer)):
                self.n_bytes += n

    def __enter__(self):
        self.client = servers.connect(LISTEN)  # with a time-out: who is stuck fails
        self.run(send_all, self.listener.accept()[0])
        self.run(self.read, self.client)
        return self

    def __exit__(self, *_):
        self.is_ending = True
        self.threads[1].join()
        self.client.close()
        self.threads[0].join()
        self.listener.close()


def use_and_finish(lb4):
    with servers.connect(LISTEN) as client:
        servers.ask(client)
    lb4.finish()


@needs_two_cpus
def test_a_worker_for_each_cpu(start_lb4, server):
    lb4 = start(start_lb4, server)
    cpus = cpus_of_threads(lb4)
    for i, cpu in enumerate(CPUS):
        assert cpus.pop(f"worker {i + 1}") == [cpu]
    assert cpus.keys() >= {"control", "prober"}
    assert all(free == CPUS for free in cpus.values()), "only workers are bound"
    use_and_finish(lb4)


@pytest.mark.parametrize("words", [("-o", "cpu-affinity off"), ("-w", str(len(CPUS) + 1))],
                         ids=["off", "more workers than CPUs"])
def test_the_scheduler_chooses(start_lb4, server, words):
    lb4 = start(start_lb4, server, *words)
    assert all(free == CPUS for free in cpus_of_threads(lb4).values())
    use_and_finish(lb4)


@needs_two_cpus
def test_a_narrowed_set_counts(start_lb4, server):
    """As many workers as CPUs that are left."""
    lb4 = start(start_lb4, server, wrapper=[*AS_CHILD, "taskset", "-c", str(CPUS[-1])])
    cpus = cpus_of_threads(lb4)
    assert "worker 1" in cpus and "worker 2" not in cpus
    assert all(free == CPUS[-1:] for free in cpus.values())
    use_and_finish(lb4)


@needs_two_cpus
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_where_binding_is_forbidden(start_lb4, server, trace):
    """As a filter of system calls may do it."""
    lb4 = start(start_lb4, server,
                wrapper=["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=sched_setaffinity",
                         "-e", "inject=sched_setaffinity:error=EPERM"],
                env={"ASAN_OPTIONS": "detect_leaks=0"})
    assert all(free == CPUS for free in cpus_of_threads(lb4).values())
    for i in range(len(CPUS)):
        lb4.wait_line(rf"WARN .*worker {i + 1} is not bound to a CPU: Operation not permitted")
    use_and_finish(lb4)


def start_bulk(start_lb4, **options):
    bulk = Bulk()
    lb4 = start_lb4(["-l", LISTEN, "-s", bulk.address], **options)
    lb4.wait_line(r"\bready\b")
    assert cpus_of_workers(lb4) == [[cpu] for cpu in CPUS]
    return lb4, bulk


@needs_two_cpus
@pytest.mark.serial
def test_bulk_may_move(start_lb4):
    """The worker whose bulk it is, while it lasts; it looks again when it next has work."""
    lb4, bulk = start_bulk(start_lb4)
    with bulk:
        servers.wait_until(lambda: CPUS in cpus_of_workers(lb4), what="a worker may move")
        assert cpus_of_workers(lb4).count(CPUS) == 1, "only the one that moves bulk"
    n_closed = 1
    lb4.wait_n_closed("rule1", n_closed)

    def is_home():
        nonlocal n_closed
        with contextlib.suppress(OSError):  # the server has gone: it may be reset at once
            servers.connect(LISTEN).close()
        n_closed += 1
        lb4.wait_n_closed("rule1", n_closed)
        return cpus_of_workers(lb4) == [[cpu] for cpu in CPUS]
    servers.wait_until(is_home, what="back on its own")
    lb4.finish()


@needs_two_cpus
@pytest.mark.serial
def test_bulk_stays_where_an_operator_put_it(start_lb4):
    """taskset -p of each worker, to another's CPU."""
    lb4, bulk = start_bulk(start_lb4)
    elsewhere = CPUS[1:] + CPUS[:1]
    for task in pathlib.Path("/proc", str(lb4.pid), "task").iterdir():
        name, _, number = (task / "comm").read_text().strip().partition(" ")
        if name == "worker":
            os.sched_setaffinity(int(task.name), {elsewhere[int(number) - 1]})
    with bulk:
        servers.wait_until(lambda: bulk.n_bytes > 2 << 30, 60, "a second of bulk or so")
    lb4.wait_n_closed("rule1", 1)
    assert cpus_of_workers(lb4) == [[cpu] for cpu in elsewhere]
    lb4.finish()


@needs_two_cpus
@pytest.mark.serial
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_bulk_where_binding_is_forbidden_later(start_lb4, trace):
    lb4, bulk = start_bulk(start_lb4, env={"ASAN_OPTIONS": "detect_leaks=0"})
    with lb4.traced(trace, "sched_setaffinity", "error=EPERM"), bulk:
        lb4.wait_line(r"WARN worker \d: this thread stays on the CPUs that it may use now: "
                      r"Operation not permitted")
        assert cpus_of_workers(lb4) == [[cpu] for cpu in CPUS]
    lb4.wait_n_closed("rule1", 1)
    lb4.finish()
