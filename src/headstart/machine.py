"""What the machine can do: measured once for each network and image shape, and settled before a plan is hashed."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import PIL.features
import torch
import torchvision
from torch import nn

from headstart.cache import cache_root
from headstart.config.run_config import Plan
from headstart.errors import UsageError
from headstart.parts import convolution, precision
from headstart.record import write_json
from headstart.reporter import Voice


def settle(draft: Plan) -> Plan:
    """The draft with its device and thread count settled. Raises UsageError for a device that is not there."""
    try:
        device = precision.pick_device(draft.machine.device)
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"There is {error}.", "Use --device cpu, or leave the flag out.") from None
    threads = draft.machine.threads or precision.usable_cores()
    return draft.changed("machine", device=str(device), threads=threads)


def batch_shape(plan: Plan) -> tuple[int, ...]:
    """Of a training batch: [n, 3, size, size]."""
    return (plan.recipe.batch_size, 3, plan.recipe.image_size, plan.recipe.image_size)


BUSY = 1.3  # a product this much faster than the kept peak: something else was running when that was measured

_warmed: set[tuple[str, ...]] = set()
_trusted: set[str] = set()  # what this process has measured, or found to be measured well


def warm(plan: Plan, network: nn.Module) -> None:
    """Warm the kernels up, once in a process for each network and shape."""
    key = (plan.network.model_dump_json(), plan.machine.model_dump_json(), str(batch_shape(plan)))
    if key not in _warmed:
        precision.warm(network, batch_shape(plan), torch.device(plan.machine.device), plan.machine.precision)
        _warmed.add(key)


def measure(
    plan: Plan, network: nn.Module, shape: tuple[int, ...], device: torch.device, voice: Voice
) -> tuple[Plan, float, float]:
    """Settle the precision and find the machine's peak and step time; measured once for machine, network and shape.

    What was measured while the machine was busy is measured anew, once it shows itself faster.
    """
    asked = plan.machine.precision
    key = {
        "machine": [
            platform.machine(),
            processor(),
            accelerator(device),
            plan.machine.threads,
            torch.__version__,
            precision.NUMERICS,
        ],
        "network": [*plan.network.model_dump().values(), list(shape)],
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    path = cache_root() / "machine" / f"{digest}.json"
    known: dict[str, dict[str, float]] = {"seconds": {}, "peak": {}}
    with suppress(OSError, ValueError, KeyError, TypeError):  # not measured yet, or a damaged file
        kept = json.loads(path.read_text())
        known = {name: {p: float(value) for p, value in kept[name].items()} for name in known}
    wanted = ("fp32", "bf16") if asked == "auto" else (asked,)
    missing = any(p not in known["seconds"] or p not in known["peak"] for p in wanted)
    with precision.repeatable(device, plan.machine.threads):
        if not missing and digest not in _trusted:
            fastest = min(wanted, key=lambda p: known["seconds"][p])
            missing = precision.matmul_peak(device, fastest, times=2) > BUSY * known["peak"][fastest]
            if missing:
                voice.say("The machine was busy when it was measured.")
        if missing:
            voice.say("Measuring this machine, once for this network and image size.")
            known["seconds"] |= precision.step_seconds(network, shape, device, wanted)
            known["peak"] |= {p: precision.matmul_peak(device, p) for p in wanted}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {**key, **known})
    _trusted.add(digest)
    chosen = min(wanted, key=lambda p: known["seconds"][p])
    rates = ", ".join(f"{p} {shape[0] / known['seconds'][p]:.0f}" for p in wanted)
    threads = "1 thread" if plan.machine.threads == 1 else f"{plan.machine.threads} threads"
    voice.say(f"Precision {chosen} on {device} with {threads} (measured images/s: {rates}).")
    return plan.changed("machine", precision=chosen), float(known["peak"][chosen]), float(known["seconds"][chosen])


def accelerator(device: torch.device) -> str:
    """The device with the name of its model, where it has one."""
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


def processor() -> str:
    """The processor's name, as the system tells it, and those of its instructions that decide bits."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}{' with AMX' if convolution.has_tiles() else ''}"


def environment(device: str = "cpu") -> dict[str, Any]:
    """What else decides bits and speed: versions and machine."""
    return {
        "headstart": version("headstart"),
        "numerics": precision.NUMERICS,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "timm": version("timm"),
        "numpy": version("numpy"),
        "pillow": f"{version('pillow')}, libjpeg {PIL.features.version('jpg')}",
        "system": platform.platform(),
        "processor": processor(),
        "device": accelerator(torch.device(device)),
    }
