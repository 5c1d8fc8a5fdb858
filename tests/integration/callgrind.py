"""Instructions of lb4's worker, counted by valgrind(1)'s callgrind: those of user space, so that
they do not depend on who else is at work on the machine."""
import contextlib
import pathlib
import re
import signal
import subprocess
import time

LIMIT_S = 30
N_FUNCTIONS = 15
TOOLS = ("valgrind", "vgdb", "callgrind_annotate", "readelf")
WORKER = re.compile(r"^c?fn=\(\d+\) worker_run$", re.M)
TOTALS = re.compile(r"^totals: (\d+)", re.M)
FUNCTION = re.compile(r"^ *[\d,]+ \( *(?P<share>[\d.]+)%\)")
EPOLL_WAIT = "232 "  # its number on x86-64, by /proc/PID/task/TID/syscall


def producers(binary):
    """The compilers and their options, as the debug information tells them."""
    done = subprocess.run(["readelf", "--debug-dump=info", "--dwarf-depth=1", binary], check=True,
                          capture_output=True, text=True)
    return set(re.findall(r"DW_AT_producer .*: ((?:GNU C\d|\S* ?clang).*)", done.stdout))


class Count:
    """What the worker did between two looks."""

    def __init__(self, path):
        self.path = path
        self.instructions = int(TOTALS.search(path.read_text())[1])

    def functions(self):
        """A table of the functions with the most instructions of their own. Without the totals, and
        without the thread's outermost calls, which have not returned and are told as a whole."""
        done = subprocess.run(["callgrind_annotate", "--auto=no", "--threshold=100", self.path],
                              check=True, capture_output=True, text=True)
        found = [FUNCTION.match(line) for line in done.stdout.splitlines()]
        lines = [match.string for match in found if match and match["share"] != "100.0"]
        return "\n".join(lines[:N_FUNCTIONS])


class Counted:
    """An lb4 with one worker. `start` is one of conftest's starters, `folder` a fresh directory."""

    def __init__(self, start, folder, config):
        self.folder = pathlib.Path(folder)
        self.n_parts = 0
        # Without -v, which writes a line for each connection.
        self.lb4 = start(["-w", "1"], config=config, debug=False, uid=None, waits=False, wrapper=[
            "valgrind", "--tool=callgrind", "--separate-threads=yes", *self.words(),
            f"--callgrind-out-file={self.folder}/%p", f"--log-file={self.folder}/log"])
        self.lb4.is_wrapped = False  # valgrind(1) becomes lb4
        self.lb4.wait_ready()
        self.worker = self.find_worker()

    def finish(self):
        """To be called before the starter does: of a UDP client a descriptor is left."""
        self.lb4.finish(checks_descriptors=False)

    def words(self):
        return [f"--vgdb-prefix={self.folder}/vgdb"]

    def find_worker(self):
        """Where the kernel tells of its thread, once that has given itself its name."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            for task in pathlib.Path(f"/proc/{self.lb4.pid}/task").iterdir():
                if (task / "comm").read_text().startswith("worker"):
                    return task
            assert time.monotonic() < deadline, "no thread is called worker"

    def settle(self):
        """Wait until the worker has done all that there was to do, and waits for more."""
        self.wait_worker("syscall", lambda text: text.startswith(EPOLL_WAIT))

    def wait_worker(self, name, is_so):
        deadline = time.monotonic() + LIMIT_S
        while not is_so((self.worker / name).read_text()):
            assert time.monotonic() < deadline, f"{name}: {(self.worker / name).read_text()}"

    @contextlib.contextmanager
    def stopped(self):
        """What comes meanwhile is found by the worker in one turn."""
        self.lb4.signal(signal.SIGSTOP)
        try:
            self.wait_worker("stat", lambda text: text.rpartition(")")[2].split()[0] == "T")
            yield
        finally:
            self.lb4.signal(signal.SIGCONT)

    def take(self):
        """The Count since the last time."""
        self.settle()
        subprocess.run(["vgdb", *self.words(), f"--pid={self.lb4.pid}", "dump"], check=True,
                       capture_output=True, timeout=LIMIT_S)
        self.n_parts += 1
        paths = self.folder.glob(f"{self.lb4.pid}.{self.n_parts}-*")
        found = [path for path in paths if WORKER.search(path.read_text())]
        assert len(found) == 1, found
        return Count(found[0])
