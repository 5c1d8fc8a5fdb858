"""lb4ctl top: what a terminal shows is what goes on, keys do what they say, and the terminal is
given back as it was, whatever happens."""
import contextlib
import os
import pathlib
import re
import signal
import socket
import threading
import time

import pytest

import conftest
import drill
import pools
import servers
import slow_link
import tmux

pytestmark = pytest.mark.patient

LISTEN = "127.0.0.1:7300"
CHUNK = 4000
PAUSE_S = 0.02
ESCAPE = "\x1b"
UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}


class Busy:
    """Clients that send and read echoes all the time, the first the most. As a context."""

    def __init__(self, address, count=3):
        self.socks = [servers.connect(address) for _ in range(count)]
        self.n_bytes = [0] * count
        self.is_ending = False
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True)
                        for i in range(count)]
        for thread in self.threads:
            thread.start()

    def name(self, index):
        return "%s:%d" % self.socks[index].getsockname()

    def run(self, index):
        payload = bytes(CHUNK >> (2 * index))
        with contextlib.suppress(OSError):
            while not self.is_ending:
                servers.ask(self.socks[index], payload)
                self.n_bytes[index] += len(payload)
                time.sleep(PAUSE_S)

    def rate(self, index, seconds=2.0):
        """Bytes per second each way, of a while from now on."""
        before, at = self.n_bytes[index], time.monotonic()
        time.sleep(seconds)
        return (self.n_bytes[index] - before) / (time.monotonic() - at)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.is_ending = True
        for thread in self.threads:
            thread.join()
        for sock in self.socks:
            sock.close()


def number(text):
    """As top writes it: "98.7k"."""
    found = re.fullmatch(r"([\d.]+)([kMG]?)", text)
    assert found, text
    return float(found[1]) * UNITS[found[2]]


def config(desk, echoes, listen=LISTEN):
    check = "check tcp interval 100ms timeout 500ms fall 2 rise 1"
    return desk.directive + pools.config(listen, [echo.address for echo in echoes], check)


@pytest.fixture
def echoes():
    """Two, which a test may end, and put another in the place."""
    echoes = [servers.EchoServer() for _ in range(2)]
    yield echoes
    for echo in echoes:
        echo.__exit__()


@pytest.fixture
def lb4(start_lb4, desk, echoes):
    return start_lb4(["-w", "2"], config=config(desk, echoes), debug=False)


def command(desk, *words):
    return " ".join([desk.program, "-s", str(desk.path), "top", *words])


def rows(text, part):
    """Cells of the rows of a part, by its title on the screen or in a file."""
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if re.match(rf"(\d:)?{part}\b", line))
    found = []
    for line in lines[at + 1:]:
        if not line.strip() or re.match(r"\d:|q quit", line):
            break
        found.append(line.split())
    return found


def keep(name, text):
    """For who wants to see what it looked like."""
    binary = pathlib.Path(os.environ.get("LB4", conftest.ROOT / "build/release/lb4"))
    folder = binary.parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)


# --- what is shown

def test_shows_what_goes_on(lb4, desk, echoes):
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(servers.connect(LISTEN)) for _ in range(20)]
        busy = stack.enter_context(Busy(LISTEN))
        screen = stack.enter_context(tmux.Tmux())
        screen.type(command(desk))
        screen.wait_for(re.escape(busy.name(0)) + r".*\d+(\.\d+)?k")
        texts = []

        def is_right():
            """The machine may be busy with others: not at once."""
            rate = busy.rate(0, 1.0)
            texts.append(screen.text())
            first = rows(texts[-1], "CLIENT")[0]
            (service,) = rows(texts[-1], "SERVICE")
            return (first[0] == busy.name(0) and rate < number(service[5]) < rate * 3 and
                    all(rate / 2 < number(cell) < rate * 2 for cell in first[4:6]))
        servers.wait_until(is_right, limit_s=30, what="the rate of the busiest")
        text = texts[-1]
        assert re.search(r"^\d\d:\d\d:\d\d lb4 \S+ running, up \S+, 23 of \d+ connections", text)
        (service,) = rows(text, "SERVICE")
        assert service[:3] == ["web", "2/2", "23"]
        assert sorted(row[0] for row in rows(text, "SERVER")) == ["web/s1", "web/s2"]
        assert {row[1] for row in rows(text, "SERVER")} == {"up"}
        first, second = rows(text, "CLIENT")[:2]
        assert first[0] == busy.name(0) and second[0] == busy.name(1)
        assert re.fullmatch(r"\d+us|[\d.]+ms", first[7]) and first[8] == "0", first
        keep("top-80x24.txt", text)
        assert len(idle) == 20


def test_down_server_is_first(lb4, desk, echoes):
    with tmux.Tmux(100, 24) as screen:
        screen.type(command(desk, "--interval", "200ms"))
        screen.wait_for(r"web +2/2")
        echoes[1].__exit__()
        try:
            text = screen.wait_for(r"^web/s2 +down .*connection refused")
            screen.wait_for(r"^web +1/2")
            assert [row[0] for row in rows(text, "SERVER")] == ["web/s2", "web/s1"]
            keep("top-down-100x24.txt", text)
            assert f"{ESCAPE}[31mdown" in screen.text("-e")
        finally:
            echoes[1] = servers.EchoServer(port=echoes[1].port)
        screen.wait_for(r"^web/s2 +up ")
        screen.keys("q")
        screen.wait_for(r"^\$ *$")


def test_of_one_service(start_lb4, desk, echoes):
    text = config(desk, echoes[:1]) + config(desk, echoes[1:], "127.0.0.1:7301").replace(
        desk.directive, "").replace("service web", "service other")
    start_lb4(["-w", "2"], config=text, debug=False)
    with servers.connect(LISTEN), servers.connect("127.0.0.1:7301"):
        shown = desk.do("top", "other", "--interval", "200ms")
    assert [row[0] for row in rows(shown, "SERVICE")] == ["other"]
    assert [row[0] for row in rows(shown, "SERVER")] == ["other/s1"]
    assert [row[1] for row in rows(shown, "CLIENT")] == ["other/s1"]
    done = desk.run("top", "nosuch")
    assert done.returncode == 1 and "no server 'nosuch'" in done.stderr


@pytest.mark.parametrize("env, absent", [
    ({"NO_COLOR": "1"}, "\\[3[0-7]m"), ({"LC_ALL": "C"}, "[^\x00-\x7f]")])
def test_without_colours_or_utf8(lb4, desk, echoes, env, absent):
    desk.do("drain", "web/s1")
    with tmux.Tmux(env=env) as screen:
        variables = " ".join(f"{name}={value}" for name, value in env.items())
        screen.type(f"{variables} {command(desk)}")
        screen.wait_for(r"^web/s1 +drain")
        text = screen.text("-e")
        assert not re.search(absent, text), text
        assert ("STATE▼" if "NO_COLOR" in env else "STATEv") in screen.text()


# --- keys

def test_sort_keys(lb4, desk, echoes):
    with Busy(LISTEN) as busy, tmux.Tmux() as screen:
        screen.type(command(desk, "--interval", "200ms"))

        def wait_order(*indices):
            names = [busy.name(index) for index in indices]
            screen.wait(lambda text: "CLIENT" in text and
                        [row[0] for row in rows(text, "CLIENT")] == names, f"order {names}")
        wait_order(0, 1, 2)
        screen.keys("r")
        wait_order(2, 1, 0)
        screen.keys("r")
        wait_order(0, 1, 2)
        by_name = sorted(range(3), key=busy.name)
        screen.keys("s")
        screen.wait_for("CLIENT▲")
        wait_order(*by_name)
        screen.keys("r")
        screen.wait_for("CLIENT▼")
        wait_order(*reversed(by_name))
        for _ in range(4):
            screen.keys("Right")
        screen.wait_for("IN/S▼")
        wait_order(0, 1, 2)
        screen.keys("<")
        screen.wait_for("IDLE▼")
        screen.keys("q")
        screen.wait_for(r"^\$ *$")


def test_parts_help_and_pause(lb4, desk, echoes):
    with Busy(LISTEN) as busy, tmux.Tmux() as screen:
        screen.type(command(desk, "--interval", "200ms", "--sort", "active"))
        screen.wait_for(r"2:SERVER .*ACTIVE▼")
        screen.keys("3")
        screen.wait_gone("1:SERVICE")
        screen.wait_for("3:CLIENT")
        screen.keys("Tab")
        screen.wait_for("1:SERVICE")
        screen.wait_gone("3:CLIENT")
        screen.keys("Enter")
        screen.wait_for("3:CLIENT")
        screen.keys("?")
        keep("top-help.txt", screen.wait_for("Ctrl-Z"))
        screen.keys("x")
        screen.wait_for("3:CLIENT")
        screen.keys("p")
        screen.wait_for("^PAUSED")
        # Nothing moves: neither the time nor the bytes, whose number grows all the time.
        text = screen.text()
        busy.rate(0, 1.0)
        assert screen.text() == text
        screen.keys("p")
        screen.wait(lambda now: "PAUSED" not in now and rows(now, "CLIENT") != rows(
            text, "CLIENT"), "it goes on")


# --- sizes

def test_sizes(lb4, desk, echoes):
    with Busy(LISTEN) as busy, tmux.Tmux() as screen:
        screen.type(command(desk, "--interval", "200ms"))
        screen.wait_for(r"S-RX")
        for width, height in [(40, 12), (20, 5), (10, 2), (1, 1), (200, 50), (80, 24)]:
            screen.resize(width, height)
            if width >= 40:
                text = screen.wait(lambda text: busy.name(0)[:12] in text and len(
                    text.rstrip().splitlines()) == height, f"{width}x{height}")
                keep(f"top-{width}x{height}.txt", text)
                assert ("S-RX" in text) == (width >= 80), text
                assert all(len(line) <= width for line in text.splitlines())
        screen.keys("q")
        screen.wait_for(r"^\$ *$")


# --- ends

ENDS = {
    "q": lambda screen, pid: screen.keys("q"),
    "ctrl-c": lambda screen, pid: screen.keys("C-c"),
    "term": lambda screen, pid: os.kill(pid, signal.SIGTERM),
    "int": lambda screen, pid: os.kill(pid, signal.SIGINT),
}


def start_between(screen, desk, folder, *words):
    """top between two looks at the settings of the terminal; its pid."""
    screen.type(f"stty -a > {folder}/before; {command(desk, *words)}; echo code=$?;"
                f" stty -a > {folder}/after; echo 'it is 'over")
    screen.wait_for("3:CLIENT")
    return tmux.child_of(int(screen.call("display-message", "-p", "#{pane_pid}")), "lb4ctl")


def check_restored(screen, folder, code=0):
    text = screen.wait_for("it is over")
    assert f"code={code}" in text
    before, after = (pathlib.Path(folder, name).read_text() for name in ("before", "after"))
    assert before == after and " echo " in after and " icanon " in after
    assert screen.call("display-message", "-p", "#{cursor_flag}").strip() == "1"


@pytest.mark.parametrize("end", ENDS)
def test_terminal_is_given_back(lb4, desk, echoes, tmp_path, end):
    with tmux.Tmux() as screen:
        pid = start_between(screen, desk, tmp_path)
        ENDS[end](screen, pid)
        check_restored(screen, tmp_path)


def test_ends_with_its_terminal(lb4, desk, echoes, tmp_path):
    with tmux.Tmux() as screen:
        pid = start_between(screen, desk, tmp_path)
    servers.wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), what="its end")


def test_stopped_and_continued(lb4, desk, echoes, tmp_path):
    with tmux.Tmux() as screen:
        screen.type(f"stty -a > {tmp_path}/before")
        screen.type(command(desk))
        screen.wait_for("3:CLIENT")
        for stop in ("key", "signal"):
            shell = int(screen.call("display-message", "-p", "#{pane_pid}"))
            if stop == "key":
                screen.keys("C-z")
            else:
                os.kill(tmux.child_of(shell, "lb4ctl"), signal.SIGTSTP)
            screen.wait_for(r"Stopped")
            screen.type(f"clear; stty -a > {tmp_path}/after; echo stop'ped'")
            screen.wait_for("^stopped")
            assert (tmp_path / "before").read_text() == (tmp_path / "after").read_text()
            screen.type("fg")
            screen.wait_gone("^stopped")
            screen.wait_for("3:CLIENT")
        screen.keys("q")
        screen.type(f"stty -a > {tmp_path}/after; echo e'nd'")
        screen.wait_for("^end")
        assert (tmp_path / "before").read_text() == (tmp_path / "after").read_text()


# --- lb4 goes away

def test_survives_a_restart(start_lb4, desk, echoes, tmp_path):
    text = config(desk, echoes)
    lb4 = start_lb4(["-w", "2"], config=text, debug=False)
    with tmux.Tmux() as screen:
        start_between(screen, desk, tmp_path, "--interval", "200ms")
        screen.wait_for("web +2/2")
        lb4.finish(checks_descriptors=False)
        gone = screen.wait_for("NO LB4")
        keep("top-gone.txt", screen.wait_for(f"(there is no|at) {desk.path}"))
        assert "web" in gone, "what it said last stays"
        start_lb4(["-w", "2"], config=text, debug=False)
        screen.wait_gone("NO LB4")
        with Busy(LISTEN) as busy:
            screen.wait_for(re.escape(busy.name(0)))
        screen.keys("q")
        check_restored(screen, tmp_path)


def test_quits_while_lb4_is_away(start_lb4, desk, echoes, tmp_path):
    lb4 = start_lb4(["-w", "2"], config=config(desk, echoes), debug=False)
    with tmux.Tmux() as screen:
        start_between(screen, desk, tmp_path)
        lb4.finish(checks_descriptors=False)
        screen.wait_for("NO LB4")
        screen.keys("q")
        check_restored(screen, tmp_path)


# --- without a terminal

def test_piped(lb4, desk, echoes):
    with Busy(LISTEN) as busy:
        began = time.monotonic()
        text = desk.do("top")
        assert time.monotonic() - began >= 1, "rates need two readings"
        assert ESCAPE not in text and text.isascii()
        assert text.count("CLIENT") == 1
        (service,) = rows(text, "SERVICE")
        assert service[:3] == ["web", "2/2", "3"] and number(service[5]) > 0
        assert [row[0] for row in rows(text, "CLIENT")] == [busy.name(i) for i in range(3)]
        text = desk.do("top", "-n", "3", "--interval", "200ms", "--sort", "client")
        assert text.count("CLIENT") == 3
        assert [row[0] for row in rows(text, "CLIENT")] == sorted(map(busy.name, range(3)))


def test_dumb_terminal(lb4, desk, echoes):
    with tmux.Tmux(120, 40) as screen:
        screen.type("TERM=dumb " + command(desk) + "; echo code=$?")
        text = screen.wait_for("^code=0")
        assert [row[0] for row in rows(text, "SERVICE")] == ["web"]
        assert "1:SERVICE" not in text
        assert f"{ESCAPE}[7m" not in screen.text("-e")


@pytest.mark.parametrize("words, said", [
    (["--interval", "5"], "200ms..1h"), (["--sort", "nosuch"], "no column 'nosuch'"),
    (["-n", "0"], "1..1000000000"), (["a", "b"], "one service too many"), (["--wat"], "no option")])
def test_bad_words(desk, words, said):
    done = desk.run("top", *words)
    assert done.returncode == 2 and said in done.stderr


def test_nobody_there(desk):
    done = desk.run("top")
    assert done.returncode == 3 and "does lb4 run" in done.stderr and not done.stdout
    done = desk.run("--json", "top")
    assert done.returncode == 2 and "JSON" in done.stderr


# --- what comes over the wire

class Liar:
    """Says whatever it was told, to everybody who asks four questions. As a context."""

    def __init__(self, path, answers):
        self.answers = answers
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                with sock:
                    while sock.recv(4096):
                        sock.sendall(self.answers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


EVIL = (b"name\tvalue\nversion\t1\x1b[2J\x07\nok\n"
        b"service\tservers_up\nw\x1b]0;title\x07eb\t1\nok\n"
        b"service\tserver\tstate\twhy\nweb\ts1\tdown\tso\x1b[31m\xc2\x9b2J\x08\x7f\xff it is\nok\n"
        b"client\tservice\tserver\n\x9b[2J192.0.2.1:5\tweb\ts1\nok\n")


def test_control_bytes_are_removed(desk):
    with Liar(desk.path, EVIL):
        done = desk.run("top", "--interval", "200ms", env={**os.environ, "LC_ALL": "C.UTF-8"})
        assert done.returncode == 0, done
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.stdout), repr(done.stdout)
        assert "so[31m2J? it is" in done.stdout
        with tmux.Tmux() as screen:
            screen.type(command(desk))
            text = screen.wait_for("192.0.2.1:5")
            assert "1:SERVICE" in text and "w]0;titleeb" in text


@pytest.mark.parametrize("answers", [b"", b"ok\n" * 4, b"\n\t\n\n" * 50 + b"ok\nok\nok\nok\n",
                                     b"\x00\xff\t" * 3000 + b"\nok\n" * 4, b"error " + b"x" * 5000 + b"\n"])
def test_nonsense(desk, answers):
    """It ends, with or without a message, but in good order."""
    with Liar(desk.path, answers or b"x"):
        process = desk.start("top", "--interval", "200ms")
        with contextlib.suppress(Exception):
            process.communicate(timeout=3)
        process.terminate()
        process.communicate()
        assert process.returncode in (0, 1, 3, -signal.SIGTERM)


# --- the way to either side

def leg(row, side):
    return row[f"{side}_rtt_us"], row[f"{side}_retransmits"]


def converse(sock, count):
    """Request and answer at once, so that nobody waits with an acknowledgement."""
    for _ in range(count):
        servers.ask(sock, bytes(1000))


def hang_up(desk, sock):
    """While there is a way for the end of it to be told."""
    sock.close()
    servers.wait_until(lambda: not desk.json("show", "connections"), what="its end")


def test_round_trips_of_the_server_leg(start_lb4, desk):
    with slow_link.SlowLink(delay_s=0.02) as link, contextlib.ExitStack() as stack:
        echo = stack.enter_context(link.neighbour.run(servers.EchoServer, "v4", slow_link.THERE))
        start_lb4(["-w", "1"], config=config(desk, [echo]), debug=False)
        sock = stack.enter_context(servers.connect(LISTEN))
        converse(sock, 30)
        row, = desk.json("show", "connections", "--busiest", "5")
        assert leg(row, "server")[0] >= 20000, row
        assert leg(row, "client")[0] < 15000, row
        assert leg(row, "client")[1] == 0
        (shown,) = rows(desk.do("top", "--interval", "200ms"), "CLIENT")
        assert re.fullmatch(r"[2-9]\dms|\d\d\dms", shown[9]), shown
        hang_up(desk, sock)


def test_round_trips_and_losses_of_the_client_leg(start_lb4, desk):
    with slow_link.SlowLink(delay_s=0.02, drop_nth=5) as link, contextlib.ExitStack() as stack:
        echo = stack.enter_context(servers.EchoServer())
        listen = f"{slow_link.HERE}:7302"
        start_lb4(["-w", "1"], config=config(desk, [echo], listen), debug=False)
        sock = stack.enter_context(link.neighbour.run(servers.connect, listen))
        converse(sock, 20)
        row, = desk.json("show", "connections", "--busiest", "5")
        assert leg(row, "client")[0] >= 20000, row
        assert leg(row, "client")[1] >= link.n_dropped - 1 > 0, (row, link.n_dropped)
        assert leg(row, "server")[0] < 15000 and leg(row, "server")[1] == 0, row
        hang_up(desk, sock)


# --- what it costs

@pytest.mark.serial
def test_costs_little(start_lb4, desk, echoes):
    """A thousand connections, one top that looks each second."""
    lb4 = start_lb4(["-w", "2"], config=config(desk, echoes).replace("check tcp interval 100ms",
                                                                     "check tcp interval 10s"),
                    debug=False)
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(servers.connect(LISTEN))
        process = desk.start("top", "-n", "1000")
        stack.callback(process.wait)
        stack.callback(process.stdout.close)
        stack.callback(process.terminate)
        threading.Thread(target=process.stdout.read, daemon=True).start()
        lb4.load_during(2)
        share, _ = lb4.load_during(5)
        assert share < drill.bar(0.01), f"{share:.2%} of a CPU"
