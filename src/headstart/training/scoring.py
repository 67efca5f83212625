"""Accuracy, loss and confusion matrix of a network on a split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from headstart.analysis.confusion import balanced_accuracy
from headstart.storage.schemas.metrics import SplitScore


@dataclass(frozen=True)
class Score:
    """Mean loss and accuracy over n images.

    An evaluation also has its logits, float32 [n, classes], and the balanced accuracy, the mean over the classes.
    """

    loss: float
    accuracy: float
    n: int
    logits: np.ndarray | None = None
    balanced: float = 0.0


def score(logits: np.ndarray, labels: np.ndarray) -> Score:
    """Return the mean cross-entropy and the accuracies of logits [n, classes] for labels [n]."""
    loss = float(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)))
    right = logits.argmax(1) == labels
    balanced = balanced_accuracy(np.bincount(labels, weights=right), np.bincount(labels))
    return Score(loss, float(right.mean()), len(labels), logits, balanced)


def split_score(score: Score) -> SplitScore:
    """Return the part of a score that the record has."""
    return SplitScore(loss=score.loss, accuracy=score.accuracy, n=score.n)


def confusion(score: Score, labels: np.ndarray) -> list[list[int]]:
    """Return the counts [true][predicted] of an evaluation."""
    assert score.logits is not None  # noqa: S101
    classes = score.logits.shape[1]
    cells = labels * classes + score.logits.argmax(axis=1)
    counts = np.bincount(cells, minlength=classes * classes).reshape(classes, classes)
    return [[int(count) for count in row] for row in counts]
