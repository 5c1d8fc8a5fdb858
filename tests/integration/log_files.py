"""lb4 whose log does not go to stderr, or not as text: the lines from where they go, in the form that
daemon.Daemon understands."""
import contextlib
import json
import os
import pathlib
import re
import tempfile
import threading
import time

import daemon

ACCESS = re.compile(r"^\S+ INFO (?P<thread>[^:]+): access (?P<pairs>.*)$")
DROPPED = re.compile(r"WARN (?P<thread>[^:]+): (?P<n>\d+) log lines dropped(: .*)?$")
TCP_KEYS = ("client service server listener queue_ms connect_ms total_ms in out reason"
            " tries").split()
UDP_KEYS = TCP_KEYS + "transport datagrams_in datagrams_out".split()


def parse_access(line):
    """The values of an access line in text form, None for another line."""
    match = ACCESS.match(line)
    if not match:
        return None
    pairs = [word.split("=", 1) for word in match["pairs"].split(" ")]
    keys = [key for key, _ in pairs]
    assert keys in (TCP_KEYS, UDP_KEYS), line
    return dict(pairs)


def count_dropped(lines, thread=""):
    """The sum of what lines say was dropped, of threads whose names begin so."""
    found = map(DROPPED.search, lines)
    return sum(int(match["n"]) for match in found if match and match["thread"].startswith(thread))


def as_text(raw):
    """A line of the log as the text form has it; (that, what the JSON said or None)."""
    line = raw.decode().rstrip("\n")
    if not line.startswith("{"):
        return line, None
    entry = json.loads(line)
    said = entry.get("message")
    if said is None:
        said = entry["event"] + "".join(
            f" {key}={'-' if value is None else value}" for key, value in entry.items()
            if key not in ("time", "level", "thread", "event"))
    return f"{entry['time']} {entry['level']} {entry['thread']}: {said}", entry


class LoggedDaemon(daemon.Daemon):
    """One whose log is read from `log_path` as well, also when that file is another one suddenly."""

    def __init__(self, binary, args=(), *, log_path=None, **options):
        self.entries = []
        self.is_over = False
        self.follower = None
        super().__init__(binary, args, **options)
        if log_path:
            self.follower = threading.Thread(target=self.follow, args=[str(log_path)], daemon=True)
            self.follower.start()

    def take(self, raw):
        line, entry = as_text(raw)
        with self.changed:
            self.lines.append(line)
            if entry:
                self.entries.append(entry)
            self.changed.notify_all()

    def read_log(self):
        for raw in self.process.stderr:
            self.take(raw)

    def follow(self, path):
        log = None
        rest = b""
        while True:
            was_over = self.is_over
            if log is None:
                with contextlib.suppress(FileNotFoundError):
                    log = open(path, "rb", buffering=0)
            got = log.read() if log else b""
            *whole, rest = (rest + got).split(b"\n")
            for raw in whole:
                self.take(raw)
            if got:
                continue
            if log and not is_same(log, path):
                log.close()
                log = None
            elif was_over:
                return
            else:
                time.sleep(0.005)

    def wait_exit(self, limit_s=daemon.END_LIMIT_S):
        code = super().wait_exit(limit_s)
        self.is_over = True
        if self.follower:
            self.follower.join(limit_s)
        return code

    @property
    def access(self):
        with self.changed:
            return [entry for entry in map(parse_access, self.lines) if entry]

    def wait_access(self, count, limit_s=20):
        """All access lines, once there are `count`."""
        self.wait_for(lambda: sum(" access client=" in line for line in self.lines) >= count,
                      limit_s, f"fewer than {count} access lines")
        return self.access


def is_same(log, path):
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return True
    here = os.fstat(log.fileno())
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


@contextlib.contextmanager
def folder():
    """A directory that belongs to lb4's user."""
    with tempfile.TemporaryDirectory(prefix="lb4-log-") as name:
        if daemon.can_change_uid():
            os.chown(name, daemon.LB4_UID, daemon.LB4_UID)
        os.chmod(name, 0o755)
        yield pathlib.Path(name)
