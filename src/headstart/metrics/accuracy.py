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


def wilson_interval(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the score interval of an accuracy (Wilson 1927).

    It covers the sampling of the images, not that of the training.

    Args:
        correct: Number of correctly classified images.
        n: Number of images.
        level: Confidence level.

    Raises:
        ValueError: n < 1.
    """
    if n < 1:
        raise ValueError("an accuracy needs at least one image")
    z, share = NormalDist().inv_cdf((1 + level) / 2), correct / n
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half_width = z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2) / (1 + z**2 / n)
    # at the ends the limits are exactly 0 and 1, up to rounding
    return (0.0 if not correct else center - half_width), (1.0 if correct == n else center + half_width)
