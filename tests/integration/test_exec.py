"""check exec: programs decide, as an unprivileged user, within their time, and none is left."""
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

import daemon
import pools
import programs
import reloading
import servers
import stopping

LISTEN = "127.0.0.1:7000"
ADDRESSES = ["127.0.0.1:7101", "127.0.0.1:7102"]  # nobody is there: programs alone decide
OPTIONS = "interval 100ms timeout 5s fall 1 rise 1"
LIMIT_S = 30
MOST_AT_A_TIME = 64

# s1 is well, s2 is what the test says.
S2 = '[ "$LB4_SERVER" = s2 ] || exit 0\n'


@pytest.fixture
def scripts():
    with programs.Programs() as found:
        yield found


@pytest.fixture
def start_lb4(scripts, start_lb4):
    """So that lb4 ends before the folder that its programs write to."""
    return start_lb4


def config(path, options=OPTIONS, addresses=ADDRESSES):
    return pools.config(LISTEN, addresses, f'check exec "{path}" {options}')


def start(start_lb4, scripts, lines, options=OPTIONS, **more):
    path = scripts.write("check", lines)
    return start_lb4(["-w", "1"], config=config(path, options), **more)


def outcomes(lb4, server="web/s2"):
    with lb4.changed:
        lines = list(lb4.lines)
    found = [re.search(rf" probe server={server} outcome=(\w+) ", line) for line in lines]
    return [match.group(1) for match in found if match]


# --- what decides

def test_the_exit_status_decides(start_lb4, scripts, desk):
    path = scripts.write("check", S2 + 'cat $FOLDER/lag 2>/dev/null && exit 3; exit 0')
    lb4 = start_lb4(["-w", "1"], config=desk.directive + config(path))
    assert {row["state"] for row in desk.json("show", "servers")} == {"up"}
    scripts.path("lag").write_text("replication lag 340 s\nand more\n")
    lb4.wait_line("server web/s2 is DOWN: exit 3: replication lag 340 s; it was up for")
    answer = desk.json("why", "web", "10.0.0.9")
    assert "exit 3: replication lag 340 s" in str(answer)
    assert any("error=exit 3: replication lag 340 s " in line for line in lb4.lines)
    scripts.path("lag").unlink()
    lb4.wait_line("server web/s2 is UP; it was down for")
    assert "web/s1 is" not in "\n".join(lb4.lines)


@pytest.mark.parametrize("lines, reason", [
    ("exit 1", "exit 1"),
    ("kill -SEGV $$", "killed by SIGSEGV"),
    ("echo 'psql: not found' >&2; exit 127", "exit 127: psql: not found"),
    ("printf 'a\\033[31m\\377\\tb'; exit 1", r"exit 1: a\\x1b\[31m\\xff b"),
], ids=["exit", "signal", "stderr", "bytes"])
def test_reasons(start_lb4, scripts, lines, reason):
    lb4 = start(start_lb4, scripts, S2 + lines)
    lb4.wait_line(f"server web/s2 is DOWN: {reason}; this was its first probe")


def test_one_that_hangs_is_killed_with_its_children(start_lb4, scripts):
    lb4 = start(start_lb4, scripts, S2 + "trap '' TERM\nsleep 1000 & echo $$ $! >$FOLDER/pids.$$\n"
                "wait", OPTIONS.replace("5s", "200ms"))
    line = lb4.wait_line(r"server web/s2 is DOWN: timed out after (19|20)\dms; this was its first probe")
    assert line
    servers.wait_until(lambda: outcomes(lb4).count("failed") >= 3, LIMIT_S, "more probes")
    pids = scripts.pids("pids.*")
    assert len(pids) >= 6
    lb4.finish()
    programs.wait_dead(pids)


def test_one_that_goes_missing(start_lb4, scripts):
    lb4 = start(start_lb4, scripts, "exit 0")
    scripts.path("check").unlink()
    lb4.wait_line("web/s2 is DOWN: the program cannot be started: No such file or directory; it was")
    scripts.write("check", "exit 0", 0o644)
    servers.wait_until(lambda: any("Permission denied" in line for line in lb4.lines), LIMIT_S)
    scripts.write("check", "exit 0")
    lb4.wait_line("server web/s2 is UP")


def test_a_flood_stops_nobody(start_lb4, scripts):
    """The one that floods is read, and in its time; the other one is probed meanwhile."""
    lb4 = start(start_lb4, scripts, S2 + "echo first; exec cat /dev/zero",
                OPTIONS.replace("5s", "1s"))
    lb4.wait_line("server web/s2 is DOWN: timed out: first; ")
    assert outcomes(lb4, "web/s1").count("ok") >= 3
    scripts.write("check", "head -c 3000000 /dev/zero; exit 0")
    lb4.wait_line("server web/s2 is UP")


def test_a_grandchild_that_holds_its_output(start_lb4, scripts):
    """The program's own end counts, and what it leaves behind ends with it."""
    lb4 = start(start_lb4, scripts, "sleep 1000 & echo $! >$FOLDER/left.$$; exit 0")
    servers.wait_until(lambda: outcomes(lb4).count("ok") >= 3, LIMIT_S, "probes that are ok")
    programs.wait_dead(scripts.pids("left.*")[:6])
    assert set(outcomes(lb4)) == {"ok"}


# --- what a program is given

REPORT = S2 + """
id -u >$FOLDER/new; id -G >>$FOLDER/new; ulimit -n >>$FOLDER/new; pwd >>$FOLDER/new
readlink /proc/$$/fd/0 >>$FOLDER/new; ls /proc/self/fd >$FOLDER/fds.new
grep -E '^(Cap(Eff|Prm|Inh|Amb)|NoNewPrivs|Sig(Blk|Ign)):' /proc/self/status >$FOLDER/status.new
env >$FOLDER/env.new
for kind in fds. status. env. ''; do mv $FOLDER/${kind}new $FOLDER/${kind}got; done
"""


def start_limited(start_lb4, path, *words, **more):
    lb4 = start_lb4(["-w", "1", *words], config=config(path), waits=False,
                    wrapper=["prlimit", "--nofile=512:4096", "--"], **more)
    lb4.is_wrapped = False  # prlimit(1) becomes lb4
    return lb4.wait_ready()


def check_report(scripts, uid):
    env = dict(line.split("=", 1) for line in scripts.read("env.got").splitlines())
    status = dict(re.findall(r"(\w+):\s+(\w+)", scripts.read("status.got")))
    got_uid, groups, nofile, cwd, stdin = scripts.read("got").splitlines()
    assert env == {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                   "LB4_SERVICE": "web", "LB4_SERVER": "s2", "LB4_ADDRESS": "127.0.0.1",
                   "LB4_PORT": "7102", "LB4_STATE": "up", "PWD": "/"}
    assert int(got_uid) == uid
    assert set(map(int, groups.split())) <= {uid, daemon.NOBODY}
    assert int(nofile) == 512, "the limit that lb4 was started with"
    assert (cwd, stdin) == ("/", "/dev/null")
    assert scripts.read("fds.got").split() == ["0", "1", "2", "3"], "and the folder itself"
    assert status.pop("NoNewPrivs") == "1"
    assert {int(value, 16) for value in status.values()} == {0}, status


def test_what_a_program_is_given(start_lb4, scripts):
    path = scripts.write("check", "exit 0")
    lb4 = start_limited(start_lb4, path)
    scripts.write("check", REPORT)
    check_report(scripts, daemon.LB4_UID if daemon.can_change_uid() else os.geteuid())
    assert "RLIMIT_NOFILE 4096" in "\n".join(lb4.lines)


@pytest.mark.skipif(not daemon.can_change_uid(), reason="needs root")
def test_started_by_root_it_is_not_root(start_lb4, scripts):
    path = scripts.write("check", "exit 0")
    lb4 = start_limited(start_lb4, path, "-u", "nobody", uid=None)
    scripts.write("check", REPORT)
    check_report(scripts, daemon.NOBODY)
    for pid in programs.below(lb4.pid):
        assert os.stat(f"/proc/{pid}/status").st_uid in (0, daemon.NOBODY)
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
        assert re.search(rf"^Uid:{f'	{daemon.NOBODY}' * 4}$", text, re.M), text


@pytest.mark.skipif(not daemon.can_change_uid(), reason="needs root")
@pytest.mark.parametrize("user", [(), ("-u", "root"), ("-u", "0")])
def test_never_as_root(start_lb4, binary, scripts, user):
    path = scripts.write("check", "touch $FOLDER/ran")
    text = config(path)
    file = scripts.path("lb4.conf")
    file.write_text(text)
    done = subprocess.run([binary, "-t", *user, "-c", file], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 1
    assert f"{file}:3:11: check exec: programs are never run as root; name another" in done.stderr
    lb4 = start_lb4(user, config=text, uid=None, waits=False)
    assert lb4.wait_exit() == 1
    lb4.kill()
    assert "never run as root" in lb4.tail()
    assert not scripts.path("ran").exists()


def test_a_missing_program_is_no_configuration(start_lb4, scripts):
    lb4 = start_lb4(config=config(scripts.path("none")), waits=False)
    assert lb4.wait_exit() == 1
    lb4.kill()
    assert re.search(r"lb4.conf:3:16: check exec: '.*/none': No such file or directory", lb4.tail())


# --- many

def test_many_servers(start_lb4, scripts, is_full):
    """200 servers, a program each every 500 ms: bounded, waited for, and all answered."""
    path = scripts.write("check", "exit 0")
    addresses = [f"127.0.0.1:{20000 + i}" for i in range(200)]
    lb4 = start_lb4(["-w", "1"], debug=False,
                    config=config(path, "interval 500ms timeout 10s", addresses))
    pid = programs.host(lb4)
    fds = f"/proc/{pid}/fd"
    end = time.monotonic() + (30 if is_full else 4)
    most = 0
    while time.monotonic() < end:
        family = programs.below(lb4.pid)
        most = max(most, len(family))
        time.sleep(0.01)
    assert most <= 2 + 2 * MOST_AT_A_TIME, "each one a shell, and one that is about to become it"
    lb4.finish()
    checks = [values for (kind, _), values in lb4.summary().items() if kind == "server"]
    assert min(values["checks_ok"] for values in checks) >= 2
    assert sum(values["checks_failed"] + values["checks_unknown"] for values in checks) == 0
    print(f"{sum(values['checks_ok'] for values in checks)} programs, {most} processes at most")
    assert not os.path.exists(fds)


def test_no_zombie_and_no_descriptor_is_left(start_lb4, scripts):
    lb4 = start(start_lb4, scripts, "sleep 0.01 & exit 0", "interval 20ms timeout 5s")
    pid = programs.host(lb4)
    servers.wait_until(lambda: outcomes(lb4).count("ok") >= 100, LIMIT_S, "100 programs")
    file = reloading.File(lb4)
    file.reload(pools.config(LISTEN, ADDRESSES, "check none"))
    keeper = programs.keeper(lb4)
    servers.wait_until(lambda: set(programs.below(lb4.pid)) == {pid, keeper}, LIMIT_S,
                       "no program is left")
    names = os.listdir(f"/proc/{pid}/fd")
    assert len(names) == 5, "three streams, the link, the signals"


def test_at_most_so_many_at_a_time(start_lb4, scripts):
    """Others wait for their turn, and their time begins when it has come."""
    path = scripts.write("check", "sleep 0.5; exit 0")
    addresses = [f"127.0.0.1:{20000 + i}" for i in range(3 * MOST_AT_A_TIME)]
    lb4 = start_lb4(["-w", "1"], waits=False, config=config(
        path, "interval 60s timeout 60s", addresses))
    lb4.wait_line(r"\bready\b")
    most = 0
    while not any(daemon.PROBES_DONE in line for line in lb4.lines):
        most = max(most, programs.n_running(lb4))
        time.sleep(0.02)
    assert 32 <= most <= MOST_AT_A_TIME
    lb4.wait_line(f"{3 * MOST_AT_A_TIME} of {3 * MOST_AT_A_TIME} servers are up")


# --- the end

HANG = "echo $$ >$FOLDER/pid.$$\nsleep 1000 & echo $! >$FOLDER/child.$$\nwait"


def start_hanging(start_lb4, scripts):
    """Programs run that would not end by themselves. Returns lb4 and all that runs."""
    lb4 = start(start_lb4, scripts, HANG, "interval 100ms timeout 300s", waits=False)
    lb4.wait_line(r"\bready\b")
    servers.wait_until(lambda: len(scripts.pids("child.*")) == 2, LIMIT_S, "two programs run")
    return lb4, [*programs.below(lb4.pid), *scripts.pids("*id.*"), *scripts.pids("child.*")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_leaves_nothing(start_lb4, scripts, number):
    lb4, pids = start_hanging(start_lb4, scripts)
    assert len(set(pids)) >= 6
    lb4.signal(number)
    lb4.check_end()
    programs.wait_dead(pids)
    assert programs.spawners() == []
    lb4.is_finished = True


def test_a_kill_leaves_nothing(start_lb4, scripts):
    lb4, pids = start_hanging(start_lb4, scripts)
    programs.kill(lb4.pid)
    programs.wait_dead(pids)
    lb4.kill()


def test_a_host_that_is_killed_is_replaced(start_lb4, scripts):
    lb4, pids = start_hanging(start_lb4, scripts)
    scripts.write("check", "exit 0")
    programs.kill(programs.host(lb4))
    lb4.wait_line("the process that runs the programs of `check exec` had died; there is another")
    lb4.wait_line("first probes are done: 2 of 2 servers are up")
    programs.wait_dead([pid for pid in pids if pid != programs.keeper(lb4)])
    assert not any(" is DOWN" in line for line in lb4.lines)


def test_without_a_keeper_states_are_kept(start_lb4, scripts):
    lb4 = start(start_lb4, scripts, S2 + "exit 1")
    pids = list(programs.below(lb4.pid))
    programs.kill(programs.keeper(lb4))
    lb4.wait_line("the process that starts the programs of `check exec` has ended: servers with")
    lb4.wait_line("web/s1 cannot be probed: there is no process that could run programs; its state")
    programs.wait_dead(pids)
    servers.wait_until(lambda: programs.below(lb4.pid) == {}, LIMIT_S, "no zombie of lb4's")
    assert outcomes(lb4, "web/s1")[-1] == "unknown"
    assert not any("web/s1 is DOWN" in line or "web/s2 is UP" in line for line in lb4.lines)
    lb4.finish(checks_descriptors=False)  # one is gone


def test_signals_for_lb4_do_not_reach_programs(start_lb4, scripts):
    """As when a terminal's ^C goes to a whole group, or pkill(1) to all by that name."""
    lb4 = start(start_lb4, scripts, "exit 0")
    for pid in (programs.keeper(lb4), programs.host(lb4)):
        assert os.getsid(pid) != os.getsid(lb4.pid)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            os.kill(pid, number)
    n_ok = outcomes(lb4).count("ok")
    servers.wait_until(lambda: outcomes(lb4).count("ok") >= n_ok + 3, LIMIT_S, "further probes")
    assert set(outcomes(lb4)) == {"ok"}


# --- live

def test_a_reload_turns_it_on_and_off(start_lb4, scripts):
    """The process that programs start from is there from the start on."""
    path = scripts.write("check", S2 + "exit 1")
    with pools.make(2) as pool:
        lb4 = start_lb4(["-w", "1"], config=pools.config(LISTEN, pool.texts, "check none"))
        assert list(programs.below(lb4.pid)) == [programs.keeper(lb4)]
        file = reloading.File(lb4)
        file.change(config(path, addresses=pool.texts),
                    f'~ check of web none -> exec "{path}" interval 100ms timeout 5s fall 1 rise 1 '
                    "fast 100ms")
        lb4.wait_line("server web/s2 is DOWN: exit 1; this was its first probe")
        assert {pools.ask_name(LISTEN) for _ in range(10)} == {0}
        other = scripts.write("other", "exit 0")
        file.reload(config(other, addresses=pool.texts))
        lb4.wait_line("server web/s2 is UP")
        n_changes, lines = file.reload(config(scripts.path("none"), addresses=pool.texts))
        assert n_changes is None
        assert any("No such file or directory" in line for line in lines)
        file.reload(pools.config(LISTEN, pool.texts, "check tcp interval 100ms"))
        start_line = len(lb4.lines)
        other.unlink()
        lb4.wait_line("probe server=web/s2 outcome=ok", start=start_line)
        assert not any("web/s2 is DOWN" in line for line in lb4.lines[start_line:])


def test_maintenance_ends_what_runs(start_lb4, scripts, desk):
    path = scripts.write("check", HANG)
    lb4 = start_lb4(["-w", "1"], waits=False,
                    config=desk.directive + config(path, "interval 100ms timeout 300s"))
    servers.wait_until(lambda: len(scripts.pids("child.*")) == 2, LIMIT_S, "two programs run")
    pids = scripts.pids("child.*")
    for name in ("web/s1", "web/s2"):
        desk.do("maint", name)
    programs.wait_dead(pids)
    assert len(programs.below(lb4.pid)) <= 2 + len(pids), "zombies at most, that are waited for"


@pytest.mark.parametrize("is_lb4_alone", [True, False], ids=["lb4", "all"])
def test_a_stopped_process_blames_nobody(start_lb4, scripts, is_lb4_alone):
    lb4 = start(start_lb4, scripts, "sleep 0.1; exit 0", OPTIONS.replace("5s", "1500ms"))
    others = [] if is_lb4_alone else [programs.keeper(lb4), programs.host(lb4)]
    servers.wait_until(lambda: outcomes(lb4).count("ok") >= 2, LIMIT_S, "probes")
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    stopping.stop(lb4)
    time.sleep(3)
    for pid in others:
        os.kill(pid, signal.SIGCONT)
    stopping.go_on(lb4)
    n_ok = outcomes(lb4).count("ok")
    servers.wait_until(lambda: outcomes(lb4).count("ok") >= n_ok + 4, LIMIT_S, "further probes")
    assert "failed" not in outcomes(lb4)


# --- beside everything else

def test_the_spawner_costs_next_to_nothing(start_lb4):
    """Without `check exec` there is a process that sleeps, with hardly a page of its own."""
    lb4 = start_lb4(["-l", LISTEN, "-s", ADDRESSES[0]])
    path = pathlib.Path(f"/proc/{programs.keeper(lb4)}")

    def is_asleep():
        before = re.findall(r"ctxt_switches:\s+(\d+)", (path / "status").read_text())
        time.sleep(0.5)
        return before == re.findall(r"ctxt_switches:\s+(\d+)", (path / "status").read_text())
    servers.wait_until(is_asleep, LIMIT_S, "half a second without a wake-up")
    assert (path / "comm").read_text() == "lb4-spawner\n"
    assert (path / "cmdline").read_bytes().startswith(b"lb4: spawner\0")
    assert set(os.listdir(path / "fd")) == {"0", "1", "2", "3"}
    own_kib = sum(map(int, re.findall(r"^Private_\w+:\s+(\d+) kB",
                                      (path / "smaps_rollup").read_text(), re.M)))
    print(f"{own_kib} KiB of its own")
    assert own_kib < 600 or daemon.IS_SANITIZED


def test_a_start_that_fails_leaves_no_process(start_lb4):
    lb4 = start_lb4(["-l", "203.0.113.9:1", "-s", ADDRESSES[0]], waits=False)
    assert lb4.wait_exit() == 1
    lb4.kill()
    assert programs.spawners() == []

