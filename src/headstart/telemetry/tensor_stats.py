"""What is measured at a look: histograms of weights and gradients, gradient norms, update-to-weight ratios.

Everything is counted on the device; only counts and a few numbers leave it. Layers are all convolutions and the
head, named as in the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

BINS = 64
SMALLEST, LARGEST = 1e-15, 1e15  # a tensor whose largest |value| lies outside is summed and counted in float64


def histogram(tensor: Tensor) -> dict[str, Any]:
    """Counts of all n values in 64 equal bins between the smallest and the largest, with n, sum and sum of squares.

    Bin i is [low + i w, low + (i + 1) w) with w = (high - low) / 64, the last one closed; one bin where all values are
    equal, none where there are no values. Of a tensor with values that are not finite the finite ones are counted, and
    the number of the others stands under `not_finite`. About a third of the time of torch.histc, whose float32 counts
    also stop at 2^24.
    """
    flat = _in_memory_order(tensor.detach()).float()
    missing = 0
    low, high = _range(flat)
    if not (math.isfinite(low) and math.isfinite(high)):
        finite = flat[torch.isfinite(flat)]
        missing, flat = flat.numel() - finite.numel(), finite
        low, high = _range(flat)
    if not SMALLEST < max(-low, high) < LARGEST:  # its squares, or its range, may not fit into float32
        flat = flat.cpu().double()  # not every device has float64
    result = {
        "low": low,
        "high": high,
        "n": flat.numel(),
        "sum": float(flat.sum()),
        "sum_squares": float(torch.linalg.vector_norm(flat)) ** 2,
        "counts": _counts(flat, low, high),
    }
    return result | ({"not_finite": missing} if missing else {})


def _in_memory_order(tensor: Tensor) -> Tensor:
    """All values as one row without a copy where the tensor is dense, channels_last ones too."""
    axes = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
    return tensor.permute(axes).reshape(-1)


def _range(flat: Tensor) -> tuple[float, float]:
    """The smallest and the largest value; 0 and 0 of nothing, NaN where there is one."""
    if not flat.numel():
        return 0.0, 0.0
    low, high = torch.aminmax(flat)
    return float(low), float(high)


def _counts(flat: Tensor, low: float, high: float) -> list[int]:
    if low == high:
        return [flat.numel()] if flat.numel() else []
    places = flat.sub(low).mul_(BINS / (high - low)).to(torch.uint8)
    counts: list[int] = torch.bincount(places, minlength=BINS + 1).tolist()
    counts[BINS - 1] += counts.pop()  # the largest value belongs to the last bin
    return counts


Lines = dict[str, dict[str, Any]]


def no_lines() -> Lines:
    """What a look says, by kind and layer, before anything is measured."""
    return {"gradients": {}, "gradient_norm": {}, "weights": {}, "ratio": {}}


def measure_gradient(lines: Lines, layer: str, gradient: Tensor) -> None:
    """Histogram and norm of a layer's gradient. A number that is not finite is None: JSON has no other word for it."""
    found = histogram(gradient)
    lines["gradients"][layer] = found
    lines["gradient_norm"][layer] = None if "not_finite" in found else math.sqrt(found["sum_squares"])


def measure_update(lines: Lines, layer: str, before: Tensor, after: Tensor) -> None:
    """|Δw|/|w| of the update from `before` to `after`."""
    lines["ratio"][layer] = relative_change(before, after)


def relative_change(before: Tensor, after: Tensor) -> float | None:
    """|after - before|/|before|, 0 where `before` is 0; None where that is not finite."""
    norm = float(torch.linalg.vector_norm(before))
    change = float(torch.linalg.vector_norm(after - before))
    ratio = change / norm if norm else 0.0
    return ratio if math.isfinite(ratio) else None


class TensorSnapshot:
    """One look at one step: `gradients` before clipping and before the update, `weights` after it."""

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        modules = dict(network.named_modules())
        self._weights: dict[str, nn.Parameter] = {name: modules[name].weight for name in layers}
        self._before: dict[str, Tensor] = {}
        self.lines = no_lines()

    @torch.no_grad()
    def gradients(self) -> None:
        """Histogram and norm of each layer's weight gradient; frozen layers have none."""
        for name, weight in self._weights.items():
            if weight.grad is not None:
                measure_gradient(self.lines, name, weight.grad)
                self._before[name] = weight.detach().clone()

    @torch.no_grad()
    def weights(self) -> None:
        """Histogram of each layer's weights, and |Δw|/|w| of the update that has just been made."""
        for name, weight in self._weights.items():
            self.lines["weights"][name] = histogram(weight)
            if name in self._before:
                measure_update(self.lines, name, self._before.pop(name), weight.detach())
