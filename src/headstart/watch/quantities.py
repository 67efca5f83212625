"""What is measured at a look: histograms of weights and gradients, gradient norms, update-to-weight ratios.

Everything is counted on the device; only counts and a few numbers leave it. Layers are all convolutions and the
head, named as in the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

BINS = 64


def histogram(tensor: Tensor) -> dict[str, Any]:
    """Counts of all n values in 64 equal bins between the smallest and the largest, with n, sum and sum of squares.

    A tensor with values that are not finite gives counts of the finite ones, and their number under `not_finite`.
    """
    flat = tensor.detach().float()
    low, high = (float(v) for v in torch.aminmax(flat))
    missing = 0
    if not (abs(low) < float("inf") and abs(high) < float("inf")):  # NaN fails both comparisons
        finite = flat[torch.isfinite(flat)]
        missing, flat = flat.numel() - finite.numel(), finite
        if not flat.numel():
            return {
                "low": 0.0,
                "high": 0.0,
                "n": 0,
                "sum": 0.0,
                "sum_squares": 0.0,
                "counts": [],
                "not_finite": missing,
            }
        low, high = (float(v) for v in torch.aminmax(flat))
    counts = torch.histc(flat, BINS, low, high) if low < high else torch.tensor([float(flat.numel())])
    result = {
        "low": low,
        "high": high,
        "n": flat.numel(),
        "sum": float(flat.sum()),
        "sum_squares": float(flat.square().sum()),
        "counts": [int(c) for c in counts.tolist()],
    }
    return result | ({"not_finite": missing} if missing else {})


class Look:
    """One look at one step: `gradients` before clipping and before the update, `weights` after it."""

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        modules = dict(network.named_modules())
        self._weights: dict[str, nn.Parameter] = {name: modules[name].weight for name in layers}
        self._before: dict[str, Tensor] = {}
        self.lines: dict[str, Any] = {"gradients": {}, "gradient_norm": {}, "weights": {}, "ratio": {}}

    @torch.no_grad()
    def gradients(self) -> None:
        """Histogram and norm of each layer's weight gradient; frozen layers have none."""
        for name, weight in self._weights.items():
            if weight.grad is not None:
                self.lines["gradients"][name] = histogram(weight.grad)
                self.lines["gradient_norm"][name] = float(weight.grad.norm())
                self._before[name] = weight.detach().clone()

    @torch.no_grad()
    def weights(self) -> None:
        """Histogram of each layer's weights, and |Δw|/|w| of the update that has just been made."""
        for name, weight in self._weights.items():
            self.lines["weights"][name] = histogram(weight)
            if name in self._before:
                norm = float(self._before[name].norm())
                change = float((weight.detach() - self._before[name]).norm())
                self.lines["ratio"][name] = change / norm if norm else 0.0
