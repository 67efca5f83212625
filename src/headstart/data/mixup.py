"""Mixup (Zhang et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.rng import stream


@dataclass(frozen=True)
class Mix:
    """Mixup of one batch: row i is `share` of itself plus 1 - share of row `partner[i]` (Zhang et al. 2018, eq. 1)."""

    partner: Tensor
    share: float


def mixup(size: int, alpha: float, seed: int, epoch: int, step: int) -> Mix:
    """Draw the mix of a batch of `size` rows: share from Beta(alpha, alpha), partners from a random permutation."""
    draws = stream(seed, "mixup", epoch, step)
    return Mix(torch.from_numpy(draws.permutation(size)), float(draws.beta(alpha, alpha)))
