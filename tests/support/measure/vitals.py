"""What a process holds of the machine: memory and descriptors, read from Linux' /proc."""

import gc
import os
from pathlib import Path

MISSING = "memory and descriptors are read from Linux' /proc"
IS_THERE = Path("/proc/self/fd").exists()


def resident_bytes(pid: int) -> int:
    """Return the memory that a process has in use."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError(pid)


def open_descriptors(pid: int) -> int:
    """Return how many files and sockets a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def own_descriptors() -> int:
    """Return how many this process has open, without those that nobody refers to any more."""
    gc.collect()
    return open_descriptors(os.getpid())
