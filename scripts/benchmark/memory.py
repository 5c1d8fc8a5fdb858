"""What a tree of processes holds: resident memory, descriptors, and the pipes among them."""

import contextlib
import dataclasses
import os

import benchmark.cpu as cpu

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclasses.dataclass
class Held:
    rss_bytes: int = 0
    n_descriptors: int = 0
    n_pipes: int = 0  # two descriptors each


def read(root):
    held, n_ends = Held(), 0
    for pid in cpu.tree(root):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/statm", encoding="ascii") as file:
                held.rss_bytes += int(file.read().split()[1]) * PAGE_BYTES
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    n_ends += os.readlink(f"/proc/{pid}/fd/{name}").startswith("pipe:")
                    held.n_descriptors += 1
    held.n_pipes = n_ends // 2
    return held
