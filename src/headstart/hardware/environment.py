"""Describe the machine and the installed packages."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from pathlib import Path

import PIL.features
import torch

from headstart.hardware import precision
from headstart.models.processor import has_amx


def device_name(device: torch.device) -> str:
    """Return the device and, on CUDA, the name of its model."""
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


def processor() -> str:
    """Return the processor's name and its instruction sets that change the bits of a result."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}{' with AMX' if has_amx() else ''}"


def environment(device: str = "cpu") -> dict[str, str | int]:
    """Return the versions and the machine, which change the bits and the speed of a run."""
    return {
        "headstart": version("headstart"),
        "numerics": precision.NUMERICS,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "timm": version("timm"),
        "numpy": version("numpy"),
        "pillow": f"{version('pillow')}, libjpeg {PIL.features.version('jpg')}",
        "system": platform.platform(),
        "processor": processor(),
        "device": device_name(torch.device(device)),
    }
