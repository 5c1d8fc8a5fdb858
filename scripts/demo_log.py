"""lb4's log: what it says about servers is shown as it comes, and how connections ended is kept."""

import re
import textwrap
import threading
import time

WIDTH = 79
LINE = re.compile(r"\d+-\d+-\d+T(\S+)Z (\w+) ([^:]+): (.*)")
CLOSED = re.compile(r"closed service=\S+ server=(\S+) client=\S+:(\d+) ")


def is_shown(level, thread):
    """What the prober says of servers, and everybody's troubles."""
    return level in ("WARN", "ERROR") or (level == "INFO" and thread == "prober")


def show(text):
    print(textwrap.fill(text, WIDTH, initial_indent="   ", subsequent_indent=" " * 21))


class Log:
    """Read by a thread of its own until lb4 ends."""

    def __init__(self, stream):
        self.texts = []  # (when it came, text) of the lines shown
        self.ended = {}  # port of a client -> (when the line came, the server that it had, or "-")
        self.news = threading.Condition()
        threading.Thread(target=self.read, args=(stream,), daemon=True).start()

    def read(self, stream):
        for line in stream:
            self.take(line.rstrip("\n"))

    def take(self, line):
        parts = LINE.fullmatch(line)
        clock, level, thread, text = parts.groups() if parts else ("", "ERROR", "", line)
        closed = CLOSED.match(text)
        if is_shown(level, thread):
            show(f"{clock} {level:5} {text}")
        with self.news:
            if closed:
                self.ended[int(closed[2])] = (time.monotonic(), closed[1])
            elif is_shown(level, thread):
                self.texts.append((time.monotonic(), text))
            self.news.notify_all()

    def wait(self, pattern, since, timeout_s):
        """When did a line come that has the pattern? Waits for it; None if there is none."""
        def find():
            return next((came for came, text in self.texts
                         if came >= since and re.search(pattern, text)), None)

        with self.news:
            return self.news.wait_for(find, timeout_s)

    def wait_server_of(self, client, timeout_s):
        """The server that a client's connection had when it ended; "-" is none, "" unknown."""
        def find():
            came, server = self.ended.get(client.port, (0, ""))
            return server if came >= client.started else ""

        with self.news:
            return self.news.wait_for(find, timeout_s)
