"""Programs for `check exec`: shell scripts in a folder that anybody may write to, and who runs."""
import contextlib
import os
import pathlib
import signal
import tempfile

import servers

LIMIT_S = 30


class Programs:
    """A folder with scripts, and with what they write; as a context. They find it as $FOLDER."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="lb4-programs-")
        self.root = pathlib.Path(self.folder.name)
        os.chmod(self.root, 0o777)
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    def path(self, name):
        return self.root / name

    def write(self, name, lines, mode=0o755):
        """By rename, as it may be running. Returns its path."""
        fresh = self.path(f"{name}.new")
        fresh.write_text(f"#!/bin/sh\nFOLDER={self.root}\n{lines}\n")
        fresh.chmod(mode)
        return fresh.rename(self.path(name))

    def read(self, name):
        """What a script has written, by its last rename."""
        servers.wait_until(self.path(name).exists, LIMIT_S, f"{name} is written")
        return self.path(name).read_text()

    def pids(self, pattern):
        """Numbers in all files of that pattern; the scripts write `echo $$ >$FOLDER/...`."""
        texts = [path.read_text() for path in self.root.glob(pattern)]
        return [int(word) for text in texts for word in text.split()]


def stat(pid):
    """(parent, state) of a process, None if there is none."""
    try:
        words = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(words[1]), words[0]


def is_alive(pid):
    """A zombie is not: who is to wait for it may be init, in its own time."""
    found = stat(pid)
    return found is not None and found[1] not in "ZX"


def below(pid):
    """{pid: state} of all processes that descend from this one."""
    found = {int(name): stat(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    family, n_before = {pid}, 0
    while len(family) > n_before:
        n_before = len(family)
        family |= {each for each, what in found.items() if what and what[0] in family}
    return {each: found[each][1] for each in family - {pid} if found.get(each)}


def keeper(lb4):
    """The process from which programs are started: lb4's only child."""
    path = pathlib.Path(f"/proc/{lb4.pid}/task/{lb4.pid}/children")
    pids = [int(word) for word in path.read_text().split()]
    assert len(pids) == 1, pids
    return pids[0]


def host(lb4):
    """Its child, which runs them."""
    pid = keeper(lb4)
    return int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def n_running(lb4):
    """Programs, without what they have started: children of the host."""
    family = below(lb4.pid)
    first = keeper(lb4)
    hosts = {pid for pid in family if (stat(pid) or (0, ""))[0] == first}
    return sum((stat(pid) or (0, ""))[0] in hosts for pid in family)


def spawners():
    """Processes beside an lb4, by their name, in this network namespace, also those of an lb4 that
    has ended."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if ((path / "comm").read_text() == "lb4-spawner\n" and is_alive(int(path.name)) and
                    os.readlink(path / "ns/net") == os.readlink("/proc/self/ns/net")):
                found.append(int(path.name))
    return found


def wait_dead(pids):
    servers.wait_until(lambda: not any(map(is_alive, pids)), LIMIT_S, "processes that are gone")


def kill(pid):
    os.kill(pid, signal.SIGKILL)
