"""Populations of images, from which simulated studies sample their test images.

A network of one arm and one seed is right on an image where a latent value is above 0:

    latent = ease of the image + effect of arm and image + effect of the run + noise

- ease: the logits of the posterior shares of the real images in tests/simulated.py, a population for each real arm.
- effect of arm and image: N(0, INTERACTION²). Equal arms differ by it on each image, and not on average.
- effect of the run: that of the seed, and with a search the effect of the selected rate.
- noise: a logistic distribution, so that the probability of a correct classification is logistic(sum of the others).

Images of one unit have correlated ease, effects and noise (Gaussian copula); their distributions stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from tests import simulated

Array = npt.NDArray[np.float64]
INTERACTION = 2.0  # in logits; as between the real arms, see tests/analysis/test_false_winners.py
POPULATION = 2_048  # different values of the ease of an image
LEVELS = np.linspace(-12, 12, 481)  # at which the expected accuracy is tabulated


@dataclass(frozen=True, eq=False)
class Population:
    """The images that an arm can be evaluated on.

    Attributes:
        ease: Ease of the images in logits, ascending.
        seed_sd: Standard deviation of the effect of a seed.
    """

    ease: Array
    seed_sd: float

    @cached_property
    def _accuracies(self) -> Array:
        """Return the expected accuracy at each of LEVELS, over the images and the effect of arm and image."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(24)
        groups = self.ease.reshape(-1, 8).mean(axis=1)  # images of almost equal ease
        sums = groups[:, None] + INTERACTION * nodes
        return np.array([(special.expit(sums + level) @ weights).mean() for level in LEVELS]) / weights.sum()

    def accuracy(self, level: npt.ArrayLike) -> Array:
        """Return the expected accuracy of runs with these effects, in logits."""
        return np.interp(level, LEVELS, self._accuracies)

    @property
    def seed_effects(self) -> Array:
        """Return the quantiles of the effect of a seed."""
        return self.seed_sd * stats.norm.ppf((np.arange(400) + 0.5) / 400)

    def shift(self, gain: float, levels: npt.ArrayLike) -> float:
        """Return the shift in logits that adds `gain` to the expected accuracy of runs with these effects."""
        runs = np.asarray(levels)
        before = self.accuracy(runs).mean()
        return float(optimize.brentq(lambda shift: self.accuracy(runs + shift).mean() - before - gain, 0, 5))


@cache
def populations() -> Mapping[str, Population]:
    """Return the population of each arm of the real records, at its best learning rate."""
    rng = np.random.default_rng(20)
    return {name: _population(model, rng) for name, model in simulated.arm_models().items()}


def _population(model: simulated.ArmModel, rng: np.random.Generator) -> Population:
    shares = np.concatenate([model.best.shares(rng) for _ in range(100)])
    quantiles = (np.arange(POPULATION) + 0.5) / POPULATION
    return Population(np.quantile(special.logit(shares), quantiles), model.seed_sd)


@dataclass(frozen=True, eq=False)
class ImageSampler:
    """Samples images in units of `unit_size` images whose latent values are correlated.

    Attributes:
        images: Number of images.
        unit_size: Images of a unit; the last unit may have fewer.
        correlation: Correlation of ease, effects and noise of the images of a unit.
    """

    images: int
    unit_size: int = 1
    correlation: float = 0.0

    @cached_property
    def units(self) -> npt.NDArray[np.int64]:
        """Return the number of each image's unit."""
        return np.arange(self.images) // self.unit_size

    def ease(self, population: Population, rng: np.random.Generator) -> Array:
        """Sample images and return their ease."""
        if not self.correlation:
            return population.ease[rng.integers(POPULATION, size=self.images)]
        places = special.ndtr(self._normal((), rng)) * POPULATION
        return population.ease[places.astype(np.int64)]

    def arm_effects(self, arms: int, rng: np.random.Generator) -> Array:
        """Draw the effects of arm and image [arms, images]."""
        return INTERACTION * self._normal((arms,), rng)

    def noise(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Draw the noise of runs, [*shape, images]."""
        if not self.correlation:
            return rng.logistic(size=(*shape, self.images))
        return special.logit(special.ndtr(self._normal(shape, rng)))

    def _normal(self, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        own = rng.standard_normal((*shape, self.images))
        if not self.correlation:
            return own
        of_unit = rng.standard_normal((*shape, self.units[-1] + 1))[..., self.units]
        return np.sqrt(self.correlation) * of_unit + np.sqrt(1 - self.correlation) * own
