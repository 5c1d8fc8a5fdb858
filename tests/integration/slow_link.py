"""A link whose delay and loss are known: two TUN devices, here and in another namespace, and a
thread that carries the packets between them. Needs no queueing discipline in the kernel."""
import fcntl
import heapq
import os
import select
import struct
import subprocess
import threading
import time

import namespace

TUNSETIFF = 0x400454ca
IFF_TUN_NO_PI = 0x0001 | 0x1000
HERE, THERE = "10.78.0.1", "10.78.0.2"
DATA_BYTES = 200  # a longer packet has a payload


def open_tun(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN_NO_PI))
    return fd


class SlowLink:
    """Packets from HERE to THERE take `delay_s`, and each `drop_nth` of those with a payload is
    lost (0 = none is); those that come back are neither late nor lost. As a context: the
    namespace.Neighbour that THERE is in."""

    def __init__(self, delay_s=0.0, drop_nth=0):
        self.delay_s = delay_s
        self.drop_nth = drop_nth
        self.n_data = 0
        self.n_dropped = 0
        self.late = []  # a heap of (when, number, packet)
        self.neighbour = namespace.Neighbour(mtu=1500)
        self.is_ending = False

    def __enter__(self):
        self.neighbour.__enter__()
        self.near = open_tun("slow")
        self.far = self.neighbour.run(open_tun, "slow")
        inside = ["nsenter", f"--net=/proc/{self.neighbour.process.pid}/ns/net"]
        for prefix, own, other in ([], HERE, THERE), (inside, THERE, HERE):
            for words in (["addr", "add", own, "peer", other, "dev", "slow"],
                          ["link", "set", "slow", "mtu", "1500", "up"]):
                subprocess.run([*prefix, "ip", *words], check=True)
        self.thread = threading.Thread(target=self.carry, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_ending = True
        self.thread.join()
        os.close(self.near)
        os.close(self.far)
        self.neighbour.__exit__()

    def carry(self):
        number = 0
        while not self.is_ending:
            wait_s = 0.05
            if self.late:
                wait_s = min(wait_s, max(0, self.late[0][0] - time.monotonic()))
            ready, _, _ = select.select([self.near, self.far], [], [], wait_s)
            if self.far in ready:
                os.write(self.near, os.read(self.far, 65536))
            if self.near in ready:
                packet = os.read(self.near, 65536)
                number += 1
                if not self.is_lost(packet):
                    heapq.heappush(self.late, (time.monotonic() + self.delay_s, number, packet))
            while self.late and self.late[0][0] <= time.monotonic():
                os.write(self.far, heapq.heappop(self.late)[2])

    def is_lost(self, packet):
        if len(packet) < DATA_BYTES or not self.drop_nth:
            return False
        self.n_data += 1
        if self.n_data % self.drop_nth:
            return False
        self.n_dropped += 1
        return True
