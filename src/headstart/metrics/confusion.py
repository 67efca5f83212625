"""Metrics of classes that confusion counts determine, by scikit-learn."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score, recall_score
from sklearn.utils.class_weight import compute_sample_weight

from headstart.metrics.confusion_counts import ConfusionCounts


def balanced_accuracy(counts: ConfusionCounts) -> float:
    """Return the mean recall over the classes that have images.

    scikit-learn's `balanced_accuracy_score` is equal, and warns if a class that has no images is predicted.
    """
    true, predicted, weights = _cells(counts)
    return float(recall_score(true, predicted, labels=np.unique(true), average="macro", sample_weight=weights))


def macro_f1(counts: ConfusionCounts) -> float:
    """Return the mean F1 score over the classes that have images or are predicted."""
    true, predicted, weights = _cells(counts)
    return float(f1_score(true, predicted, average="macro", sample_weight=weights))


def balanced_weights(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the weights of m images in the balanced accuracy, in which every class counts the same; their mean is 1.

    The weight of image j is m / (k m_j), with k classes and m_j images of its class.
    """
    return np.asarray(compute_sample_weight("balanced", labels), dtype=np.float64)


def _cells(
    counts: ConfusionCounts,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the true class, the predicted class and the count of each cell that is not empty, as arrays."""
    return np.array(counts.true), np.array(counts.predicted), np.array(counts.counts)
