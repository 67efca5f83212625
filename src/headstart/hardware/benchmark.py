"""Measure training steps and matrix products."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from headstart.hardware.devices import synchronise
from headstart.hardware.precision import autocast


def training_step(network: nn.Module, batch: Tensor, precision: str) -> None:
    """One forward and backward pass on a batch, without an update."""
    with autocast(precision, batch.device):
        loss = F.cross_entropy(network(batch).float(), torch.zeros(len(batch), dtype=torch.long, device=batch.device))
    loss.backward()
    network.zero_grad(set_to_none=True)


def step_seconds(
    network: nn.Module, shape: tuple[int, ...], device: torch.device, precisions: Sequence[str]
) -> dict[str, float]:
    """Seconds of one training step on zeros of `shape` [n, 3, h, w] in each precision: the fastest of three.

    They take turns, so that a machine that is busy for a moment does not decide. Works on a copy: the network's
    weights and statistics stay as they are.
    """
    trial = copy.deepcopy(network).train()
    batch = torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last)
    found: dict[str, list[float]] = {name: [] for name in precisions}
    for turn in range(4):
        for name in precisions:
            try:
                seconds = _best(partial(training_step, trial, batch, name), device, warm=int(turn == 0), times=1)
            except RuntimeError:  # this device or one of its kernels refuses bf16
                if name == "fp32":
                    raise
                seconds = 1e9
            found[name] += [seconds] if turn else []
    return {name: min(seconds) for name, seconds in found.items()}


def warm(network: nn.Module, shape: tuple[int, ...], device: torch.device, precision: str) -> None:
    """Let the backend prepare its kernels for the shapes that are to come (oneDNN is slow at each new one)."""
    trial = copy.deepcopy(network)
    batch = torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last)
    trial.train()
    for _ in range(2):
        training_step(trial, batch, precision)
    trial.eval()
    with torch.no_grad(), autocast(precision, device):
        trial(batch)
    synchronise(device)


def matmul_peak(device: torch.device, precision: str, times: int = 5) -> float:
    """FLOP/s of a square matrix product in `precision`, the best of `times`: the scale of the MFU."""
    side = 8192 if device.type == "cuda" else 2048
    a = torch.ones((side, side), device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    return 2 * side**3 / _best(lambda: a @ a, device, warm=2, times=times)


def training_flops(network: nn.Module, size: int) -> float:
    """FLOPs of one photo [3, size, size], forward and backward, counted by torch.utils.flop_counter."""
    trial = copy.deepcopy(network).cpu().train()
    counter = FlopCounterMode(display=False)
    with counter:
        trial(torch.zeros(2, 3, size, size)).sum().backward()
    return counter.get_total_flops() / 2


def _best(work: Callable[[], Any], device: torch.device, *, warm: int, times: int) -> float:
    seconds = []
    for _ in range(warm + times):
        synchronise(device)
        begin = time.perf_counter()
        work()
        synchronise(device)
        seconds.append(time.perf_counter() - begin)
    return min(seconds[warm:])
