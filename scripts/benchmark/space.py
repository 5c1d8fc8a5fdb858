"""A network namespace for every scenario: nobody else's traffic, rules or ports."""

import ctypes
import fcntl
import os
import socket
import struct

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP_RUNNING = 0x1 | 0x40


def enter(first_ephemeral):
    """Move the process, which must have one thread, into a fresh namespace with `lo` up. What it
    starts from now on is there. Ephemeral ports begin at @first_ephemeral: connect-request-close
    uses up many. Returns a file of the namespace, which ends with that file and all programs that
    were started in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare: a network namespace needs root")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))
    write_sysctl("net/ipv4/ip_local_port_range", f"{first_ephemeral} 65535")
    return open("/proc/self/ns/net", "rb")


def return_to(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def write_sysctl(name, value):
    with open(os.path.join("/proc/sys", name), "w", encoding="ascii") as file:
        file.write(value)
