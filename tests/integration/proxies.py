"""Balancers that are compared in drills: lb4 with the worked examples, and HAProxy of Debian with
the same intervals, time-outs and counts. Each is a process of its own, without what tests of lb4
look at besides."""
import contextlib
import os
import pathlib
import signal
import subprocess
import time

import daemon
import databases
import servers

HAPROXY = "/usr/sbin/haproxy"

HAPROXY_CONFIG = """
defaults
    mode tcp
    timeout connect 2s
    timeout client 1d
    timeout server 1d
    timeout check {timeout}
    option redispatch
    default-server inter 1s fastinter 250ms fall 2 rise 1 on-marked-down shutdown-sessions
listen writes
    bind {address}
    {check}
{servers}
"""

POSTGRES_CHECK = """option httpchk GET /primary
    http-check expect status 200"""

REDIS_CHECK = """option tcp-check
    tcp-check connect
    tcp-check send "info replication\\r\\n"
    tcp-check expect string role:master
    tcp-check send QUIT\\r\\n
    tcp-check expect string +OK"""


def haproxy_config(example):
    """What it takes to do the same as the service `writes` of the example."""
    if example == "postgresql":
        check, port, hosts, extra = POSTGRES_CHECK, 5432, "pg{0} 10.0.0.1{0}", " port 8008"
    else:
        check, port, hosts, extra = REDIS_CHECK, 6379, "redis{0} 10.0.0.2{0}", ""
    lines = [f"    server {hosts.format(i)}:{port} check{extra}" for i in (1, 2, 3)]
    return HAPROXY_CONFIG.format(
        timeout="1s" if example == "postgresql" else "500ms", check=check,
        address=f"{databases.LISTEN_HOST}:{port}", servers="\n".join(lines))


# --- a server that hangs, of three that echo

DETECT_INTERVAL_S = 0.5
DETECT_LISTEN = f"{databases.LISTEN_HOST}:7000"

DETECT_LB4 = """service web {{
    listen tcp {address}
    check send "ping" expect "ping" interval 500ms timeout 500ms fall 3 rise 1 fast 125ms
{servers}
}}
"""

DETECT_HAPROXY = """global
    log stderr local0
defaults
    mode tcp
    log global
    timeout connect 2s
    timeout client 1d
    timeout server 1d
    timeout check 500ms
    default-server inter 500ms fastinter 125ms fall 3 rise 1
listen web
    bind {address}
    option tcp-check
    tcp-check connect
    tcp-check send ping
    tcp-check expect string ping
{servers}
"""


def detect_config(kind, pool):
    check = " check" if kind == "haproxy" else ""
    return (DETECT_HAPROXY if kind == "haproxy" else DETECT_LB4).format(
        address=DETECT_LISTEN,
        servers="\n".join(f"    server {server.name} {server.address}{check}" for server in pool))


def detect_hung(kind, binary, directory, phase_s):
    """Seconds from when a server hangs until the balancer says that it is down."""
    with contextlib.ExitStack() as stack:
        pool = [stack.enter_context(servers.ServerProcess(name)) for name in ("a", "b", "c")]
        config = detect_config(kind, pool)
        log = stack.enter_context(started(kind, binary, config, directory, DETECT_LISTEN))
        time.sleep(2 + phase_s)  # all are known to be up by then
        began = time.monotonic()
        pool[0].process.send_signal(signal.SIGSTOP)
        try:
            servers.wait_until(lambda: "web/a is DOWN" in log.read_text(), 20, f"{kind}: DOWN")
        finally:
            pool[0].process.send_signal(signal.SIGCONT)
        return time.monotonic() - began


# --- processes

@contextlib.contextmanager
def running(kind, binary, example, directory):
    """"lb4" or "haproxy" with the service `writes` of an example; ends with the block. Yields the
    address for clients."""
    config = databases.example(example) if kind == "lb4" else haproxy_config(example)
    address = f"{databases.LISTEN_HOST}:{5432 if example == 'postgresql' else 6379}"
    with started(kind, binary, config, directory, address):
        yield address


@contextlib.contextmanager
def started(kind, binary, config, directory, address):
    """The process, from when it listens at `address` until the end of the block. Yields its log."""
    path = pathlib.Path(directory, f"{kind}.conf")
    path.write_text(config)
    os.chmod(path, 0o644)
    command = [binary, "-c", path] if kind == "lb4" else [HAPROXY, "-db", "-f", path]
    with open(path.with_suffix(".log"), "w", encoding="utf-8") as log:
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log, cwd="/", **databases.UNPRIVILEGED)
    try:
        servers.wait_until(lambda: not servers.is_refused(address), daemon.READY_LIMIT_S, kind)
        yield path.with_suffix(".log")
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
