"""A terminal that a test can look at: tmux with a server of its own, without anybody's settings."""
import os
import pathlib
import re
import secrets
import subprocess
import time

LIMIT_S = 20


class Tmux:
    """A shell in a terminal of this size. As a context; the server is ended with it."""

    def __init__(self, width=80, height=24, env=()):
        self.name = "lb4-test-" + secrets.token_hex(8)
        # LeakSanitizer hangs in a process whose terminal goes while it exits: the hang-up kills its
        # tracer, which the process waits for. Runs without a terminal look for leaks.
        options = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        self.env = {"PS1": "$ ", "LC_ALL": "C.UTF-8", "ASAN_OPTIONS": options, **dict(env)}
        self.size = width, height

    def __enter__(self):
        width, height = map(str, self.size)
        words = [f"{name}={value}" for name, value in self.env.items()]
        self.call("new-session", "-d", "-x", width, "-y", height, "env", "-u", "NO_COLOR", *words,
                  "bash", "--norc", "--noprofile", "-i")
        self.wait(lambda text: "$" in text, "a prompt")
        return self

    def __exit__(self, *_):
        self.call("kill-server")

    def call(self, *words):
        done = subprocess.run(["tmux", "-u", "-L", self.name, "-f", "/dev/null", *words],
                              capture_output=True, text=True, check=True, timeout=LIMIT_S)
        return done.stdout

    def type(self, text):
        """A line of the shell."""
        self.call("send-keys", "-l", text)
        self.call("send-keys", "Enter")

    def keys(self, *names):
        """Keys by the names of tmux: "q", "Up", "C-c"."""
        self.call("send-keys", *names)

    def text(self, *options):
        return self.call("capture-pane", "-p", *options)

    def resize(self, width, height):
        self.call("resize-window", "-x", str(width), "-y", str(height))

    def wait(self, condition, what, limit_s=LIMIT_S):
        """The text, once condition(text) is true."""
        deadline = time.monotonic() + limit_s
        while True:
            text = self.text()
            if condition(text):
                return text
            assert time.monotonic() < deadline, f"not within {limit_s} s: {what}\n{text}"
            time.sleep(0.05)

    def wait_for(self, pattern, limit_s=LIMIT_S):
        return self.wait(lambda text: re.search(pattern, text, re.M), pattern, limit_s)

    def wait_gone(self, pattern, limit_s=LIMIT_S):
        return self.wait(lambda text: not re.search(pattern, text, re.M), "no " + pattern, limit_s)


def child_of(pid, name):
    """The process of this name below another one."""
    path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    for word in path.read_text().split() if path.exists() else []:
        if pathlib.Path(f"/proc/{word}/comm").read_text().strip() == name:
            return int(word)
        found = child_of(word, name)
        if found:
            return found
    return None
