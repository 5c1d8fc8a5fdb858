"""A worker steps back (SCHED_BATCH) for clients and servers that share its CPU with it, and no
longer when a program there only computes, or when nothing is left to do."""
import os
import pathlib
import subprocess
import sys

import pytest

import servers

pytestmark = [
    pytest.mark.serial,  # other tests on the CPU would be the strangers it must not have
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one worker is never bound")]

LISTEN = "127.0.0.1:7000"
SERVER = "127.0.0.1:7001"
CPUS = sorted(os.sched_getaffinity(0))[:2]
LIMIT_S = 60
AS_CHILD = ("sh", "-c", '"$@"; exit $?', "sh")  # chrt(1) becomes what it starts
N_CLIENTS = 8

# On the CPUs of two workers by turns, with less weight than they, so that peers are slowed down.
PEER = f"""
import os, signal, socket, sys

os.nice(6)

def settle(i):
    os.sched_setaffinity(0, {{{CPUS}[i % 2]}})
"""
ECHO = PEER + f"""
with socket.create_server(("127.0.0.1", {SERVER.rpartition(":")[2]})) as listener:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    n = 0
    while True:
        sock = listener.accept()[0]
        n += 1
        if os.fork() == 0:
            settle(n)
            while data := sock.recv(65536):
                sock.sendall(data)
            os._exit(0)
        sock.close()
"""
ASK = PEER + f"""
settle(int(sys.argv[1]))
with socket.create_connection(("127.0.0.1", {LISTEN.rpartition(":")[2]})) as sock:
    while True:
        sock.sendall(bytes(64))
        if not sock.recv(65536):
            break
"""
LOOP = f"import os, sys; os.sched_setaffinity(0, {{{CPUS}[int(sys.argv[1]) % 2]}})\nwhile True: pass"


class Load:
    """Programs of the test, in one session with lb4: the scheduler would share a CPU between
    sessions first."""

    def __init__(self):
        self.processes = []

    def start(self, text, i=0, **options):
        process = subprocess.Popen([sys.executable, "-I", "-S", "-c", text, str(i)],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
        self.processes.append(process)
        return process

    def end(self, processes):
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
            self.processes.remove(process)

    def start_server(self):
        server = self.start(ECHO, stdout=subprocess.PIPE)
        assert server.stdout.readline() == b"ready\n"

    def start_clients(self):
        return [self.start(ASK, i) for i in range(N_CLIENTS)]


@pytest.fixture
def load():
    programs = Load()
    yield programs
    programs.end(list(programs.processes))


def start(start_lb4, *words, wrapper=(), **options):
    lb4 = start_lb4([*words, "-l", LISTEN, "-s", SERVER],
                    wrapper=[*AS_CHILD, *wrapper] if wrapper else [], **options)
    lb4.wait_line(r"\bready\b")
    return lb4


def policies(lb4):
    """{name: scheduling policy} of its threads."""
    found = {}
    for task in pathlib.Path("/proc", str(lb4.pid), "task").iterdir():
        name = "control" if task.name == str(lb4.pid) else (task / "comm").read_text().strip()
        found[name] = os.sched_getscheduler(int(task.name))
    return found


def of_workers(lb4):
    return {policy for name, policy in policies(lb4).items() if name.startswith("worker")}


def wait_batch(lb4):
    servers.wait_until(lambda: os.SCHED_BATCH in of_workers(lb4), LIMIT_S, "SCHED_BATCH")


def wait_other(lb4):
    servers.wait_until(lambda: of_workers(lb4) == {os.SCHED_OTHER}, LIMIT_S, "no SCHED_BATCH")


def test_beside_peers_and_not_when_idle(start_lb4, load):
    lb4 = start(start_lb4)
    assert of_workers(lb4) == {os.SCHED_OTHER}
    load.start_server()
    clients = load.start_clients()
    wait_batch(lb4)
    others = {name: policy for name, policy in policies(lb4).items()
              if not name.startswith("worker")}
    assert set(others.values()) == {os.SCHED_OTHER}, "only workers"
    load.end(clients)
    wait_other(lb4)
    lb4.finish()


def test_not_beside_busy_loops(start_lb4, load):
    lb4 = start(start_lb4)
    load.start_server()
    load.start_clients()
    wait_batch(lb4)
    for i in range(6):
        load.start(LOOP, i)
    wait_other(lb4)
    lb4.wait_line(r"DEBUG worker \d: end of SCHED_BATCH: of the last \d+ ms it ran for \d+ and "
                  r"waited for a CPU for \d+")
    load.end(list(load.processes))
    lb4.finish()


def run_s(lb4):
    """How long its workers have been on a CPU."""
    tasks = pathlib.Path("/proc", str(lb4.pid), "task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) / 1e9 for task in tasks
               if (task / "comm").read_text().startswith("worker"))


@pytest.mark.parametrize("words,wrapper,policy", [
    (("-o", "cpu-scheduling inherit"), (), os.SCHED_OTHER),
    (("-o", "cpu-affinity off"), (), os.SCHED_OTHER),
    (("-w", "1"), (), os.SCHED_OTHER),
    ((), ("chrt", "-b", "0"), os.SCHED_BATCH)], ids=["inherit", "unbound", "one worker", "chrt"])
def test_the_wish_of_an_operator(start_lb4, load, words, wrapper, policy):
    """Ten times the work after which it would have stepped back, and nothing to do in the end.
    Only bound workers step back: those that move find a CPU."""
    lb4 = start(start_lb4, *words, wrapper=wrapper)
    load.start_server()
    clients = load.start_clients()
    seen = set()

    def has_run():
        seen.update(of_workers(lb4))
        return run_s(lb4) > 2
    servers.wait_until(has_run, LIMIT_S, "two seconds of work")
    load.end(clients)
    lb4.wait_n_closed("rule1", N_CLIENTS)
    seen.update(of_workers(lb4))
    assert seen == {policy}
    assert not any("of SCHED_BATCH" in line for line in lb4.lines)
    lb4.finish()
