"""A network namespace of our own for the whole test process, and what tests change inside it.

The process moves itself before any thread exists, so that every thread and child inherits the
namespace: traffic stays on a loopback that nobody else sees, and ports can be handed out by a
counter. Without root a user namespace is made as well, and the daemon runs as the one uid in it.
"""
import contextlib
import ctypes
import fcntl
import itertools
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import threading
import time

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP_RUNNING = 0x1 | 0x40
LINK_LIMIT_S = 10

LOOPBACK = {"v4": "127.0.0.1", "v6": "::1"}

# Below the ephemeral range, so that no outgoing connection ever holds a port that a test wants.
_ports = itertools.count(10000)
_ports_lock = threading.Lock()
_nft_lock = threading.Lock()
_nft_is_ready = False

NFT_TABLE = """
table inet lb4 {
    set held { type inet_service; }
    set gone { type inet_service; }
    set unreachable { type inet_service; }
    set unacknowledged { type inet_service; }
    chain output {
        type filter hook output priority 0;
        tcp dport @held tcp flags & (syn | ack) == syn drop
        tcp dport @gone drop
        tcp dport @unacknowledged tcp flags & (syn | ack | psh | fin | rst) == ack drop
        tcp sport @gone drop
        tcp dport @unreachable reject with icmpx type host-unreachable
    }
    # Not on the way out: there the sender would get an error.
    chain input {
        type filter hook input priority 0;
        udp dport @gone drop
    }
}
"""


# What the size of the table decides in a namespace that has its own, and we want as it was.
KEPT_SYSCTLS = ("tcp_max_tw_buckets", "tcp_max_syn_backlog")


def _take_small_table(libc):
    """A namespace shares the machine's table of connections, of 262,144 places on a common one, unless
    the one it comes from says otherwise (Linux 6.1); each look at /proc/net/tcp, and the end of each
    namespace, walks all of it: 10 ms of a CPU, and tests look often."""
    ipv4 = pathlib.Path("/proc/sys/net/ipv4")
    with contextlib.suppress(OSError):
        (ipv4 / "tcp_child_ehash_entries").write_text("16384")
        before = {name: (ipv4 / name).read_text() for name in KEPT_SYSCTLS}
        if libc.unshare(CLONE_NEWNET) == 0:
            for name, value in before.items():
                (ipv4 / name).write_text(value)


def enter():
    """Move the calling process, which must have one thread, into a fresh namespace; `lo` up."""
    libc = ctypes.CDLL(None, use_errno=True)
    is_root = os.geteuid() == 0
    uid, gid = os.geteuid(), os.getegid()
    flags = CLONE_NEWNET if is_root else CLONE_NEWNET | CLONE_NEWUSER
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare: the integration tests need a namespace")
    if not is_root:
        pathlib.Path("/proc/self/setgroups").write_text("deny")
        pathlib.Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        pathlib.Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    _take_small_table(libc)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))


def take_port():
    """A port that nothing in the namespace has used before."""
    with _ports_lock:
        return next(_ports)


def take_ports(count):
    """The first of `count` neighbouring ports that nothing has used before."""
    with _ports_lock:
        first = next(_ports)
        for _ in range(count - 1):
            next(_ports)
        return first


def address(family, port):
    """`host:port` as the configuration writes it."""
    host = LOOPBACK[family]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def add_address(host):
    """Give the loopback one more address, for the life of the namespace; and one of IPv6, or
    getaddrinfo(3) would take the machine for one of IPv4 alone (AI_ADDRCONFIG)."""
    for address in (f"{host}/32", "fd00::1/128"):
        subprocess.run(["ip", "addr", "replace", address, "dev", "lo"], check=True)


def has_nft():
    return shutil.which("nft") is not None


def _nft(command):
    global _nft_is_ready
    with _nft_lock:
        if not _nft_is_ready:
            subprocess.run(["nft", "-f", "-"], input=NFT_TABLE, text=True, check=True)
            _nft_is_ready = True
        subprocess.run(["nft", *command.split()], check=True)


def filter_port(kind, port):
    """Start to drop: "held" = connects to `port`, "gone" = all from and to it, UDP only to it,
    "unacknowledged" = ACKs to it that carry nothing else; or answer connects to it with "unreachable"."""
    _nft(f"add element inet lb4 {kind} {{ {port} }}")


def unfilter_port(kind, port):
    _nft(f"delete element inet lb4 {kind} {{ {port} }}")


@contextlib.contextmanager
def filtered_port(kind, port):
    filter_port(kind, port)
    try:
        yield
    finally:
        unfilter_port(kind, port)


class Neighbour:
    """Another namespace, beside ours at a link with this MTU: we are 10.77.0.1 and fd77::1 there,
    it is 10.77.0.2 and fd77::2. As a context."""

    def __init__(self, mtu):
        self.mtu = mtu
        self.process = None
        self.namespace = None

    def __enter__(self):
        self.process = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 600"],
                                        stdout=subprocess.PIPE)
        self.process.stdout.readline()
        self.namespace = open(f"/proc/{self.process.pid}/ns/net")
        subprocess.run(["ip", "link", "add", "near", "mtu", str(self.mtu), "type", "veth", "peer",
                        "name", "far", "mtu", str(self.mtu), "netns", str(self.process.pid)],
                       check=True)
        there = ["nsenter", f"--net=/proc/{self.process.pid}/ns/net"]
        self._configure([], "near", 1)
        self._configure(there, "far", 2)
        self._wait_link([], "near")
        self._wait_link(there, "far")
        return self

    def _configure(self, prefix, name, number):
        for words in (["addr", "add", f"10.77.0.{number}/24", "dev", name],
                      ["addr", "add", f"fd77::{number}/64", "dev", name, "nodad"],
                      ["link", "set", name, "up"]):
            subprocess.run([*prefix, "ip", *words], check=True)

    def _wait_link(self, prefix, name):
        """A link that was set up drops packets until the kernel has noticed."""
        deadline = time.monotonic() + LINK_LIMIT_S
        while "state UP" not in subprocess.run([*prefix, "ip", "-o", "link", "show", name], check=True,
                                               capture_output=True, text=True).stdout:
            assert time.monotonic() < deadline, f"link {name} does not come up"

    def run(self, function, *args):
        """function(*args) within; what it opens stays there. For one thread at a time."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as ours:
            if libc.setns(self.namespace.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            try:
                return function(*args)
            finally:
                assert libc.setns(ours.fileno(), CLONE_NEWNET) == 0

    def __exit__(self, *_):
        subprocess.run(["ip", "link", "del", "near"], check=True)
        self.namespace.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@contextlib.contextmanager
def sysctl(name, value):
    """Set a sysctl of the namespace for a while, e.g. sysctl("net.ipv4.tcp_rmem", "4096 ...")."""
    path = pathlib.Path("/proc/sys", *name.split("."))
    before = path.read_text()
    path.write_text(value)
    try:
        yield
    finally:
        path.write_text(before)
