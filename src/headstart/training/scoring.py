"""Accuracy, loss and confusion of a network on a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Score:
    """Mean loss and accuracy over n photos.

    An evaluation also has its logits, float32 [n, classes], and the mean of the classes' accuracies.
    """

    loss: float
    accuracy: float
    n: int
    logits: np.ndarray | None = None
    balanced: float = 0.0

    def rank(self, by: str) -> tuple[float, float]:
        """What epochs are compared by: the accuracy, or the `balanced` one; of equals the lower loss."""
        return (self.balanced if by == "balanced" else self.accuracy, -self.loss)


def score(logits: np.ndarray, labels: np.ndarray) -> Score:
    """Mean cross-entropy and accuracies of logits [n, classes] against labels [n]."""
    loss = float(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)))
    right = logits.argmax(1) == labels
    balanced = float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))
    return Score(loss, float(right.mean()), len(labels), logits, balanced)


def score_line(score: Score) -> dict[str, Any]:
    return {"loss": score.loss, "accuracy": score.accuracy, "n": score.n}


def confusion(score: Score, labels: np.ndarray) -> list[list[int]]:
    """Counts [true][predicted] of an evaluation."""
    assert score.logits is not None  # noqa: S101
    classes = score.logits.shape[1]
    flat = labels * classes + score.logits.argmax(axis=1)
    counts = np.bincount(flat, minlength=classes * classes).reshape(classes, classes)
    return [[int(c) for c in row] for row in counts]
