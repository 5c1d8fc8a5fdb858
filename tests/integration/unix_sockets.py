"""Unix stream sockets for tests: a folder that everybody may write to, servers on a path or on an
abstract name, and their clients. "@name" is the abstract name, as the configuration writes it."""
import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

import servers

PROGRAM = """
import sys, unix_sockets
with unix_sockets.Server(sys.argv[1]):
    print("listening", flush=True)
    sys.stdin.read()
"""


class Folder:
    """As a context it is made and removed; `folder / name` is a path in it."""

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="lb4-unix-")
        os.chmod(self.directory.name, 0o777)
        return self

    def __exit__(self, *_):
        self.directory.cleanup()

    def __truediv__(self, name):
        return f"{self.directory.name}/{name}"

    def names(self):
        return sorted(os.listdir(self.directory.name))


def kernel_name(path):
    return "\0" + path[1:] if path.startswith("@") else path


def is_file(path):
    return not path.startswith("@")


class Server:
    """Calls serve(socket) in a thread for each connection; at first an echo to the client's FIN. As
    a context; at its end its file has gone. `n_accepted` counts those that said something."""

    def __init__(self, path, serve=None, backlog=512):
        self.path = path
        self.n_accepted = 0
        self.first_bytes = []
        self.serve = serve or self.echo
        self.listener = socket.socket(socket.AF_UNIX)
        if is_file(path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self.listener.bind(kernel_name(path))
        if is_file(path):
            os.chmod(path, 0o777)
        self.listener.listen(backlog)
        self.is_accepting = serve is not False
        if self.is_accepting:
            self.thread = threading.Thread(target=self.accept, daemon=True)
            self.thread.start()

    @property
    def address(self):
        return f"unix:{self.path}"

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                threading.Thread(target=self.run, args=(sock,), daemon=True).start()

    def run(self, sock):
        with sock, contextlib.suppress(OSError):
            self.serve(sock)

    def echo(self, sock):
        data = sock.recv(65536)
        self.n_accepted += bool(data)
        if data:
            self.first_bytes.append(data[:200])
        while data:
            sock.sendall(data)
            data = sock.recv(65536)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if is_file(self.path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)


class ServerProcess:
    """The same echo in a process, which can be killed: then its file stays, and nobody answers. As a
    context it starts, and is killed at the end."""

    def __init__(self, path):
        self.path = path
        self.process = None

    @property
    def address(self):
        return f"unix:{self.path}"

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, self.path], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, cwd=pathlib.Path(__file__).parent)
        assert self.process.stdout.readline() == b"listening\n"
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process:
            self.kill()


def connect(address, limit_s=servers.ECHO_LIMIT_S):
    """To "unix:/path", "unix:@name", or "host:port"."""
    if not address.startswith("unix:"):
        return servers.connect(address, limit_s)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(limit_s)
        sock.connect(kernel_name(address.removeprefix("unix:")))
    except OSError:
        sock.close()
        raise
    return sock


def ask_once(address, payload=b"x"):
    with connect(address) as sock:
        servers.ask(sock, payload)


def error_of(address):
    """The errno of a connect; 0 = it succeeds."""
    try:
        connect(address).close()
    except OSError as error:
        return error.errno
    return 0


def fill(path):
    """Connections until the backlog of a server that accepts nobody is full."""
    held = []
    while True:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            sock.connect(kernel_name(path))
        except BlockingIOError:
            sock.close()
            return held
        held.append(sock)
        assert len(held) < 10000


def wait_mode(path, mode, limit_s=servers.ECHO_LIMIT_S):
    deadline = time.monotonic() + limit_s
    while (os.stat(path).st_mode & 0o7777) != mode:
        assert time.monotonic() < deadline, oct(os.stat(path).st_mode)
        time.sleep(0.005)
