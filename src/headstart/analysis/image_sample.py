"""Describe the test images of a study as a sample: their units, weights and strata.

Images of one group and near-duplicates are one unit, since a network that is right on one of them is often right on the
others. Units are what is sampled, and the interval of a difference is over them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from headstart.metrics.registry import METRICS
from headstart.metrics.values import image_weights


@dataclass(frozen=True, eq=False)
class ImageSample:
    """Units, weights and strata of m images in a metric.

    Attributes:
        units: Number of each image's unit, int64 [m], from 0 to g - 1.
        weights: Weights of the images in the metric, [m] with a mean of 1.
        strata: Number of each image's stratum, int64 [m]. The metric is a mean of strata: with balanced accuracy they
            are the classes, otherwise there is one.
    """

    units: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    strata: npt.NDArray[np.int64]

    @classmethod
    def of_metric(cls, metric: str, labels: npt.NDArray[np.int64], units: npt.NDArray[np.int64]) -> ImageSample:
        """Return the sample of images with these labels [m] and units [m] in a metric.

        Raises:
            ValueError: The metric is not a mean over images.
        """
        strata = np.unique(labels, return_inverse=True)[1] if METRICS[metric].weights else np.zeros(len(labels))
        return cls(cls.equally_weighted(units).units, image_weights(metric, labels), strata.astype(np.int64))

    @classmethod
    def equally_weighted(cls, units: npt.NDArray[np.int64]) -> ImageSample:
        """Return the sample of images with these units [m] and equal weights."""
        numbers = np.unique(units, return_inverse=True)[1].astype(np.int64)
        return cls(numbers, np.ones(len(units)), np.zeros(len(units), np.int64))

    @classmethod
    def independent(cls, m: int) -> ImageSample:
        """Return the sample of m independent images with equal weights."""
        return cls.equally_weighted(np.arange(m, dtype=np.int64))

    @property
    def images(self) -> int:
        """Number of images, m."""
        return len(self.units)

    @cached_property
    def count(self) -> int:
        """Number of units, g."""
        return int(self.units.max()) + 1 if len(self.units) else 0

    @property
    def max_weight(self) -> float:
        """Largest weight of an image."""
        return float(self.weights.max())

    @cached_property
    def spread(self) -> float:
        """Mean squared size of the units, whose mean is 1: 1 if all have the same number of images.

        `count / spread` is the effective number of units (Kish 1965).
        """
        return float(((np.bincount(self.units) * self.count / self.images) ** 2).mean())

    @cached_property
    def _is_plain(self) -> bool:
        """True for independent images of one stratum with equal weights: their values are those of the units."""
        in_order = self.count == self.images and bool((self.units == np.arange(self.count)).all())
        return in_order and not self.strata.any() and bool((self.weights == 1).all())

    def unit_values(self, difference: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return values [n seeds, g units] whose means over units are the differences in the metric.

        `e[i, c] = Σ_{j in c} w_j (D_ij - mean_k(j)) g/m + mean`, where `mean_k` is the mean over the seeds and images
        of stratum k. It is the linear form of a ratio of sums over clusters (Cochran 1977, chapter 11): the size of a
        unit, and with balanced accuracy its share of each class, add nothing to the variance of the mean.

        Args:
            difference: Differences of the values of the images, [n, m].
        """
        d = np.asarray(difference, dtype=np.float64)
        if self._is_plain:
            return d
        columns = d.mean(axis=0)
        strata_means = np.bincount(self.strata, columns) / np.bincount(self.strata)
        weighted = (d - strata_means[self.strata]) * (self.weights * self.count / self.images)
        order = np.argsort(self.units, kind="stable")
        begins = np.searchsorted(self.units[order], np.arange(self.count))
        sums = np.add.reduceat(weighted[:, order], begins, axis=1)
        return sums + float((columns * self.weights).mean())
