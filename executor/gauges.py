"""What the machine says of itself: cores, memory, pressure. Asked for once a second at most (shell)."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_PRESSURE = Path("/proc/pressure/cpu")


def cores() -> int:
    """How many this process may use: the least of its affinity and its group's quota, at least 1."""
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        if quota != "max":
            count = min(count, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return max(1, count)


def memory_limit_bytes() -> int:
    """What node and runners may use together: the group's limit, or the machine's memory."""
    total: int = psutil.virtual_memory().total
    try:
        return min(total, int((_CGROUP / "memory.max").read_text()))
    except (OSError, ValueError):
        return total


def own_memory_bytes() -> int:
    rss: int = psutil.Process().memory_info().rss
    return rss


def cpu_pressure() -> float:
    """Share of the last 10 s, in percent, in which something waited for a core; 0.0 where the kernel does not say."""
    try:
        first = _PRESSURE.read_text().splitlines()[0]
        return float(first.split("avg10=")[1].split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
