"""A service manager as lb4 sees one: a socket for sd_notify(3), and sockets to pass."""
import os
import socket
import tempfile
import threading
import time

LIMIT_S = 10


class Manager:
    """Listens at a path that the unprivileged uid may write to, or at an abstract name; as a
    context. `messages` are what came so far: (when, {"READY": "1", ...})."""

    def __init__(self, is_abstract=False):
        self.directory = tempfile.TemporaryDirectory(prefix="lb4-manager-")
        os.chmod(self.directory.name, 0o755)
        self.name = f"{self.directory.name}/notify"
        if is_abstract:
            self.name = "@" + self.name.replace("/", "-")
        self.messages = []
        self.changed = threading.Condition()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.name.replace("@", "\0", 1) if is_abstract else self.name)
        if not is_abstract:
            os.chmod(self.name, 0o777)
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def environment(self, watchdog_s=None):
        env = {"NOTIFY_SOCKET": self.name}
        if watchdog_s:
            env["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        return env

    def listen(self):
        while True:
            text = self.sock.recv(4096).decode()
            if text == "end of test":
                return
            words = dict(line.split("=", 1) for line in text.splitlines())
            with self.changed:
                self.messages.append((time.monotonic(), words))
                self.changed.notify_all()

    def all_of(self, word):
        """When, for each message with this word."""
        with self.changed:
            return [when for when, words in self.messages if word in words]

    def wait(self, word, count=1, limit_s=LIMIT_S):
        """The words of the last of so many messages with this word."""
        with self.changed:
            def found():
                return [words for _, words in self.messages if word in words]
            assert self.changed.wait_for(lambda: len(found()) >= count, limit_s), (
                f"fewer than {count} of {word}: {self.messages}")
            return found()[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"end of test", self.sock.getsockname())
        self.thread.join()
        self.sock.close()
        self.directory.cleanup()


def listening(host, port, backlog=512):
    """A TCP socket as systemd opens it; "::" takes IPv4 too."""
    sock = bound(host, port, socket.SOCK_STREAM)
    sock.listen(backlog)
    return sock


def bound(host, port, kind=socket.SOCK_DGRAM):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind((host, port))
    return sock
