"""The interval of a difference over seeds and units of test images, from its published formulas.

- Mean squares of the two-way crossed random-effects model without replication: Searle, Casella & McCulloch (1992),
  *Variance Components*, chapter 4.
- Degrees of freedom: Satterthwaite (1946), *Biometrics Bulletin* 2, 110-114.
- Values of units as the linear form of a ratio of sums over clusters: Cochran (1977), *Sampling Techniques*, chapter
  11; effective number of units of unequal size: Kish (1965), *Survey Sampling*.
- Smallest variance: half a unit added to each cell of the table of paired proportions, Agresti & Min (2005),
  *Statistics in Medicine* 24, 729-740.
- Difference that the units can miss: Clopper & Pearson (1934), *Biometrika* 26, 404-413.
- Sign changes: Fisher (1935), *The Design of Experiments*, section 21.
- Accuracy of one model: Wilson (1927), *JASA* 22, 209-212.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

Values = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
ROUNDING = 1e-12  # differences of accuracies below it are none
UNCERTAIN = 0.3  # tail of the chi-squared distribution at which the mean square of the seeds is taken, too


def t_quantile(level: float, df: Any) -> Any:
    """Return the two-sided quantile of Student's t distribution; `df` may be an array."""
    return -special.stdtrit(df, (1 - level) / 2)


def two_sided(t: float, df: float) -> float:
    """Return the two-sided p-value of a t statistic."""
    return float(2 * special.stdtr(df, -abs(t)))


def chi2_quantile(q: float, df: float) -> float:
    """Return the quantile of the chi-squared distribution."""
    return float(2 * special.gammaincinv(df / 2, q))


@dataclass(frozen=True)
class Sample:
    """Test images as a sample of units.

    Attributes:
        units: Number of each image's unit, [m], from 0 to g - 1.
        weights: Weight of each image in the metric, [m], with a mean of 1.
        strata: Number of each image's stratum, [m]: its class with balanced accuracy, else 0.
    """

    units: Numbers
    weights: Values
    strata: Numbers

    @property
    def g(self) -> int:
        """Number of units."""
        return len(set(self.units.tolist()))

    @property
    def max_weight(self) -> float:
        """Largest weight of an image."""
        return float(self.weights.max())

    @property
    def spread(self) -> float:
        """Mean squared size of the units, whose mean is 1: `g / spread` is their effective number."""
        sizes = np.unique(self.units, return_counts=True)[1]
        return float((sizes**2).sum() / self.g / (len(self.units) / self.g) ** 2)


def sample_of(metric: str, labels: Numbers, units: Numbers) -> Sample:
    """Return the sample of images with these labels and units; balanced accuracy gives each class the same weight."""
    numbers = np.unique(units, return_inverse=True)[1].astype(np.int64)
    if metric != "balanced":
        return Sample(numbers, np.ones(len(labels)), np.zeros(len(labels), np.int64))
    classes, strata, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return Sample(numbers, (len(labels) / (len(classes) * counts))[strata], strata.astype(np.int64))


def unit_values(d: Values, sample: Sample) -> Values:
    """Return the values [n, g] of the units from those of the images, [n, m].

    `e[i, c] = sum over j in c of w_j (d_ij - mean of the stratum of j) g/m + mean`.
    """
    centered = d.copy()
    for stratum in np.unique(sample.strata):
        of_stratum = sample.strata == stratum
        centered[:, of_stratum] -= d[:, of_stratum].mean()
    share = sample.g / d.shape[1]
    sums = np.zeros((sample.g, len(d)))
    np.add.at(sums, sample.units, (centered * sample.weights).T)
    return np.asarray(sums.T * share + float((d * sample.weights).mean()))


def mean_squares(d: Values) -> tuple[float, float, float]:
    """Return the mean squares A of the seeds, B of the units and C of the rest of an array [n, g]."""
    n, g = d.shape
    row, column, mean = d.mean(1, keepdims=True), d.mean(0, keepdims=True), d.mean()
    a = g * float(((row - mean) ** 2).sum()) / (n - 1)
    b = n * float(((column - mean) ** 2).sum()) / (g - 1)
    return a, b, float(((d - row - column + mean) ** 2).sum()) / ((n - 1) * (g - 1))


def least_error(sample: Sample, g: Any) -> Any:
    """Return the smallest standard error with g units: one unit in g + 2, of the size of those in the mean square."""
    return sample.max_weight * math.sqrt(sample.spread) / (g + 2)


def standard_error(a: Any, b: Any, c: Any, n: Any, g: Any, sample: Sample) -> Any:
    """Return the standard error of the mean; the mean squares and counts may be arrays."""
    return np.maximum(np.sqrt(np.maximum(a + b - c, c) / (n * g)), least_error(sample, g))


def degrees_of_freedom(a: Any, b: Any, c: Any, n: Any, g: Any) -> Any:
    """Return the degrees of freedom of the standard error: the smaller ones of those with A and with its upper limit.

    The limit counts where A is uncertain. The mean squares and counts may be arrays.
    """
    least, df = np.minimum(n, g) - 1.0, np.inf
    chi2 = 2 * special.gammaincinv((n - 1) / 2, UNCERTAIN)
    for rows in (a, np.maximum(a * (n - 1) / chi2, c)):
        below = np.asarray(rows**2 / (n - 1) + b**2 / (g - 1) + c**2 / ((n - 1) * (g - 1)))
        with np.errstate(all="ignore"):
            df = np.minimum(df, np.where(below > 0, np.maximum((rows + b - c) ** 2 / below, least), least))
    return df


def missed_difference(g: Any, level: float, sample: Sample) -> Any:
    """Return the largest difference x that g units of equal size can miss: (1 - x)^g is half of 1 - level."""
    return sample.max_weight * -np.expm1(np.log((1 - level) / 2) * sample.spread / g)


def sign_flip(per_seed: Values) -> float:
    """Return the share of all changes of signs whose sum is at least as far from 0 as the actual one."""
    sums = np.zeros(1)
    for value in per_seed:
        sums = np.concatenate([sums + value, sums - value])
    return float((np.abs(sums) >= abs(per_seed.sum()) - ROUNDING).mean())


def accuracy_interval(correct: Values, units: Numbers) -> tuple[float, float]:
    """Return Wilson's 95 % interval of an accuracy, at the effective number of independent images."""
    m, p = len(correct), float(correct.mean())
    k, z = effective_size(correct, units), float(special.ndtri(0.975))
    center, scale = (p + z**2 / (2 * k)) / (1 + z**2 / k), 1 + z**2 / k
    half = z * math.sqrt(p * (1 - p) / k + z**2 / (4 * k**2)) / scale
    hits = round(float(correct.sum()))
    return (0.0 if hits == 0 else center - half), (1.0 if hits == m else center + half)


def effective_size(correct: Values, units: Numbers) -> float:
    """Return the number of independent images whose accuracy is as uncertain: p (1 - p) / V, at most m.

    `V = g/(g - 1) Σ_c (Σ_{j in c} (x_j - p))² / m²` is the cluster-robust variance of a ratio (Cochran 1977).
    """
    m, p = len(correct), float(correct.mean())
    sizes, sums = dict[int, int](), dict[int, float]()
    for unit, x in zip(units.tolist(), correct.tolist(), strict=True):
        sizes[unit] = sizes.get(unit, 0) + 1
        sums[unit] = sums.get(unit, 0.0) + x - p
    g = len(sizes)
    if g == m:
        return float(m)
    if g == 1 or not 0 < p < 1:
        return m**2 / sum(size**2 for size in sizes.values())
    variance = g / (g - 1) * sum(total**2 for total in sums.values()) / m**2
    return min(float(m), p * (1 - p) / variance) if variance else float(m)
