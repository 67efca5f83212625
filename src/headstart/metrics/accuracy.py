"""Accuracy, in numpy alone: every run needs it, and scikit-learn takes a while to import."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from headstart.metrics.confusion_counts import ConfusionCounts
from headstart.metrics.top_logits import Logits, predicted_classes


def accuracy(counts: ConfusionCounts) -> float:
    """Return the accuracy of confusion counts."""
    return counts.correct / counts.images


def correct(labels: npt.NDArray[np.int64], logits: Logits) -> npt.NDArray[np.float64]:
    """Return 1 for each of m images whose largest logit is that of its label, else 0; labels [m]."""
    return np.asarray(predicted_classes(logits) == labels, dtype=np.float64)


def effective_size(correct: npt.ArrayLike, units: npt.ArrayLike) -> float:
    """Return the number of independent images whose accuracy is as uncertain as that of these images.

    `p (1 - p)/V` with the cluster-robust variance of a ratio, `V = g/(g - 1) Σ_c (Σ_{j in c} (x_j - p))² / m²` (Cochran
    1977, chapter 11). It is at most m. If all images or none are correct, V is 0, and the result is `m²/Σ_c m_c²`, that
    of units whose images are all alike (Kish 1965).

    Args:
        correct: Whether each image is classified correctly, [m].
        units: Number of each image's unit, [m].

    Raises:
        ValueError: There is no image.
    """
    x = np.asarray(correct, dtype=np.float64)
    _unused, numbers, sizes = np.unique(units, return_inverse=True, return_counts=True)
    m, g = len(x), len(sizes)
    if not m:
        raise ValueError("an accuracy needs at least one image")
    if g == m:
        return float(m)
    share = float(x.mean())
    alike = m**2 / float((sizes**2).sum())
    if g == 1 or not 0 < share < 1:
        return alike
    sums = np.bincount(numbers, x - share)
    variance = g / (g - 1) * float((sums**2).sum()) / m**2
    return share * (1 - share) / max(variance, share * (1 - share) / m)


def wilson_interval(correct: int, n: int, level: float = 0.95, *, size: float | None = None) -> tuple[float, float]:
    """Return the score interval of an accuracy (Wilson 1927).

    It covers the sampling of the images, not that of the training.

    Args:
        correct: Number of correctly classified images.
        n: Number of images.
        level: Confidence level.
        size: Effective number of independent images (`effective_size`); default: n.

    Raises:
        ValueError: n < 1.
    """
    if n < 1:
        raise ValueError("an accuracy needs at least one image")
    z, share, k = NormalDist().inv_cdf((1 + level) / 2), correct / n, n if size is None else size
    center = (share + z**2 / (2 * k)) / (1 + z**2 / k)
    half_width = z * math.sqrt(share * (1 - share) / k + (z / (2 * k)) ** 2) / (1 + z**2 / k)
    # at the ends the limits are exactly 0 and 1, up to rounding
    return (0.0 if not correct else center - half_width), (1.0 if correct == n else center + half_width)
