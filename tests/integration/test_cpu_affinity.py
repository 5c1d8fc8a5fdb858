"""Each worker on a CPU of its own, if there are as many as CPUs that lb4 may use; and lb4 works
where it may not bind them."""
import os
import pathlib
import shutil

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
