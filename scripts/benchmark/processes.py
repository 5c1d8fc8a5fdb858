"""Starting and stopping programs, and waiting until they serve. The proxies, and servers that
refuse to be root's, are an unprivileged user's."""

import ctypes
import os
import pwd
import resource
import signal
import socket
import subprocess
import tempfile
import time

START_LIMIT_S = 30
STOP_LIMIT_S = 5
PR_SET_PDEATHSIG = 1


class Failure(Exception):
    """A program that does not do its part; the text is for people."""


def nobody():
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def make_folder(parent):
    """One for an unprivileged program."""
    folder = tempfile.mkdtemp(dir=parent)
    user = nobody()
    os.chown(folder, user["user"], user["group"])
    return folder


def start(words, account, *, unprivileged=False, n_files=None, cpus=None, **options):
    """Popen: a process group of its own, in the account. @n_files its limit of descriptors, as
    far as we may set it, @cpus a set of those that it may use. It ends with the benchmark, however
    that ends. Not a session of its own: the scheduler would give each session the same share
    (sched(7), autogroup), however many programs want to run in it."""
    libc = ctypes.CDLL(None)

    def prepare():
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        account.join()
        if cpus:
            os.sched_setaffinity(0, cpus)
        if limit:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    limit = possible_limit(n_files) if n_files else None
    process = subprocess.Popen([str(word) for word in words], stdin=subprocess.DEVNULL,
                               process_group=0, preexec_fn=prepare,
                               **(nobody() if unprivileged else {}), **options)
    account.add(process.pid)
    return process


def possible_limit(n_files):
    """Raises our own, if need be: once unprivileged, a program can only go down from there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < n_files:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, n_files))
        except ValueError:  # that takes CAP_SYS_RESOURCE
            return hard
    return n_files


def has_ended(process):
    """Without taking it from the kernel: its id, and its group's, stay its own."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def stop(process, number=signal.SIGINT):
    """It, and whatever is left of its group. Nothing, if it has been waited for."""
    if process.returncode is not None:
        return
    os.kill(process.pid, number)
    deadline = time.monotonic() + STOP_LIMIT_S
    while not has_ended(process) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(words, account, limit_s, *, check=True, **options):
    """Standard output of a program that ends by itself."""
    process = start(words, account, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                    **options)
    try:
        out, errors = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise Failure(f"{os.path.basename(words[0])}: not done after {limit_s:.0f} s") from None
    finally:
        stop(process, signal.SIGKILL)
    if check and process.returncode != 0:
        raise Failure(f"{os.path.basename(words[0])}: exit {process.returncode}: {errors[-500:]}")
    return out


def wait_until(process, is_ready, what):
    deadline = time.monotonic() + START_LIMIT_S
    while not is_ready():
        if process.poll() is not None:
            raise Failure(f"exited with {process.returncode} before {what}")
        if time.monotonic() > deadline:
            raise Failure(f"not after {START_LIMIT_S} s: {what}")
        time.sleep(0.01)


def accepts(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def count_bound(port):
    """UDP sockets at the port: there is no accept that would tell."""
    wanted = f":{port:04X} "
    with open("/proc/net/udp", encoding="ascii") as file:
        return sum(wanted in line for line in file)
