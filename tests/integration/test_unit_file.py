"""scripts/lb4.service: systemd understands it, it is as hard as promised, and not too hard."""
import pathlib
import re
import shutil
import subprocess

import pytest

import daemon
import pools
import programs
import servers

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
UNITS = ["lb4.service", "lb4.socket"]
EXPOSURE_MAX = 1.6

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"),
                                reason="systemd-analyze is not installed")


def analyze(*words):
    return subprocess.run(["systemd-analyze", *map(str, words)], capture_output=True, text=True,
                          check=False, timeout=60)


def settings(name):
    """All values of a setting, in order."""
    text = (SCRIPTS / "lb4.service").read_text()
    return [value for line in text.splitlines() for key, _, value in [line.partition("=")]
            if key == name]


@pytest.fixture
def units(tmp_path):
    """Copies, whose programs exist."""
    for name in UNITS:
        text = (SCRIPTS / name).read_text()
        (tmp_path / name).write_text(re.sub(r"/usr/s?bin/lb4(ctl)?\b", "/bin/true", text))
    return tmp_path


@pytest.mark.parametrize("name", UNITS)
def test_systemd_has_nothing_to_say(units, name):
    done = analyze("verify", "--man=no", units / name)
    assert done.returncode == 0 and name not in done.stderr, done.stderr


def test_a_mistake_would_be_noticed(units):
    path = units / "lb4.service"
    path.write_text(path.read_text().replace("Type=notify", "Type=notifyy"))
    assert "lb4.service" in analyze("verify", "--man=no", path).stderr


def test_exposure():
    done = analyze("security", "--offline=true", "--no-pager", SCRIPTS / "lb4.service")
    score = re.search(r"exposure level for lb4\.service: ([\d.]+)", done.stdout)
    assert score, done.stdout + done.stderr
    print(score.group(0))
    assert float(score.group(1)) <= EXPOSURE_MAX, done.stdout


def expand(group):
    """The system calls of a group such as @system-service, those of groups in it too."""
    found = set()
    for word in re.findall(r"^ +([@\w-]+)$", analyze("syscall-filter", group).stdout, re.M):
        found |= expand(word) if word.startswith("@") else {word}
    return found


def allowed_calls():
    """As systemd.exec(5) applies the lines: the first one makes it a list of what is allowed."""
    allowed = expand("@default")
    for line in settings("SystemCallFilter"):
        words = line.lstrip("~").split()
        named = set().union(*(expand(word) if word.startswith("@") else {word} for word in words))
        allowed = allowed - named if line.startswith("~") else allowed | named
    return allowed


def calls_of(trace):
    return set(re.findall(r"^\d+ +(?:<\.\.\. )?(\w+)(?:\(| resumed)", trace.read_text(), re.M))


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.skipif(daemon.IS_SANITIZED, reason="a sanitizer has calls of its own")
def test_the_filter_lets_programs_work(start_lb4, trace):
    """`check exec`, from the process beside lb4 to a shell and what it starts, one of them killed."""
    with programs.Programs() as scripts:
        path = scripts.write("check", "case $LB4_SERVER in s1) ls / >/dev/null;; *) sleep 9;; esac")
        lb4 = start_lb4(
            config=pools.config("127.0.0.1:7000", ["127.0.0.1:1", "127.0.0.1:2"],
                                f"check exec {path} interval 100ms timeout 300ms"),
            env={"ASAN_OPTIONS": "detect_leaks=0"},
            wrapper=["strace", "-f", "-qq", "-o", str(trace)])
        lb4.wait_line("web/s2 is DOWN: timed out")
        lb4.finish(checks_descriptors=False)
    called = calls_of(trace)
    assert {"execve", "setsid", "waitid", "kill", "signalfd4"} <= called
    assert not called - allowed_calls(), "the unit forbids what programs need"


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.skipif(daemon.IS_SANITIZED, reason="a sanitizer has calls of its own")
def test_the_filter_lets_lb4_work(start_lb4, trace, splice):
    """All that it calls from its start to its end, the exec itself apart."""
    with servers.EchoServer() as server, servers.EchoServer() as other:
        lb4 = start_lb4(
            ["-w", "2", "-l", "both/127.0.0.1:7000", "-s", server.address, "-s", other.address],
            splice=splice, env={"ASAN_OPTIONS": "detect_leaks=0"},
            wrapper=["strace", "-f", "-qq", "-o", str(trace)])
        for size in (1, 10 ** 6):
            for _ in range(5):
                servers.ask_once("127.0.0.1:7000", bytes(size))
        lb4.wait_n_closed("rule1", 10)
        lb4.finish(checks_descriptors=False)
    called = calls_of(trace)
    assert {"accept4", "epoll_wait", "capset"} <= called
    allowed = allowed_calls()
    assert "execve" in allowed and "mount" not in allowed and "setresuid" not in allowed
    assert not called - allowed, "the unit forbids what lb4 calls"
