"""The session's namespace, the binary under test, and fixtures that start lb4.

Environment: LB4 = the binary (default build/release/lb4 of this repository), LB4_TEST_FULL=1 = long
matrices whole, LB4_TEST_HTTP=0 = no HTTP listener, where else every lb4 has one and what /metrics
says at the end of a test must be what its log says, LB4_SANITIZED=1 = the binary is slow and fat: no bounds on memory and time.
"""
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

import pytest

import admin
import daemon
import namespace

ROOT = pathlib.Path(__file__).resolve().parents[2]
IS_FULL = os.environ.get("LB4_TEST_FULL", "") not in ("", "0")


def pytest_configure(config):
    config.addinivalue_line("markers", "serial: measures times that other tests would disturb")
    config.addinivalue_line("markers", "patient: long, and waits or repeats what others show")
    namespace.enter()
    sys.setswitchinterval(0.001)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


N_LOG_LINES = 40

# Half a minute or more each: those that several processes share begin with them, so that none is
# at work on one when all others are done.
LONG = frozenset("""test_resolve test_stalled test_check_real test_http test_integrity
    test_check_postgres test_reload test_http_abuse test_slow_start test_check_mariadb test_failover
    test_log_fail2ban test_page""".split())


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that failed shows the end of its daemons' logs."""
    report = (yield).get_result()
    start = item.funcargs.get("start_lb4")
    if call.when == "call" and report.failed and start:
        for lb4 in start.started:
            report.sections.append(("end of the log of lb4", "\n".join(lb4.lines[-N_LOG_LINES:])))


@pytest.fixture(scope="session")
def binary():
    """lb4, copied to where an unprivileged uid can reach it, with lb4ctl beside it."""
    source = pathlib.Path(os.environ.get("LB4", ROOT / "build/release/lb4"))
    if not source.exists():
        pytest.fail(f"{source} does not exist: run scripts/build.sh, or set LB4")
    with tempfile.TemporaryDirectory(prefix="lb4-bin-") as directory:
        os.chmod(directory, 0o755)
        shutil.copy(source.with_name("lb4ctl"), directory)
        yield shutil.copy(source, directory)


@pytest.fixture(scope="session")
def repeats():
    return 100 if IS_FULL else 3


@pytest.fixture(scope="session")
def is_full():
    return IS_FULL


def make_starter(binary):
    started = []

    def start(args=(), *, waits=True, **options):
        lb4 = daemon.Daemon(binary, args, **options)
        started.append(lb4)
        return lb4.wait_ready() if waits else lb4
    start.started = started
    return start, started


def finish_all(started):
    problems = []
    for lb4 in started:
        try:
            lb4.finish()
        except (AssertionError, subprocess.TimeoutExpired) as problem:
            problems.append(problem)
        finally:
            lb4.kill()
    if problems:
        raise problems[0]


@pytest.fixture
def start_lb4(binary):
    """start_lb4(args, config=..., splice=...) -> a ready Daemon, finished after the test."""
    start, started = make_starter(binary)
    yield start
    finish_all(started)


@pytest.fixture(scope="module")
def start_lb4_module(request):
    """The same for tests that share a daemon; looks for the binary only when it is used."""
    started_by = []

    def start(*args, **options):
        begin, started = make_starter(request.getfixturevalue("binary"))
        started_by.append(started)
        return begin(*args, **options)
    yield start
    for started in started_by:
        finish_all(started)


@pytest.fixture
def trace():
    """A file that strace may write as the unprivileged uid."""
    with tempfile.TemporaryDirectory(prefix="lb4-trace-") as directory:
        os.chmod(directory, 0o777)
        yield pathlib.Path(directory, "trace")


@pytest.fixture(scope="module")
def servers_directory():
    """Where real servers (real_servers.py) have their directories."""
    with tempfile.TemporaryDirectory(prefix="lb4-servers-") as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


@pytest.fixture
def desk(binary):
    """A place for an admin socket, and lb4ctl for it."""
    with admin.Desk(pathlib.Path(binary).with_name("lb4ctl")) as desk:
        yield desk


@pytest.fixture(params=["splice", "copy"])
def splice(request):
    """Both relay modes, as the argument of start_lb4."""
    return request.param == "splice"


@pytest.fixture(params=["v4", "v6"])
def family(request):
    return request.param
