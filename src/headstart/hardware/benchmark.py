"""Measure training steps, matrix products and FLOPs.

The speed of a run is reported as model FLOP/s utilization (MFU; Chowdhery et al. 2022, appendix B), relative to the
machine's matmul peak.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headstart.hardware.devices import synchronize
from headstart.hardware.precision import autocast
from headstart.models.resnet import ResNet

MEASUREMENT_S = 0.8  # approximate duration of the measured steps of all precisions together
FEW_IMAGES = 2  # of the first steps; later ones have more as long as the measurement stays short
REPETITIONS = 3
PEAK_LIMIT_S = 0.5


def training_step(network: nn.Module, batch: Tensor, precision: str) -> None:
    """Run one forward and backward pass on a batch [n, 3, h, w], without an update."""
    with autocast(precision, batch.device):
        loss = F.cross_entropy(network(batch).float(), torch.zeros(len(batch), dtype=torch.long, device=batch.device))
    loss.backward()
    network.zero_grad(set_to_none=True)


def step_seconds(
    network: nn.Module,
    shape: tuple[int, ...],
    device: torch.device,
    precisions: Sequence[str],
    limit: float = MEASUREMENT_S,
) -> dict[str, float]:
    """Return the seconds of one training step in each precision, the fastest of up to three measurements.

    The batch grows from two images as long as its steps are short. If the whole batch takes too long, the seconds of
    the other images are added. The precisions alternate, so that a short load on the machine does not favor one of
    them. The measurement uses a copy of the network: its weights and statistics do not change.

    Args:
        network: The network to train.
        shape: Shape of the batch, [n, 3, h, w].
        device: Device of the network.
        precisions: Names of precisions, `fp32` or `bf16`.
        limit: Approximate duration of the measurement in seconds, after the steps on two images.

    Returns:
        Seconds by precision, without precisions that the device does not support.

    Raises:
        RuntimeError: If the step fails in fp32.
    """
    trial, batch = copy.deepcopy(network).train(), shape[0]
    begin = time.perf_counter()
    small: dict[str, float] = {}
    few = min(FEW_IMAGES, batch)
    for name in precisions:
        try:
            small[name] = _step_time(trial, (few, *shape[1:]), device, name, warm_ups=1)
        except RuntimeError:  # the device or one of its kernels does not support bf16
            if name == "fp32":
                raise
    timings: dict[str, list[float]] = {name: [seconds] for name, seconds in small.items()}
    images = few
    # a step on four times the images takes at most four times as long; it is made once before it counts
    while images < batch and 8 * sum(min(seconds) for seconds in timings.values()) < limit:
        images = min(4 * images, batch)
        timings = {name: [_step_time(trial, (images, *shape[1:]), device, name, warm_ups=1)] for name in small}
    for _repetition in range(REPETITIONS - 1):
        for name, seconds in timings.items():
            seconds.append(_step_time(trial, (images, *shape[1:]), device, name, warm_ups=0))
        if time.perf_counter() - begin > 2 * limit:
            break
    return {name: _extrapolate(min(seconds), small[name], images, few, batch) for name, seconds in timings.items()}


def _extrapolate(seconds: float, seconds_of_few: float, images: int, few: int, batch: int) -> float:
    """Return the seconds of a step on `batch` images from those of steps on `images` and on fewer images."""
    if images == few:
        return seconds * batch / images
    return seconds + (batch - images) * max(seconds - seconds_of_few, 0.0) / (images - few)


def _step_time(trial: nn.Module, shape: tuple[int, ...], device: torch.device, precision: str, warm_ups: int) -> float:
    """Return the seconds of a training step on a batch of zeros, after steps that do not count."""
    batch = torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last)
    return _fastest(partial(training_step, trial, batch, precision), device, warm_ups=warm_ups, times=1)


def matmul_peak(device: torch.device, precision: str, times: int = 5) -> float:
    """Return the FLOP/s of a square matrix product in `precision`, the best of `times`; the denominator of the MFU."""
    side = 8192 if device.type == "cuda" else 2048
    a = torch.ones((side, side), device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    return 2 * side**3 / _fastest(lambda: a @ a, device, warm_ups=1, times=times, limit=PEAK_LIMIT_S)


def training_flops(network: nn.Module, size: int) -> float:
    """Count the FLOPs of one image [3, size, size], forward and backward.

    Those of a `ResNet` are the products of its convolutions and linear layers, counted from their shapes. Those of
    other networks are counted by torch.utils.flop_counter, whose import takes two seconds.
    """
    if isinstance(network, ResNet):
        return _layer_flops(network, size)
    from torch.utils.flop_counter import FlopCounterMode

    trial = copy.deepcopy(network).cpu().train()
    counter = FlopCounterMode(display=False)
    with counter:
        trial(torch.zeros(2, 3, size, size)).sum().backward()
    return counter.get_total_flops() / 2


def _layer_flops(network: ResNet, size: int) -> float:
    """Count the FLOPs of convolutions and linear layers from their shapes in a forward pass."""
    trial = copy.deepcopy(network).cpu().eval()
    flops: list[int] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Add the products of the output, and of each gradient that the backward pass computes."""
        weight = module.weight
        assert isinstance(weight, Tensor)  # noqa: S101  (the modules below)
        gradients = int(weight.requires_grad) + int(inputs[0].requires_grad)
        flops.append(2 * output.numel() * weight[0].numel() * (1 + gradients))

    for module in trial.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    with torch.enable_grad():
        trial(torch.zeros(1, 3, size, size))
    return float(sum(flops))


def _fastest(
    work: Callable[[], Tensor | None],
    device: torch.device,
    *,
    warm_ups: int,
    times: int,
    limit: float = math.inf,
) -> float:
    """Return the seconds of the fastest of `times` calls of `work` after `warm_ups` calls that do not count.

    After `limit` seconds no further call begins, but one is always timed.
    """
    seconds: list[float] = []
    begin = time.perf_counter()
    for _ in range(warm_ups + times):
        synchronize(device)
        start = time.perf_counter()
        if len(seconds) > warm_ups and start - begin > limit:
            break
        work()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[warm_ups:])
