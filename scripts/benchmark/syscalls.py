"""System calls of a proxy for each unit, by strace -c, in a run of its own that nobody times: a
traced program is many times slower, so that it finds more work at a time than one that is not."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time

import benchmark.cpu as cpu
import benchmark.drivers as drivers
import benchmark.processes as processes

SECONDS = 1.0
SLOW_RATE = 3000  # what is asked, for each second, of clients that are told a number of requests
ATTACH_LIMIT_S = 10
ROW = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", re.M)


def read_summary(text):
    """{name: calls} of strace's table."""
    return {name: int(count) for count, name in ROW.findall(text) if name != "total"}


def threads(pids):
    """Of the processes that are still there: paths in /proc."""
    for pid in pids:
        with contextlib.suppress(OSError):
            yield from (f"/proc/{pid}/task/{task}" for task in os.listdir(f"/proc/{pid}/task"))


def is_traced(thread):
    """Or has ended meanwhile."""
    try:
        with open(f"{thread}/status", encoding="ascii", errors="replace") as file:
            return "\nTracerPid:\t0\n" not in file.read()
    except OSError:
        return True


@contextlib.contextmanager
def traced(pids, path):
    words = ["strace", "-c", "-f", "-q", "-o", path]
    for pid in pids:
        words += ["-p", str(pid)]
    tracer = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + ATTACH_LIMIT_S
        while not all(is_traced(thread) for thread in threads(pids)):
            if time.monotonic() > deadline or tracer.poll() is not None:
                raise processes.Failure("strace does not attach")
            time.sleep(0.01)
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        try:
            tracer.wait(ATTACH_LIMIT_S)
        except subprocess.TimeoutExpired:
            tracer.kill()
            tracer.wait()


def count(rig):
    """{name: calls for each unit; of bulk, for each MB}. {} where it cannot be had."""
    run = drivers.RUNS.get(rig.scenario.driver)
    if not rig.process or not run or not shutil.which("strace"):
        return {}
    rig.seen_rate = SLOW_RATE
    path = os.path.join(rig.bench.folder, "strace")
    with traced(cpu.tree(rig.process.pid), path):
        outcome = run(rig, SECONDS)
    with open(path, encoding="ascii") as file:
        calls = read_summary(file.read())
    units = max(outcome.units / (drivers.MB if rig.scenario.is_stream else 1), 1)
    return {name: n / units for name, n in sorted(calls.items(), key=lambda item: -item[1])}
