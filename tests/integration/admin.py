"""Operators of lb4: lb4ctl as a process, and the admin socket by hand."""
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import time

LIMIT_S = 30


class Desk:
    """A folder with the admin socket of one lb4. As a context it makes and removes the folder."""

    def __init__(self, program):
        self.program = str(program)
        self.folder = None

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="lb4-admin-")
        os.chmod(self.folder.name, 0o777)
        return self

    def __exit__(self, *_):
        self.folder.cleanup()

    @property
    def path(self):
        return pathlib.Path(self.folder.name, "admin.sock")

    @property
    def directive(self):
        """The line of the configuration."""
        return f"admin unix:{self.path}\n"

    # --- lb4ctl

    def run(self, *words, **options):
        """lb4ctl with these words, whatever becomes of it."""
        return subprocess.run([self.program, "-s", str(self.path), *words], capture_output=True,
                              text=True, timeout=LIMIT_S, check=False, **options)

    def start(self, *words):
        """lb4ctl with these words, in the background."""
        return subprocess.Popen([self.program, "-s", str(self.path), *words],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def do(self, *words):
        """The same, which must go well; its output."""
        done = self.run(*words)
        assert done.returncode == 0, f"lb4ctl {' '.join(words)}: {done}"
        assert not done.stderr, done.stderr
        return done.stdout

    def json(self, *words):
        return json.loads(self.do(*words, "--json"))

    def server(self, name):
        """What there is to say about SERVICE/SERVER."""
        rows = self.json("show", "servers", name)
        assert len(rows) == 1
        return rows[0]

    # --- by hand

    def connect(self, limit_s=LIMIT_S):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self.path))
        sock.settimeout(limit_s)
        return sock

    def ask(self, text):
        """Send these bytes, end our side, and read all that comes."""
        with self.connect() as sock:
            sock.sendall(text.encode() if isinstance(text, str) else text)
            sock.shutdown(socket.SHUT_WR)
            return read_all(sock)


def read_all(sock):
    """What comes until the end; a reset counts as one."""
    came = b""
    while True:
        try:
            data = sock.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            return came.decode()
        came += data


def table(text):
    """The rows of a reply in its text form, as dictionaries."""
    lines = text.splitlines()
    assert lines[-1] == "ok", text
    names = lines[0].split("\t")
    return [dict(zip(names, line.split("\t"), strict=True)) for line in lines[1:-1]]


def plain(value):
    """A JSON value as the text form writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if value != "" else "-"


# --- the configuration of an lb4 that runs

OLD_S = 10  # lb4 waits for a file that was written to just now: it may not be complete


def put_config(lb4, text):
    """By rename, a file that was written a while ago. Returns its path."""
    path = pathlib.Path(lb4.directory.name, "lb4.conf")
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    then = time.time() - OLD_S
    os.utime(fresh, (then, then))
    os.rename(fresh, path)
    return path
