"""What programs cost: accounts of CPU time, one for each part of a measurement.

A control group counts all its processes, also those that have ended, to the nanosecond or so:
cpuacct of version 1, or cpu.stat of version 2, whichever may be written. Without one: user and
system time of the process trees from /proc/PID/stat, in ticks. The kernel's work for loopback
traffic is done, and counted, in whoever sends.
"""

import contextlib
import functools
import os

TICKS = os.sysconf("SC_CLK_TCK")


def mounts(kind, option=""):
    with open("/proc/mounts", encoding="ascii", errors="replace") as file:
        rows = [line.split() for line in file]
    return [row[1] for row in rows if row[2] == kind and (not option or option in
                                                          row[3].split(","))]


class GroupAccount:
    """A control group; a child joins it by join() before its program begins."""

    def __init__(self, folder, usage_file, scale):
        os.mkdir(folder)
        self.folder, self.usage_file, self.scale = folder, usage_file, scale
        self.descriptor = os.open(f"{folder}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        self.spent_s()

    def join(self):
        os.write(self.descriptor, b"0")

    def add(self, pid):
        pass

    def spent_s(self):
        """cpuacct.usage is one number, cpu.stat a table that begins with `usage_usec N`."""
        with open(f"{self.folder}/{self.usage_file}", encoding="ascii") as file:
            return int(file.readline().split()[-1]) * self.scale

    def close(self):
        os.close(self.descriptor)
        with contextlib.suppress(OSError):
            os.rmdir(self.folder)


class TreeAccount:
    """Processes and their children, from /proc; and all that have been waited for."""

    def __init__(self):
        self.roots = []

    def join(self):
        pass

    def add(self, pid):
        self.roots.append(pid)

    def spent_s(self):
        return sum(tree_cpu(pid) for pid in self.roots)

    def close(self):
        pass


class ReapedAccount(TreeAccount):
    """For programs that have ended before the clock is read: os.times() has them."""

    def spent_s(self):
        times = os.times()
        return times.children_user + times.children_system


GROUPS = [("control group, cpuacct.usage", "cgroup", "cpuacct", "cpuacct.usage", 1e-9),
          ("control group 2, cpu.stat", "cgroup2", "", "cpu.stat", 1e-6)]


def open_group(folder, file, scale, name):
    return GroupAccount(f"{folder}/lb4-bench-{os.getpid()}-{name}", file, scale)


def sweep(folder):
    """Groups of a benchmark that was killed; one that has processes stays."""
    for name in os.listdir(folder):
        pid = name.removeprefix("lb4-bench-").partition("-")[0]
        if name.startswith("lb4-bench-") and not os.path.exists(f"/proc/{pid}"):
            with contextlib.suppress(OSError):
                os.rmdir(f"{folder}/{name}")


class Ledger:
    """Accounts `proxy`, `server` and `load`; `method` says how they are kept. Use as a context."""

    NAMES = ("proxy", "server", "load")

    def __init__(self):
        self.method, self.make = self.choose()
        self.accounts = {}
        for name in self.NAMES:
            self.open(name)

    def open(self, name):
        """One more account, to the end of the ledger."""
        self.accounts[name] = self.make(name)
        return self.accounts[name]

    @staticmethod
    def choose():
        """(title, make(name)): the first kind of group that can be made, or else /proc."""
        for title, kind, option, file, scale in GROUPS:
            for folder in mounts(kind, option):
                sweep(folder)
                make = functools.partial(open_group, folder, file, scale)
                with contextlib.suppress(OSError):
                    make("try").close()
                    return title, make
        return "/proc/PID/stat", lambda name: (ReapedAccount if name == "load" else TreeAccount)()

    def read(self):
        """Of all accounts; `kernel`: the threads that take over network work when there is much;
        `machine`: everything."""
        spent = {name: account.spent_s() for name, account in self.accounts.items()}
        return {**spent, "kernel": softirq_s(), "machine": machine_s()}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for account in self.accounts.values():
            account.close()


# --- /proc ----------------------------------------------------------------------------------------


def read_stat(pid):
    """(parent, CPU seconds) of a process."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS


def read_processes():
    processes = {}
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, IndexError):
            if name.isdigit():
                processes[int(name)] = read_stat(name)
    return processes


def tree(root):
    """Processes: the root and all below it."""
    processes = read_processes()
    members = [root]
    for pid in members:
        members += [child for child, (parent, _) in processes.items() if parent == pid]
    return members


def tree_cpu(root):
    processes = read_processes()
    return sum(processes[pid][1] for pid in tree(root) if pid in processes)


def softirq_s():
    """Of ksoftirqd/N; 0 where they cannot be seen. The first number of schedstat is nanoseconds."""
    spent = 0
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, IndexError):
            if name.isdigit() and read_name(name).startswith("ksoftirqd/"):
                with open(f"/proc/{name}/schedstat", encoding="ascii") as file:
                    spent += int(file.read().split()[0])
    return spent * 1e-9


def read_name(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip()


def machine_s():
    """Busy seconds of all CPUs: everything but idle and iowait (fields 4 and 5 of proc(5))."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(word) for word in file.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS
