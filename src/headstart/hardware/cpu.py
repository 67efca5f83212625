"""Count the cores that this process may use (no torch)."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return the number of cores in the process's affinity and CPU quota (libomp ignores the quota)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:  # noqa: PTH123
            quota, period = file.read().split()
        return min(cores, max(1, int(quota) // int(period))) if quota != "max" else cores
    except (OSError, ValueError):
        return cores
