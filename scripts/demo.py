"""What the live demo and the tour share: the demo servers, and lb4 before them."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import demo_log

LB4 = "build/release/lb4"
LB4CTL = "build/release/lb4ctl"
CONFIG = "lb4.conf.example"
LISTEN_PORT = 7000
PAGE_PORT = 7080  # of lb4's own page
SERVERS = {"web1": 7001, "web2": 7002, "web3": 7003}  # as in lb4.conf.example
SPARE = {"web4": 7004}  # for a reload
DEADLINE_S = 10


class DemoError(Exception):
    """Something that the user has to know; shown without a traceback."""


def wait_until(is_true, what):
    """Wait for a condition, at most DEADLINE_S."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        if time.monotonic() > deadline:
            raise DemoError(f"waited {DEADLINE_S} s in vain: {what}")
        time.sleep(0.01)


def connect(port=LISTEN_PORT):
    return socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)


def read_all(client):
    chunks = []
    while chunk := client.recv(65536):
        chunks.append(chunk)
    return b"".join(chunks)


def demand_free_port(port, kind):
    with socket.socket(type=kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DemoError(
                f"127.0.0.1:{port} is in use by another program "
                f"(as root, ss -ltunp 'sport = :{port}' tells which): {error.strerror}"
            ) from None


def is_listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Demo(contextlib.ExitStack):
    """Processes of the demo; leaving the `with` block ends them all."""

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(1))
        for port in (LISTEN_PORT, PAGE_PORT, *SERVERS.values(), *SPARE.values()):
            demand_free_port(port, socket.SOCK_STREAM)
            demand_free_port(port, socket.SOCK_DGRAM)
        self.folder = pathlib.Path(
            self.enter_context(tempfile.TemporaryDirectory(prefix="lb4-demo-"))
        )
        self.folder.chmod(0o755)  # lb4 reads its configuration as nobody, if root started it
        self.config = self.folder / "lb4.conf"
        self.write_config(self.read_example())
        return super().__enter__()

    @property
    def admin_socket(self):
        return self.folder / "admin.sock"

    def read_example(self):
        """lb4.conf.example, with a socket for lb4ctl, and the page."""
        mine = f"admin unix:{self.admin_socket}\nhttp 127.0.0.1:{PAGE_PORT}\n"
        return mine + pathlib.Path(CONFIG).read_text()

    def write_config(self, text):
        """By rename: lb4 never sees half of it."""
        fresh = self.config.with_suffix(".new")
        fresh.write_text(text)
        fresh.chmod(0o644)
        fresh.rename(self.config)

    def ctl(self, *words):
        """lb4ctl with these words; what it says."""
        done = subprocess.run(
            [LB4CTL, "-s", str(self.admin_socket), *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=2 * DEADLINE_S,
            check=False,
        )
        if done.returncode != 0:
            raise DemoError(f"lb4ctl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def start(self, *command, **options):
        """Start a process that Ctrl-C does not reach: this one ends it."""
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, start_new_session=True, **options
        )
        self.callback(stop, process)
        return process

    def start_servers(self, *names):
        """All at the same time. Returns them by name; they listen."""
        servers = {name: self.launch_server(name) for name in names or SERVERS}
        for name, process in servers.items():
            wait_for_port(process, name, (SERVERS | SPARE)[name])
        return servers

    def launch_server(self, name):
        return self.start(
            sys.executable, "-B", "scripts/demo_server.py", name, str((SERVERS | SPARE)[name])
        )

    def start_lb4(self):
        """Returns the process, and its log, which shows itself as it comes."""
        process = self.start(
            *lb4_command("-v", "-c", str(self.config)), stderr=subprocess.PIPE, text=True, errors="replace"
        )
        log = demo_log.Log(process.stderr)
        wait_for_port(process, "lb4", LISTEN_PORT)
        return process, log


def lb4_command(*arguments):
    """root's lb4 gives its rights up."""
    return [LB4, *arguments, *(["-u", "nobody"] if os.geteuid() == 0 else [])]


def wait_for_port(process, name, port):
    wait_until(lambda: process.poll() is not None or is_listening(port), f"{name} listens")
    if process.poll() is not None:
        raise DemoError(f"{name} ended with exit code {process.returncode} instead of listening")


def stop(process):
    """SIGTERM, and SIGKILL for one that does not obey. Returns the exit code."""
    process.terminate()
    try:
        return process.wait(DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def run(main):
    """Run `main` with its problems shown as one line, and its output at once, into a pipe too."""
    sys.stdout.reconfigure(line_buffering=True)
    try:
        main()
    except KeyboardInterrupt:
        print("\nstopped")
    except (DemoError, OSError) as error:
        sys.exit(f"error: {error}")
