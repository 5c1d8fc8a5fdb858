"""Where connects really went: packets on loopback, told apart from probes by lb4's log."""
import ctypes
import re
import socket
import struct
import threading

import drill

SO_TIMESTAMPNS = 35
SO_ATTACH_FILTER = 26
ETH_P_IP = 0x0800
SYN, RST, ACK = 0x02, 0x04, 0x10


def _filter_of(port):
    """SYN or RST of this port: a classic BPF program that reads from the IP header on."""
    load_byte, load_half, equal, any_of, leave = 0x30, 0x28, 0x15, 0x45, 0x06
    program = [(load_byte, 0, 0, 9), (equal, 0, 8, socket.IPPROTO_TCP),
               (load_byte, 0, 0, 33), (any_of, 0, 6, SYN | RST),
               (load_half, 0, 0, 20), (equal, 3, 0, port),
               (load_half, 0, 0, 22), (equal, 1, 0, port),
               (leave, 0, 0, 0), (leave, 0, 0, 128), (leave, 0, 0, 0)]
    return b"".join(struct.pack("HBBI", *step) for step in program), len(program)


class PacketWatch:
    """Stamps every SYN to a port, and every RST from it, on IPv4 loopback, by the kernel's clock.
    Packets that nft drops never get there."""

    def __init__(self, port):
        self.port = port
        self.syns = []  # seconds of the wall clock
        self.resets = []
        self.seen = set()
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        code, length = _filter_of(port)
        buffer = ctypes.create_string_buffer(code)
        fprog = struct.pack("HL", length, ctypes.addressof(buffer))
        self.sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.sock.bind(("lo", ETH_P_IP))
        self.sock.settimeout(0.05)
        self.is_stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while True:
            try:
                data, notes, _, _ = self.sock.recvmsg(128, 64)
            except TimeoutError:
                if self.is_stopping:
                    return
                continue
            seconds, nanoseconds = struct.unpack("qq", notes[0][2])
            source, _ = struct.unpack("!HH", data[20:24])
            flags = data[33]
            stamp = seconds + nanoseconds / 1e9
            if source == self.port and flags & RST:
                self.resets.append(stamp)
            elif source != self.port and flags & (SYN | ACK) == SYN:
                self.add_syn(source, data[24:28], stamp)

    def add_syn(self, source, sequence, stamp):
        """A busy machine's kernel repeats a SYN some 10 ms later: that is not another connect."""
        if (source, sequence) not in self.seen:
            self.seen.add((source, sequence))
            self.syns.append(stamp)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_stopping = True
        self.thread.join()
        self.sock.close()


def probe_starts(lines, server):
    """When probes of "service/server" began, seconds of the wall clock."""
    wanted = f": probe server={server} "
    return [drill.log_seconds(line) - int(re.search(r"took_us=(\d+)", line).group(1)) / 1e6
            for line in lines if wanted in line]


def client_syns(syns, probes, tolerance_s=0.1):
    """The SYNs left when each probe has taken the one that is nearest to its start."""
    left = sorted(syns)
    for began in sorted(probes):
        nearest = min(left, key=lambda stamp, began=began: abs(stamp - began), default=0.0)
        if abs(nearest - began) <= tolerance_s:
            left.remove(nearest)
    return left
