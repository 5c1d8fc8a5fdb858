"""lb4 under test: started as an unprivileged uid, its log read as it comes, and the promises that
hold after every test: nothing active, no descriptor left, exit 0, no sanitizer's report."""
import collections
import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

import web

NOBODY = 65534
# Of lb4: one for each process of pytest-xdist, as the kernel counts the pages in pipes by user
# (pipe(7)), and several daemons would take them from each other.
LB4_UID = NOBODY - int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
READY_LIMIT_S = 20
END_LIMIT_S = 20

LOG_LINE = re.compile(
    r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?P<level>\S+) (?P<thread>[^:]+): (?P<text>.*)$")
SANITIZER = re.compile(
    r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|UndefinedBehaviorSanitizer|runtime error:")
TOTALS = re.compile(r": (service|server|worker) (\S+): (.*\btotal=.*)$")
PROBES_DONE = "first probes are done"
REASONS = frozenset(
    "client_fin server_fin client_rst server_rst idle half_close connect_failed no_server admin"
    " drain limit denied server_down error".split())

# Run by a Python that becomes lb4: descriptors to where sd_listen_fds(3) says, and their count.
PASS_SOCKETS = """
import os, sys
n = int(sys.argv[1])
passed = [os.dup(int(word)) for word in sys.argv[2:2 + n]]
high = [os.dup2(fd, 200 + i) for i, fd in enumerate(passed)]
os.closerange(3, 200)
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i, inheritable=True)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(n))
os.execv(sys.argv[2 + n], sys.argv[2 + n:])
"""

IS_SCRAPED = os.environ.get("LB4_TEST_HTTP", "1") not in ("", "0")
HTTP_LINE = re.compile(r"^\s*http ", re.M)
IS_SANITIZED = os.environ.get("LB4_SANITIZED", "") not in ("", "0")


@dataclasses.dataclass
class Usage:
    """What a process has used so far."""
    cpu_s: float
    switches: int
    at: float


class Daemon:
    """One lb4. `args` are its arguments, `config` the text of a file for -c; `wrapper` is a command
    to start it under, e.g. ["strace", ...]. `uid` None = stay who we are. `passed`: sockets for it
    to find, as a service manager passes them. `is_scraped`: it gets an HTTP listener, and what
    /metrics says at the end must be what its log says."""

    def __init__(self, binary, args=(), config=None, *, splice=True, uid=LB4_UID, nofile=None,
                 wrapper=(), env=None, passed=(), reads_log=True, stderr=subprocess.PIPE,
                 debug=True, is_scraped=IS_SCRAPED):
        self.lines = []
        self.closed = collections.defaultdict(list)
        self.changed = threading.Condition()
        self.is_finished = False
        self.is_wrapped = bool(wrapper)
        self.binary = str(binary)
        self.n_workers = 0  # not known yet
        self.descriptors_at_start = None
        self.directory = None
        self.http = None
        self.scraped = None
        if is_scraped:
            args = [*self.http_words(args, config), *args]
        command = [*wrapper]
        descriptors = [getattr(sock, "fileno", lambda sock=sock: sock)() for sock in passed]
        if descriptors:
            command += [sys.executable, "-I", "-S", "-c", PASS_SOCKETS, str(len(descriptors)),
                        *map(str, descriptors)]
        if nofile:
            command += ["prlimit", f"--nofile={nofile}:{nofile}", "--"]
        command += [str(binary), *(["-v"] if debug else []), *([] if splice else ["--no-splice"])]
        if config is not None:
            command += ["-c", self.write_config(config)]
        command += map(str, args)
        self.command = command
        drop = {}
        if uid is not None and can_change_uid():
            drop = {"user": uid, "group": uid, "extra_groups": []}
        self.drop = drop
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
            env={**os.environ, **(env or {})}, pass_fds=descriptors, **drop)
        self.reader = None
        if reads_log and self.process.stderr:
            self.reader = threading.Thread(target=self.read_log, daemon=True)
            self.reader.start()

    def http_words(self, args, config):
        """An HTTP listener, for a look at the counters at the end; as an argument it outlives
        reloads. None for one that has its own."""
        words = [str(word) for word in args]
        if any(HTTP_LINE.search(text) for text in [config or "", *words]):
            return []
        self.http = web.take_address()
        return ["-o", f"http {self.http}"]

    def write_config(self, text):
        self.directory = tempfile.TemporaryDirectory(prefix="lb4-test-")
        os.chmod(self.directory.name, 0o755)
        path = pathlib.Path(self.directory.name, "lb4.conf")
        path.write_text(text)
        return str(path)

    # --- the log

    def read_log(self):
        for raw in self.process.stderr:
            line = raw.decode(errors="backslashreplace").rstrip("\n")
            with self.changed:
                self.lines.append(line)
                entry = parse_closed(line)
                if entry:
                    self.closed[entry["service"]].append(entry)
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def wait_for(self, condition, limit_s, what):
        """Wait until condition() is true, woken by log lines; fail with the log otherwise."""
        deadline = time.monotonic() + limit_s
        with self.changed:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0 or (self.process.poll() is not None and not self.reader.is_alive()):
                    if condition():
                        return
                    raise AssertionError(f"lb4: {what}; exit {self.process.poll()}\n{self.tail()}")
                self.changed.wait(min(left, 0.1))

    def wait_line(self, pattern, limit_s=READY_LIMIT_S, start=0):
        """The first line from `start` on in which `pattern` is found."""
        wanted = re.compile(pattern)
        found = []

        def look():
            found[:] = [line for line in self.lines[start:] if wanted.search(line)]
            return bool(found)
        self.wait_for(look, limit_s, f"no line with '{pattern}'")
        return found[0]

    def wait_closed(self, service, nth, limit_s):
        """What lb4 logged about the nth end (from 0) of a service, None if it did not in time."""
        deadline = time.monotonic() + limit_s
        with self.changed:
            while len(self.closed[service]) <= nth:
                left = deadline - time.monotonic()
                if left <= 0 or self.process.poll() is not None:
                    return None
                self.changed.wait(left if left < 0.5 else 0.5)
            return self.closed[service][nth]

    def wait_n_closed(self, service, count, limit_s=END_LIMIT_S):
        """All ends of a service, once there are `count`."""
        self.wait_for(lambda: len(self.closed[service]) >= count, limit_s,
                      f"fewer than {count} ends of {service}")
        return list(self.closed[service])

    def tail(self):
        return "\n".join(self.lines[-40:])

    # --- start and end

    def wait_ready(self):
        """Listening, and every server that is probed has been judged."""
        self.wait_line(r"\bready\b")
        if self.is_probing():
            self.wait_line(PROBES_DONE)
        # What is connected before the first client is a probe that takes its leave. One that is
        # about to connect, or was refused, has no peer to be known by: the least of some readings.
        readings = [self.descriptors(counts_connections=False) for _ in range(5)]
        self.descriptors_at_start = min(readings, key=lambda kinds: sum(kinds.values()))
        return self

    def is_probing(self):
        """Does any service probe its servers, by the effective configuration?"""
        words = self.command[self.command.index(self.binary):]
        done = subprocess.run([*words, "-T"], capture_output=True, text=True, check=False,
                              env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}, **self.drop)
        services = re.findall(r"^service .*?^}", done.stdout, re.M | re.S)
        return any(is_service_probed(text) for text in services)

    def wait_exit(self, limit_s=END_LIMIT_S):
        """The exit code."""
        code = self.process.wait(limit_s)
        if self.reader:
            self.reader.join(limit_s)
        return code

    def signal(self, number):
        os.kill(self.pid, number)

    @property
    def pid(self):
        """Of lb4 itself: the child if a wrapper stands before it."""
        if not self.is_wrapped:
            return self.process.pid
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text().split()[0])

    def finish(self, checks_descriptors=True):
        """Stop, and check what must hold after every test. Once only; later calls do nothing."""
        if self.is_finished:
            return
        self.is_finished = True
        try:
            if self.process.poll() is None:
                if checks_descriptors and self.descriptors_at_start is not None:
                    self.wait_descriptors()
                self.check_counters()
                self.signal(signal.SIGTERM)
            self.check_end()
        finally:
            self.kill()

    def check_counters(self):
        """Nothing is active, by the identity; and what it ends with is what it says now."""
        if self.http is None:
            return
        deadline = time.monotonic() + END_LIMIT_S
        self.scraped = web.Scrape(self.http)
        while self.scraped.sum("lb4_connections_active"):
            assert time.monotonic() < deadline, "connections that are active at the end"
            time.sleep(0.02)
            self.scraped = web.Scrape(self.http)
        self.scraped = web.Scrape(self.http)  # that one may have read bytes before the last came

    def compare_counters(self, summary):
        for labels, total in self.scraped.samples["lb4_connections_total"].items():
            name = dict(labels)["service"]
            values = summary["service", name]
            assert total == values["total"], f"{name}: {total} scraped, {values}"
            for reason in REASONS:
                n_closed = self.scraped.value("lb4_closed_total", service=name, reason=reason)
                assert n_closed == values.get(reason, 0), f"{name} {reason}: {n_closed}, {values}"
            for way in ("in", "out"):
                n_bytes = self.scraped.value("lb4_bytes_total", service=name, direction=way)
                assert n_bytes == values[way], f"{name} {way}: {n_bytes}, {values}"

    def check_end(self):
        """After TERM was sent, or the end expected: exit 0, nothing active, no reports."""
        code = self.wait_exit()
        reports = [line for line in self.lines if SANITIZER.search(line)]
        assert not reports, "\n".join(self.lines[self.lines.index(reports[0]):][:60])
        assert code == 0, f"exit {code}\n{self.tail()}"
        summary = self.summary()
        assert summary, "no summary of services in the log\n" + self.tail()
        if self.scraped:
            self.compare_counters(summary)
        for (kind, name), values in summary.items():
            assert values.get("active", 0) == 0, f"{kind} {name} is left with {values}"
            if kind == "service":
                ends = sum(n for word, n in values.items() if word in REASONS)
                assert values["total"] == values["closed"] == ends, f"{name}: {values}"

    def kill(self):
        """Leave nothing behind, whatever happened."""
        self.is_finished = True
        if self.process.poll() is None:
            if self.is_wrapped:
                for child in self.children():
                    _kill(child)
            self.process.kill()
            self.process.wait()
        if self.reader:
            self.reader.join(5)
        if self.process.stderr:
            self.process.stderr.close()
        if self.directory:
            self.directory.cleanup()

    def children(self):
        path = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in path.read_text().split()] if path.exists() else []

    def summary(self):
        """The last totals in the log, those of the exit once it has ended: {("service", "web"):
        {"total": 3, ...}, ("server", "web/s1"): ..., ("worker", "1"): ...}."""
        return parse_totals(last_totals(self.lines))

    def totals(self):
        """Ask for the totals while it runs."""
        if not self.n_workers:
            ready = self.wait_line(r"\bready\b.* \d+ workers?$")
            self.n_workers = int(ready.split()[-2])
        start = len(self.lines)
        self.signal(signal.SIGUSR1)
        self.wait_line(rf": worker {self.n_workers}: .*\btotal=", start=start)
        return parse_totals(self.lines[start:])

    @contextlib.contextmanager
    def traced(self, output, call, fault):
        """Let strace inject a fault into one system call of all threads, inside the block."""
        tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", str(output), "-e", f"trace={call}", "-e",
             f"inject={call}:{fault}", "-p", str(self.pid)], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + READY_LIMIT_S
            while not self.is_traced_by(tracer.pid):
                assert time.monotonic() < deadline and tracer.poll() is None, "strace: no attach"
                time.sleep(0.01)
            yield
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait()

    def is_traced_by(self, tracer_pid):
        tasks = pathlib.Path(f"/proc/{self.pid}/task").iterdir()
        return all(f"TracerPid:\t{tracer_pid}\n" in (task / "status").read_text() for task in tasks)

    # --- what the process holds and uses

    def descriptors(self, counts_connections=True):
        """How many of each kind: {"socket": 4, "pipe": 2, "anon_inode": 3, ...}."""
        kinds = collections.Counter()
        directory = f"/proc/{self.pid}/fd"
        left_out = set() if counts_connections else connected_sockets(self.pid)
        targets = []
        for name in os.listdir(directory):
            with contextlib.suppress(FileNotFoundError):
                targets.append(os.readlink(f"{directory}/{name}"))
        if not counts_connections:
            left_out |= connected_sockets(self.pid)
        for target in targets:
            if target not in left_out:
                kinds[target.split(":")[0]] += 1
        return kinds

    def wait_descriptors(self, limit_s=END_LIMIT_S):
        """Wait until there are as many as at the start, in a moment without probes; of pipes there
        may be fewer, since a pipe that could not be emptied is closed and not made again before it
        is needed."""
        at_start = self.descriptors_at_start
        deadline = time.monotonic() + limit_s
        while True:
            now = self.descriptors()
            others = {kind for kind in now + at_start if kind != "pipe"}
            if now["pipe"] <= at_start["pipe"] and all(now[k] == at_start[k] for k in others):
                return
            assert time.monotonic() < deadline, (
                f"descriptors {dict(now)}, at the start {dict(at_start)}\n{self.tail()}")
            time.sleep(0.02)

    def usage(self):
        total_ns = switches = 0
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            total_ns += int((task / "schedstat").read_text().split()[0])
            switches += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)",
                                      (task / "status").read_text(), re.M).group(1))
        return Usage(total_ns / 1e9, switches, time.monotonic())

    def load_during(self, seconds):
        """(share of one CPU, wake-ups per second) over a window of observation."""
        before = self.usage()
        time.sleep(seconds)
        after = self.usage()
        took = after.at - before.at
        return (after.cpu_s - before.cpu_s) / took, (after.switches - before.switches) / took

    def rss_bytes(self):
        text = pathlib.Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Rss:\s+(\d+) kB", text, re.M).group(1)) * 1024


def connected_unix(pid):
    """The same for Unix stream sockets."""
    lines = pathlib.Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]
    words = [line.split() for line in lines]
    return {f"socket:[{word[6]}]" for word in words if word[4:6] == ["0001", "03"]}


def connected_sockets(pid):
    """Links of /proc/PID/fd that are TCP sockets with a peer, those that still connect too."""
    found = connected_unix(pid)
    for table in ("tcp", "tcp6"):
        path = pathlib.Path(f"/proc/{pid}/net/{table}")
        for line in path.read_text().splitlines()[1:] if path.exists() else []:
            words = line.split()
            if not words[2].endswith(":0000"):
                found.add(f"socket:[{words[9]}]")
    return found


def is_service_probed(text):
    """By its block in the effective configuration: without a `check` line if it has several."""
    check = re.search(r"^\s*check (\S+)", text, re.M)
    if check:
        return check.group(1) != "none"
    return len(re.findall(r"^\s*server ", text, re.M)) > 1


def last_totals(lines):
    """The lines of the last report of totals: what it does not name any more has gone."""
    report = []
    for line in lines:
        match = TOTALS.search(line)
        if match and match[1] != "worker" and report and " worker " in report[-1]:
            report = []
        if match:
            report.append(line)
    return report


def parse_totals(lines):
    """The last totals of each name in these lines of the log."""
    found = {}
    for line in lines:
        match = TOTALS.search(line)
        if match:
            kind, name, rest = match.groups()
            pairs = re.findall(r"(\w+)=(\d+)", rest)
            found[kind, name] = {word: int(number) for word, number in pairs}
    return found


def parse_closed(line):
    """The words of a line about an end of a connection, None for another line."""
    match = LOG_LINE.match(line)
    if not match or not match["text"].startswith("closed "):
        return None
    entry = dict(word.split("=", 1) for word in match["text"].split()[1:] if "=" in word)
    return entry if "service" in entry and "reason" in entry else None


def can_change_uid():
    """False in a user namespace with a single uid, where there is nobody else to become."""
    has_one_uid = pathlib.Path("/proc/self/uid_map").read_text().split()[2] == "1"
    return os.geteuid() == 0 and not has_one_uid


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
