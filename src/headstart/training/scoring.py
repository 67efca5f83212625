"""Accuracy, loss and confusion matrix of a network on a split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from headstart.metrics.accuracy import accuracy, confusion_counts
from headstart.storage.schemas.metrics import SplitScore


@dataclass(frozen=True)
class Score:
    """Mean loss and accuracy over n images.

    An evaluation also has its logits, float32 [n, classes], and its confusion counts [true, predicted].
    """

    loss: float
    accuracy: float
    n: int
    logits: np.ndarray | None = None
    confusion: np.ndarray | None = None

    @property
    def counts(self) -> np.ndarray:
        """Confusion counts [true, predicted] of an evaluation."""
        assert self.confusion is not None  # noqa: S101
        return self.confusion


def score(logits: np.ndarray, labels: np.ndarray) -> Score:
    """Return the mean cross-entropy, accuracy and confusion counts of logits [n, classes] for labels [n]."""
    loss = float(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)))
    counts = confusion_counts(labels, logits.argmax(1), logits.shape[1])
    return Score(loss, accuracy(counts), len(labels), logits, counts)


def split_score(score: Score) -> SplitScore:
    """Return the part of a score that the record has."""
    return SplitScore(loss=score.loss, accuracy=score.accuracy, n=score.n)
