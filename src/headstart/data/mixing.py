"""Mix the images of a batch and their labels: mixup and CutMix."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from headstart.config.recipe_config import RecipeConfig
from headstart.config.registry.mixers import MIXERS
from headstart.factories import load_factory
from headstart.rng import stream


@dataclass(frozen=True)
class MixedBatch:
    """Mixed images [n, 3, h, w]. The label of row i is its own by `share`, and that of row `partner[i]` by the rest."""

    images: Tensor
    partner: Tensor
    share: float


class Mixer(Protocol):
    """Mix a batch; the draws depend on seed, epoch and step alone."""

    def __call__(self, images: Tensor, *, alpha: float, seed: int, epoch: int, step: int) -> MixedBatch:
        """Return the mixed batch."""
        ...


class RecipeMixer(Protocol):
    """A mixer with the alpha of the recipe."""

    def __call__(self, images: Tensor, *, seed: int, epoch: int, step: int) -> MixedBatch:
        """Return the mixed batch."""
        ...


def mixup(images: Tensor, *, alpha: float, seed: int, epoch: int, step: int) -> MixedBatch:
    """Blend every image with that of another row (Zhang et al. 2018, eq. 1).

    The share is drawn from Beta(alpha, alpha), the partners from a random permutation.

    Args:
        images: Normalized images, [n, 3, h, w].
        alpha: Both parameters of the Beta distribution.
        seed: Seed of the run.
        epoch: Epochs done.
        step: Steps done.
    """
    draws = stream(seed, "mixup", epoch, step)
    partner = torch.from_numpy(draws.permutation(len(images)))
    share = float(draws.beta(alpha, alpha))
    return MixedBatch(images.lerp(images[partner], 1 - share), partner, share)


def cutmix(images: Tensor, *, alpha: float, seed: int, epoch: int, step: int) -> MixedBatch:
    """Paste a rectangle of another row's image into every image (Yun et al. 2019, eq. 1 and 2).

    The rectangle has the area 1 - share, with a share drawn from Beta(alpha, alpha), around a random point. `share` of
    the result is that of the pixels that are left, because the image may cut the rectangle off.

    Args:
        images: Normalized images, [n, 3, h, w].
        alpha: Both parameters of the Beta distribution.
        seed: Seed of the run.
        epoch: Epochs done.
        step: Steps done.
    """
    draws = stream(seed, "cutmix", epoch, step)
    partner = torch.from_numpy(draws.permutation(len(images)))
    side = float(np.sqrt(1 - draws.beta(alpha, alpha)))  # of the rectangle, relative to the image
    ranges = []
    for length in images.shape[2:]:
        center, half = int(draws.integers(length)), int(side * length) // 2
        ranges.append(slice(max(center - half, 0), min(center + half, length)))
    rows, columns = ranges
    mixed = images.clone()
    mixed[:, :, rows, columns] = images[partner][:, :, rows, columns]
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return MixedBatch(mixed, partner, 1 - area / (images.shape[2] * images.shape[3]))


def mixer_of(recipe: RecipeConfig) -> RecipeMixer | None:
    """Return the only mixer of a recipe, or None if it has none."""
    for name, factory_path in MIXERS.items():
        if alpha := getattr(recipe, name):
            mix: Mixer = load_factory(factory_path)
            return partial(mix, alpha=alpha)
    return None
