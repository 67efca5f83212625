"""Measure training steps, matrix products and FLOPs.

The speed of a run is reported as model FLOP/s utilization (MFU; Chowdhery et al. 2022, appendix B), relative to the
machine's matmul peak.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from headstart.hardware.devices import synchronize
from headstart.hardware.precision import autocast


def training_step(network: nn.Module, batch: Tensor, precision: str) -> None:
    """Run one forward and backward pass on a batch [n, 3, h, w], without an update."""
    with autocast(precision, batch.device):
        loss = F.cross_entropy(network(batch).float(), torch.zeros(len(batch), dtype=torch.long, device=batch.device))
    loss.backward()
    network.zero_grad(set_to_none=True)


def step_seconds(
    network: nn.Module, shape: tuple[int, ...], device: torch.device, precisions: Sequence[str]
) -> dict[str, float]:
    """Return the seconds of one training step in each precision, the fastest of three measurements.

    The precisions alternate, so that a short load on the machine does not favor one of them. The measurement uses a
    copy of the network: its weights and statistics do not change.

    Args:
        network: The network to train.
        shape: Shape of the batch of zeros, [n, 3, h, w].
        device: Device of the network.
        precisions: Names of precisions, `fp32` or `bf16`.

    Returns:
        Seconds by precision, without precisions that the device does not support.

    Raises:
        RuntimeError: If the step fails in fp32.
    """
    trial = copy.deepcopy(network).train()
    batch = torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last)
    timings: dict[str, list[float]] = {name: [] for name in precisions}
    for repetition in range(4):
        for name in list(timings):
            try:
                seconds = _fastest(
                    partial(training_step, trial, batch, name), device, warm_ups=int(repetition == 0), times=1
                )
            except RuntimeError:  # the device or one of its kernels does not support bf16
                if name == "fp32":
                    raise
                del timings[name]
                continue
            timings[name] += [seconds] if repetition else []
    return {name: min(seconds) for name, seconds in timings.items()}


def warm_up_kernels(network: nn.Module, shape: tuple[int, ...], device: torch.device, precision: str) -> None:
    """Run training and evaluation steps of `shape` on a copy, because oneDNN is slow at each new shape."""
    trial = copy.deepcopy(network)
    batch = torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last)
    trial.train()
    for _ in range(2):
        training_step(trial, batch, precision)
    trial.eval()
    with torch.no_grad(), autocast(precision, device):
        trial(batch)
    synchronize(device)


def matmul_peak(device: torch.device, precision: str, times: int = 5) -> float:
    """Return the FLOP/s of a square matrix product in `precision`, the best of `times`; the denominator of the MFU."""
    side = 8192 if device.type == "cuda" else 2048
    a = torch.ones((side, side), device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    return 2 * side**3 / _fastest(lambda: a @ a, device, warm_ups=2, times=times)


def training_flops(network: nn.Module, size: int) -> float:
    """Count the FLOPs of one image [3, size, size], forward and backward, with torch.utils.flop_counter."""
    trial = copy.deepcopy(network).cpu().train()
    counter = FlopCounterMode(display=False)
    with counter:
        trial(torch.zeros(2, 3, size, size)).sum().backward()
    return counter.get_total_flops() / 2


def _fastest(work: Callable[[], Tensor | None], device: torch.device, *, warm_ups: int, times: int) -> float:
    """Return the seconds of the fastest call of `work` after `warm_ups` calls that do not count."""
    seconds = []
    for _ in range(warm_ups + times):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[warm_ups:])
