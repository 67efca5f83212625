"""Metrics of the predicted probabilities, the softmax of the logits, as values of the images [m]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, softmax

from headstart.metrics.top_logits import TopLogits


def log_loss(labels: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return -log p of the true class, the cross-entropy of each image; labels [m], logits [m, classes]."""
    logs = log_softmax(logits.astype(np.float64), axis=1)
    return np.asarray(-logs[np.arange(len(labels)), labels], dtype=np.float64)


def brier(labels: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return Σ_c (p_c - [c = label])², between 0 and 2 (Brier 1950); labels [m], logits [m, classes]."""
    errors = softmax(logits.astype(np.float64), axis=1)
    errors[np.arange(len(labels)), labels] -= 1
    return np.asarray((errors**2).sum(axis=1), dtype=np.float64)


def log_loss_of_top(_labels: npt.NDArray[np.int64], logits: TopLogits) -> npt.NDArray[np.float64]:
    """Return the log loss of each image from what is kept of the logits of many classes."""
    return np.asarray(logits.log_sum_exp - logits.label_logits, dtype=np.float64)


def brier_of_top(_labels: npt.NDArray[np.int64], logits: TopLogits) -> npt.NDArray[np.float64]:
    """Return the Brier score of each image from what is kept of the logits of many classes: Σ_c p_c² - 2 p_y + 1."""
    return np.asarray(logits.square_sum - 2 * logits.label_probabilities + 1, dtype=np.float64)
