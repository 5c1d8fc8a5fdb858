"""Thousands of connections of random size, stalls, half-closes and resets, every byte tagged by
connection and place (tests/tools/storm.c): nothing lost, repeated, foreign or stuck."""
import pathlib
import re
import shutil
import subprocess

import pytest

import daemon
import namespace
import servers

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tests/tools"
LISTEN = "127.0.0.1:7000"
STORM_LIMIT_S = 900


@pytest.fixture(scope="module")
def storm(tmp_path_factory):
    """The tool: of the release build, or compiled here."""
    for built in (ROOT / "build/release").glob("**/storm"):
        if built.is_file():
            return built
    target = tmp_path_factory.mktemp("storm") / "storm"
    names = "storm storm_options storm_report end plan tag net".split()
    subprocess.run(["cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-o", target,
                    *[TOOLS / f"{name}.c" for name in names]], check=True)
    return target


def run_storm(storm, connect_to, server, *options):
    """The counts of its closing line, after a clean run."""
    done = subprocess.run([storm, "--server", server, "--connect", connect_to, *map(str, options)],
                          capture_output=True, text=True, timeout=STORM_LIMIT_S)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    return {word: int(number) for word, number in re.findall(r"(\w+)=(\d+)", done.stdout)}


@pytest.fixture
def n_connections(is_full):
    return 5000 if is_full else 150 if daemon.IS_SANITIZED else 300


def check(lb4, storm, server, *options):
    counts = run_storm(storm, LISTEN, server, *options)
    n_ends = counts["connections"]
    servers.wait_until(lambda: len(lb4.closed["rule1"]) >= n_ends, what=f"{n_ends} ends in the log")
    lb4.finish()
    summary = lb4.summary()["service", "rule1"]
    assert summary["total"] == n_ends
    print(summary)


def test_direct(storm):
    """What is asked of lb4 is what TCP does without it."""
    server = namespace.address("v4", namespace.take_port())
    run_storm(storm, server, server, "-n", 500)


@pytest.mark.parametrize("pipes", ["auto", "1"])
def test_integrity(start_lb4, storm, splice, family, pipes, n_connections):
    if pipes == "1" and not splice:
        pytest.skip("without splice there are no pipes")
    server = namespace.address(family, namespace.take_port())
    arguments = ["-w", "2", "-l", LISTEN, "-s", server]
    lb4 = start_lb4(["-o", f"pipes {pipes}", *arguments] if pipes == "1" else arguments,
                    splice=splice)
    check(lb4, storm, server, "-n", n_connections)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize(
    "fault", ["error=EINVAL:when=50+", "error=ENOSYS", "error=ENOMEM:when=9+7"])
def test_splice_that_fails_falls_back_to_copy(start_lb4, storm, trace, fault):
    """From the first call on, from the 50th, or now and then."""
    server = namespace.address("v4", namespace.take_port())
    lb4 = start_lb4(["-w", "2", "-l", LISTEN, "-s", server],
                    env={"ASAN_OPTIONS": "detect_leaks=0"},
                    wrapper=["strace", "-f", "-qq", "--seccomp-bpf", "-o", str(trace), "-e",
                             "trace=splice", "-e", f"inject=splice:{fault}"])
    check(lb4, storm, server, "-n", 150, "-c", 50, "-m", 2000000)
    assert "(INJECTED)" in trace.read_text()


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_pipes_that_cannot_be_made_fall_back_to_copy(start_lb4, storm, trace):
    server = namespace.address("v4", namespace.take_port())
    lb4 = start_lb4(["-w", "2", "-l", LISTEN, "-s", server],
                    env={"ASAN_OPTIONS": "detect_leaks=0"},
                    wrapper=["strace", "-f", "-qq", "--seccomp-bpf", "-o", str(trace), "-e",
                             "trace=pipe2", "-e", "inject=pipe2:error=EMFILE"])
    check(lb4, storm, server, "-n", 150, "-c", 50, "-m", 2000000)
