"""-u drops privileges, in all threads and for good, or lb4 does not start."""
import pathlib
import re
import shutil
import signal

import pytest

import admin
import daemon
import servers

LISTEN = "127.0.0.1:80"
NET_BIND_SERVICE = 1 << 10

pytestmark = pytest.mark.skipif(not daemon.can_change_uid(), reason="needs root")


@pytest.fixture
def server():
    with servers.EchoServer() as server:
        yield server


def statuses(pid):
    """/proc/PID/task/*/status as dictionaries, the main thread's first."""
    found = []
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    for task in sorted(tasks, key=lambda path: path.name != str(pid)):
        lines = (task / "status").read_text().splitlines()
        found.append({key: value.strip() for key, value in (line.split(":", 1) for line in lines)})
    return found


@pytest.mark.parametrize("user", ["nobody", "nobody:nogroup"])
def test_all_threads_have_dropped_all(start_lb4, server, user):
    lb4 = start_lb4(["-w", "3", "-u", user, "-l", LISTEN, "-s", server.address], uid=None)
    servers.ask_once(LISTEN)
    threads = statuses(lb4.pid)
    assert len(threads) >= 1 + 3, "the control thread and the workers"
    for status in threads:
        assert set(status["Uid"].split()) == {"65534"}, status["Name"]
        assert set(status["Gid"].split()) == {"65534"}, status["Name"]
        assert set(status["Groups"].split()) <= {"65534"}, status["Name"]
        for kind in ("CapEff", "CapInh", "CapAmb"):
            assert int(status[kind], 16) == 0, f"{status['Name']}: {kind} {status[kind]}"
    main, *others = threads
    if daemon.IS_SANITIZED:  # the runtime of a sanitizer may have a thread of its own
        others = [status for status in others if status["Name"] != "lb4"]  # ours have names
    assert int(main["CapPrm"], 16) & ~NET_BIND_SERVICE == 0
    for status in others:
        assert int(status["CapPrm"], 16) == 0, f"{status['Name']}: CapPrm {status['CapPrm']}"
    lb4.wait_n_closed("rule1", 1)


def test_sigpipe_is_ignored(start_lb4, server):
    lb4 = start_lb4(["-l", "127.0.0.1:7000", "-s", server.address])
    ignored = int(statuses(lb4.pid)[0]["SigIgn"], 16)
    assert ignored & 1 << (13 - 1)


def expect_refusal(lb4):
    assert lb4.wait_exit() == 1, lb4.tail()
    lb4.is_finished = True
    assert not any(re.search(r"\bready\b", line) for line in lb4.lines)
    assert servers.is_refused(LISTEN)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("call", ["setgroups", "setresgid", "setresuid"])
@pytest.mark.parametrize("error", ["EPERM", "EAGAIN"])
def test_a_drop_that_fails_ends_the_start(start_lb4, server, trace, call, error):
    lb4 = start_lb4(["-u", "nobody", "-l", LISTEN, "-s", server.address], uid=None, waits=False,
                    env={"ASAN_OPTIONS": "detect_leaks=0"},
                    wrapper=["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={call}",
                             "-e", f"inject={call}:error={error}"])
    expect_refusal(lb4)
    assert "(INJECTED)" in trace.read_text()


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_a_drop_that_only_pretends_is_found_out(start_lb4, server, trace):
    """setresuid says 0 and does nothing: verified, so refused."""
    lb4 = start_lb4(["-u", "nobody", "-l", LISTEN, "-s", server.address], uid=None, waits=False,
                    env={"ASAN_OPTIONS": "detect_leaks=0"},
                    wrapper=["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=setresuid",
                             "-e", "inject=setresuid:retval=0"])
    expect_refusal(lb4)


@pytest.mark.parametrize("user", ["no-such-user-here", "nobody:no-such-group-here"])
def test_an_unknown_user_is_named(start_lb4, server, user):
    lb4 = start_lb4(["-u", user, "-l", LISTEN, "-s", server.address], uid=None, waits=False)
    expect_refusal(lb4)
    assert "no-such-" in "\n".join(lb4.lines)


def test_without_the_right_to_become_another_user(start_lb4, server):
    lb4 = start_lb4(["-u", "daemon", "-l", "127.0.0.1:7000", "-s", server.address], waits=False)
    expect_refusal(lb4)


@pytest.mark.parametrize("user", ["", "user nobody"])
def test_a_reload_may_bind_a_low_port(start_lb4, server, user):
    """Whoever started it as root, whether it stays root or not."""
    def config(*listens):
        lines = [user, "service web {", *(f"listen tcp {listen}" for listen in listens),
                 f"server s1 {server.address}", "}"]
        return "\n".join(lines) + "\n"
    port = "127.0.0.1:81" if user else "127.0.0.1:82"
    lb4 = start_lb4(config=config(LISTEN), uid=None)
    admin.put_config(lb4, config(LISTEN, port))
    lb4.signal(signal.SIGHUP)
    lb4.wait_line("reload: done, 1 change")
    servers.ask_once(port)
    lb4.descriptors_at_start = None  # it has a listener more
