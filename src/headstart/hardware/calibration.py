"""What the machine can do: measured once for each network and image shape, and settled before a plan is hashed."""

from __future__ import annotations

import hashlib
import json
import platform
from contextlib import suppress

import torch
from torch import nn

from headstart.config.run_config import RunConfig
from headstart.errors import UsageError
from headstart.hardware import benchmark, devices, precision
from headstart.hardware.environment import accelerator, processor
from headstart.reporter import Reporter
from headstart.storage.cache import cache_root
from headstart.storage.files import write_json


def resolve_machine(draft: RunConfig) -> RunConfig:
    """The draft with its device and thread count settled. Raises UsageError for a device that is not there."""
    try:
        device = devices.pick_device(draft.machine.device)
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"There is {error}.", "Use --device cpu, or leave the flag out.") from None
    threads = draft.machine.threads or devices.usable_cores()
    return draft.changed("machine", device=str(device), threads=threads)


def batch_shape(plan: RunConfig) -> tuple[int, ...]:
    """Of a training batch: [n, 3, size, size]."""
    return (plan.recipe.batch_size, 3, plan.recipe.image_size, plan.recipe.image_size)


BUSY_SPEED_RATIO = (
    1.3  # a product this much faster than the kept peak: something else was running when that was measured
)

_warmed: set[tuple[str, ...]] = set()
_trusted: set[str] = set()  # what this process has measured, or found to be measured well


def warm(plan: RunConfig, network: nn.Module) -> None:
    """Warm the kernels up, once in a process for each network and shape."""
    key = (plan.network.model_dump_json(), plan.machine.model_dump_json(), str(batch_shape(plan)))
    if key not in _warmed:
        benchmark.warm(network, batch_shape(plan), torch.device(plan.machine.device), plan.machine.precision)
        _warmed.add(key)


def measure(
    plan: RunConfig, network: nn.Module, shape: tuple[int, ...], device: torch.device, reporter: Reporter
) -> tuple[RunConfig, float, float]:
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
    with precision.deterministic(device, plan.machine.threads):
        if not missing and digest not in _trusted:
            fastest = min(wanted, key=lambda p: known["seconds"][p])
            missing = benchmark.matmul_peak(device, fastest, times=2) > BUSY_SPEED_RATIO * known["peak"][fastest]
            if missing:
                reporter.say("The machine was busy when it was measured.")
        if missing:
            reporter.say("Measuring this machine, once for this network and image size.")
            known["seconds"] |= benchmark.step_seconds(network, shape, device, wanted)
            known["peak"] |= {p: benchmark.matmul_peak(device, p) for p in wanted}
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {**key, **known})
    _trusted.add(digest)
    chosen = min(wanted, key=lambda p: known["seconds"][p])
    rates = ", ".join(f"{p} {shape[0] / known['seconds'][p]:.0f}" for p in wanted)
    threads = "1 thread" if plan.machine.threads == 1 else f"{plan.machine.threads} threads"
    reporter.say(f"Precision {chosen} on {device} with {threads} (measured images/s: {rates}).")
    return plan.changed("machine", precision=chosen), float(known["peak"][chosen]), float(known["seconds"][chosen])
