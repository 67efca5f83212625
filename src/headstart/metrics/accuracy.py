"""Accuracy, in numpy alone: every command needs it, and importing scikit-learn takes a while."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def accuracy(counts: npt.NDArray[np.int64]) -> float:
    """Return the accuracy of confusion counts [true, predicted]."""
    return float(np.trace(counts) / counts.sum())


def correct(labels: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return 1 for each image whose largest logit is that of its label, else 0; labels [m], logits [m, classes]."""
    return np.asarray(logits.argmax(axis=1) == labels, dtype=np.float64)
