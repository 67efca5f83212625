"""Select a device and place networks on it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from headstart.config.device_spec import DEVICE_PATTERN, normalize_device
from headstart.errors import UsageError
from headstart.i18n import _
from headstart.models import structure


def pick_device(name: str | int) -> torch.device:
    """Return the device `name`; `auto` is the first of cuda, mps and cpu that is available.

    Raises:
        UsageError: If there is no such device on this machine.
    """
    name = normalize_device(name)
    if not re.fullmatch(DEVICE_PATTERN, name):
        raise _no_device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _unused, index = name.partition(":")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    counts = {"cpu": 1, "cuda": gpus, "mps": int(torch.backends.mps.is_available())}
    if int(index or 0) >= counts[kind]:  # compared here: torch takes a number modulo 256
        raise _no_device(name)
    return torch.device(name)


def _no_device(name: str) -> UsageError:
    return UsageError(
        _("There is no device {device} on this machine.", device=name), _("Use --device cpu, or omit the flag.")
    )


def available_memory() -> int | None:
    """Return the bytes of memory that new processes can use, within the cgroup's limit; None if unknown."""
    limits: list[int] = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        limits.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]))
    with suppress(OSError, ValueError, StopIteration):  # "max" is no number
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
        cached = next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        limits.append(limit - used + cached)  # the kernel frees cached files when memory is needed
    return min(limits, default=None)


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """Move the network to `device`, in the order of its tensors (`structure.memory_format`)."""
    return network.to(device).to(memory_format=structure.memory_format(network))


def synchronize(device: torch.device) -> None:
    """Wait for the kernels of `device`."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
