"""Files that are wrong change nothing, wherever they are wrong and whatever runs meanwhile; each is
reported with its place, and the next good one works."""
import contextlib
import os
import signal
import threading
import time

import pytest

import daemon
import drill
import reloading
import servers
import test_config

LISTEN = "127.0.0.1:7000"
PER_S = 200


@pytest.fixture(scope="module")
def pool():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(servers.ServerProcess(f"s{i + 1}")) for i in range(2)]


def good(server, *directives):
    return reloading.service("web", [f"tcp {LISTEN}"], [(server.name, server.address)],
                             "check none", *directives)


def ask_name():
    with servers.connect(LISTEN) as sock:
        sock.sendall(b"x")
        text = b""
        while not text.endswith(b"\nx"):
            data = sock.recv(100)
            assert data
            text += data
        return text.partition(b"\n")[0].decode()


def bad_files(is_full):
    """(title, text, what is said, with the place). In a normal run one in six."""
    files = [(title, text, f"{place + ': ' if place else ''}", words)
             for title, (text, place, words) in test_config.BAD.items()]
    return files if is_full else files[::6]


def test_bad_files_have_no_effect(start_lb4, pool, is_full):
    lb4, file = reloading.start(start_lb4, good(pool[0]))
    descriptors = lb4.descriptors()
    n_good = 0
    with drill.Drill(LISTEN, PER_S) as clients:
        for i, (title, text, place, words) in enumerate(bad_files(is_full)):
            n_changes, lines = file.reload(text)
            said = "\n".join(lines)
            assert n_changes is None, f"{title}: {said}"
            assert f"ERROR control: reload: {file.path}:{place}" in said, f"{title}: {said}"
            assert words in said, f"{title}: {said}"
            if i % 10 == 9:
                n_good += 1
                file.change(good(pool[n_good % 2]))
            assert ask_name() == pool[n_good % 2].name, title
        file.change(good(pool[0], "tries 9"))
    failed = drill.failures(clients.records)
    assert not failed, drill.describe(failed, lb4)
    lb4.wait_n_closed("web", len(clients.records))
    servers.wait_until(lambda: lb4.descriptors() == descriptors, what="no descriptor left")


@pytest.mark.parametrize("kind", ["gone", "a directory", "not readable", "a FIFO", "too large"])
def test_what_is_no_file(start_lb4, pool, kind):
    lb4, file = reloading.start(start_lb4, good(pool[0]))
    file.path.unlink()
    if kind == "a directory":
        file.path.mkdir()
    elif kind == "a FIFO":
        os.mkfifo(file.path)
    elif kind == "too large":
        with file.path.open("w") as big:
            big.truncate((16 << 20) + 1)
        os.utime(file.path, (1, 1))
    elif kind == "not readable":
        if not daemon.can_change_uid():
            pytest.skip("the one uid of this namespace may read it")
        file.path.write_text(good(pool[1]))
        file.path.chmod(0)
        os.utime(file.path, (1, 1))
    words = {"gone": "No such file", "a directory": "a directory, not a file", "a FIFO":
             "not a regular file", "too large": "larger than 16 MiB", "not readable":
             "Permission denied"}[kind]
    file.refuse(None, words)
    assert ask_name() == "s1"
    if kind == "a directory":
        file.path.rmdir()
    file.change(good(pool[1]))
    assert ask_name() == "s2"
    lb4.wait_n_closed("web", 2)


def test_a_file_that_is_being_written_is_not_taken(start_lb4, pool):
    """Each state between two lines would be a good file, of fewer services."""
    more = "".join(reloading.service(f"more{i}", [f"tcp 127.0.0.1:{7100 + i}"],
                                     [(pool[1].name, pool[1].address)], "check none")
                   for i in range(20))
    old, new = good(pool[0]) + more, good(pool[1]) + more
    lb4, file = reloading.start(start_lb4, old)
    is_done = threading.Event()

    def write_slowly():
        with file.path.open("w") as stream:
            for line in new.splitlines(keepends=True):
                stream.write(line)
                stream.flush()
                time.sleep(0.02)
        is_done.set()
    writer = threading.Thread(target=write_slowly)
    start = len(lb4.lines)
    writer.start()
    while not is_done.is_set():
        lb4.signal(signal.SIGHUP)
        time.sleep(0.05)
    writer.join()
    lb4.wait_line("reload: done, 2 changes$", 10, start)
    assert not any("service more" in line for line in lb4.lines[start:])
    assert ask_name() == "s2"
    lb4.wait_n_closed("web", 1)


def test_a_file_by_rename_is_taken_at_once(start_lb4, pool):
    lb4, file = reloading.start(start_lb4, good(pool[0]))
    for i in range(1, 5):
        file.change(good(pool[i % 2]), is_old=False)
        assert ask_name() == pool[i % 2].name
    lb4.wait_n_closed("web", 4)
