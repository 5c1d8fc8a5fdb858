"""What a service manager is told: READY, STOPPING, WATCHDOG (sd_notify(3))."""
import contextlib
import os
import shutil
import signal
import time

import pytest

import admin
import daemon
import manager
import servers

pytestmark = pytest.mark.patient

LISTEN = "127.0.0.1:7000"
WATCHDOG_S = 0.4


@pytest.fixture
def server():
    with servers.EchoServer() as server:
        yield server


def start(start_lb4, server, env, *more, **options):
    return start_lb4(["-w", "2", *more, "-l", LISTEN, "-s", server.address], env=env, **options)


@pytest.mark.parametrize("is_abstract", [False, True], ids=["path", "abstract"])
def test_ready_when_it_serves_and_stopping_at_term(start_lb4, server, is_abstract):
    with manager.Manager(is_abstract) as systemd:
        lb4 = start(start_lb4, server, systemd.environment(), waits=False)
        ready = systemd.wait("READY")
        servers.ask_once(LISTEN)
        assert ready == {"READY": "1", "STATUS": "1 service on 1 address, 2 workers"}
        lb4.wait_ready()
        lb4.wait_n_closed("rule1", 1)
        assert not systemd.all_of("STOPPING") and not systemd.all_of("WATCHDOG")
        with servers.connect(LISTEN) as client:
            servers.ask(client)
            lb4.signal(signal.SIGTERM)
            stopping = systemd.wait("STOPPING")
            assert stopping["STATUS"] == "draining 1 connections"
            assert int(stopping["EXTEND_TIMEOUT_USEC"]) >= 30e6
            servers.ask(client)
        lb4.is_finished = True
        lb4.check_end()
        assert [len(systemd.all_of(word)) for word in ("READY", "STOPPING")] == [1, 1]


def test_not_ready_when_it_cannot_start(start_lb4, server):
    with manager.Manager() as systemd, manager.listening("127.0.0.1", 7000):
        lb4 = start(start_lb4, server, systemd.environment(), waits=False)
        assert lb4.wait_exit() == 1
        lb4.is_finished = True
        assert systemd.messages == []


def test_root_tells_too_after_it_has_become_nobody(start_lb4, server):
    """Where the socket is for root alone, and in the directory of root alone."""
    if not daemon.can_change_uid():
        pytest.skip("needs root")
    with manager.Manager() as systemd:
        os.chmod(systemd.name, 0o600)
        os.chmod(systemd.directory.name, 0o700)
        lb4 = start(start_lb4, server, systemd.environment(), "-u", "nobody", uid=None)
        systemd.wait("READY")
        lb4.finish()
        systemd.wait("STOPPING")


def test_the_watchdog_is_fed_regularly_while_draining_too(start_lb4, server):
    with manager.Manager() as systemd:
        lb4 = start(start_lb4, server, systemd.environment(WATCHDOG_S))
        systemd.wait("WATCHDOG", 5)
        with servers.connect(LISTEN) as client:
            servers.ask(client)
            lb4.signal(signal.SIGTERM)
            systemd.wait("STOPPING")
            fed = len(systemd.all_of("WATCHDOG"))
            systemd.wait("WATCHDOG", fed + 3)
        lb4.is_finished = True
        lb4.check_end()
        fed = systemd.all_of("WATCHDOG")
        print([f"{later - earlier:.3f}" for earlier, later in zip(fed, fed[1:])])
        assert all(later - earlier > WATCHDOG_S / 20 for earlier, later in zip(fed, fed[1:]))


def test_another_process_is_watched(start_lb4, server):
    with manager.Manager() as systemd:
        env = {**systemd.environment(0.02), "WATCHDOG_PID": "1"}
        lb4 = start(start_lb4, server, env)
        lb4.finish()
        systemd.wait("STOPPING")
        assert not systemd.all_of("WATCHDOG")


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("call,who", [("accept4", "worker"), ("connect", "prober")])
def test_a_thread_that_hangs_starves_the_watchdog(start_lb4, server, trace, call, who):
    """One thread hangs in a system call, the others live: no WATCHDOG=1; fed again afterwards."""
    check = ["-o", "check tcp interval 50ms"] if who == "prober" else []
    with manager.Manager() as systemd, contextlib.ExitStack() as stack:
        lb4 = start_lb4(["-w", "2", "-l", LISTEN, "-s", server.address, *check],
                        env=systemd.environment(WATCHDOG_S))
        systemd.wait("WATCHDOG", 2)
        start = len(lb4.lines)
        with lb4.traced(trace, call, f"delay_enter={int(5 * WATCHDOG_S * 1e6)}:when=1"):
            if who == "worker":
                stack.enter_context(servers.connect(LISTEN))
            lb4.wait_line(f"'{who}.* has not answered", start=start)
            fed = len(systemd.all_of("WATCHDOG"))
            lb4.wait_line("answer again", start=start)
        systemd.wait("WATCHDOG", fed + 2)
        times = systemd.all_of("WATCHDOG")
        gap = times[fed] - times[fed - 1]
        print(f"hungry for {gap:.2f} s")
        assert gap > 2 * WATCHDOG_S, "systemd would have restarted lb4"


@pytest.mark.parametrize("name", ["/tmp/lb4-no-manager-here", "relative", "vsock:2:1", "@",
                                  "/" + "x" * 200])
def test_an_unusable_socket_is_a_warning_only(start_lb4, server, name):
    lb4 = start(start_lb4, server, {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000"})
    assert " WARN " in lb4.wait_line("NOTIFY_SOCKET")
    servers.ask_once(LISTEN)
    lb4.wait_n_closed("rule1", 1)


def test_a_manager_that_does_not_read_hinders_nobody(start_lb4, server):
    """Its queue is full: lb4 serves, and ends when it is told to."""
    with manager.Manager() as systemd:
        lb4 = start(start_lb4, server, systemd.environment(0.01))
        systemd.wait("READY")
        lb4_fed = len(systemd.all_of("WATCHDOG"))
        systemd.wait("WATCHDOG", lb4_fed + 1)
        with systemd.changed:  # the reader stops
            lb4.wait_line("cannot be told")
            servers.ask_once(LISTEN)
            started = time.monotonic()
            lb4.signal(signal.SIGTERM)
            assert lb4.wait_exit() == 0
            assert time.monotonic() - started < 5
    lb4.is_finished = True


@pytest.mark.parametrize("is_good", [True, False], ids=["good", "bad"])
@pytest.mark.parametrize("how", ["hup", "lb4ctl"])
def test_reloading_and_ready_again(start_lb4, server, desk, is_good, how):
    """sd_notify(3): RELOADING=1 with the monotonic time, then READY=1, whatever became of it; and
    `lb4ctl reload`, the ExecReload= of the unit, says by its exit status whether it is in force."""
    text = desk.directive + "\n".join(
        ["service web {", f"listen tcp {LISTEN}", f"server s1 {server.address}", "}"]) + "\n"
    with manager.Manager() as systemd:
        lb4 = start_lb4(["-w", "2"], config=text, env=systemd.environment())
        systemd.wait("READY")
        admin.put_config(lb4, text.replace("listen", "tries 7\nlisten" if is_good else "frob"))
        asked_us = time.monotonic() * 1e6
        if how == "hup":
            lb4.signal(signal.SIGHUP)
        else:
            assert desk.run("reload").returncode == (0 if is_good else 1)
        systemd.wait("READY", 2)
        told_us = int(systemd.wait("RELOADING")["MONOTONIC_USEC"])
        assert asked_us <= told_us <= time.monotonic() * 1e6
        kinds = [next(iter(words)) for _, words in systemd.messages if "WATCHDOG" not in words]
        assert kinds == ["READY", "RELOADING", "READY"]
        assert ("tries 7" in desk.do("show", "config")) == is_good
        servers.ask_once(LISTEN)
        lb4.wait_n_closed("web", 1)


def test_dry_runs_and_weights_are_no_reload(start_lb4, server, desk):
    with manager.Manager() as systemd:
        start_lb4([], config=desk.directive + f"service web {{\nlisten tcp {LISTEN}\n"
                  f"server s1 {server.address}\n}}\n", env=systemd.environment())
        systemd.wait("READY")
        desk.do("weight", "web/s1", "5")
        desk.do("reload", "--dry-run")
        desk.do("reload")
        systemd.wait("READY", 2)
        assert len(systemd.all_of("RELOADING")) == 1
