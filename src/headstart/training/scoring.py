"""Accuracy, loss and confusion counts of a network on a split, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from headstart.metrics.accuracy import accuracy
from headstart.metrics.confusion_counts import ConfusionCounts
from headstart.metrics.top_logits import MAX_FULL_CLASSES, Logits, TopLogits, concatenate, top_logits
from headstart.storage.schemas.metrics import SplitScore

MAX_BLOCK_LOGITS = 2**24  # logits that are computed together


@dataclass(frozen=True)
class Score:
    """Mean loss and accuracy over n images.

    An evaluation also has its confusion counts and which images are classified correctly, bool [n], and for
    predictions its logits.
    """

    loss: float
    accuracy: float
    n: int
    logits: Logits | None = None
    confusion: ConfusionCounts | None = None
    correct: np.ndarray | None = None

    @property
    def counts(self) -> ConfusionCounts:
        """Confusion counts of an evaluation."""
        assert self.confusion is not None  # noqa: S101
        return self.confusion


class Scorer:
    """Scores the batches of a split; with many classes their logits are not kept."""

    def __init__(self, labels: np.ndarray, *, keep: bool = False) -> None:
        """Begin with the labels of the split, [n]; `keep` keeps the logits that predictions have."""
        self._labels, self._keep, self._seen = labels, keep, 0
        self._classes = 0
        # small arrays of each batch would lie between the logits in memory, which could then not be used again
        self._log_probabilities = np.empty((len(labels), 1), dtype=np.float32)  # of the labels
        self._predicted = np.empty(len(labels), dtype=np.int64)
        self._full: list[np.ndarray] = []
        self._top: list[TopLogits] = []

    def add(self, logits: np.ndarray) -> None:
        """Add the logits of the next images, float32 [b, classes]."""
        rows = slice(self._seen, self._seen + len(logits))
        labels = self._labels[rows]
        self._seen += len(logits)
        self._classes = logits.shape[1]
        logs = F.log_softmax(torch.from_numpy(logits), 1)
        self._log_probabilities[rows] = logs.gather(1, torch.from_numpy(labels)[:, None]).numpy()
        self._predicted[rows] = logits.argmax(1)
        if self._keep and self._classes > MAX_FULL_CLASSES:
            self._top.append(top_logits(labels, logits))
        elif self._keep:
            self._full.append(logits)

    def score(self) -> Score:
        """Return the mean cross-entropy, accuracy and confusion counts of all images.

        Raises ValueError if logits are missing: their entries would be numbers of memory that nobody wrote.
        """
        if self._seen != len(self._labels):
            raise ValueError(f"the split has {len(self._labels)} images, and {self._seen} were scored")
        logs = torch.from_numpy(self._log_probabilities)
        # the reduction of cross_entropy, so that the loss does not depend on the batches
        loss = float(F.nll_loss(logs, torch.zeros(len(logs), dtype=torch.int64)))
        counts = ConfusionCounts.of_labels(self._labels, self._predicted, self._classes)
        kept: Logits | None = None
        if self._keep:
            kept = concatenate(self._top) if self._top else np.concatenate(self._full)
        return Score(loss, accuracy(counts), len(self._labels), kept, counts, self._predicted == self._labels)


def score(logits: np.ndarray, labels: np.ndarray) -> Score:
    """Return the score of logits [n, classes] for labels [n], without the logits."""
    scorer = Scorer(labels)
    for rows in blocks(len(labels), logits.shape[1]):
        scorer.add(logits[rows])
    return scorer.score()


def head_logits(head: Callable[[Tensor], Tensor], features: Tensor, classes: int) -> Iterator[np.ndarray]:
    """Yield the logits of a head with this number of classes on features [n, …], float32 [b, classes]."""
    for rows in blocks(len(features), classes):
        yield head(features[rows]).float().cpu().numpy()


def blocks(n: int, width: int) -> Iterator[slice]:
    """Yield slices of n rows, each with at most `MAX_BLOCK_LOGITS` numbers in rows of this width."""
    size = max(1, MAX_BLOCK_LOGITS // max(width, 1))
    yield from (slice(begin, begin + size) for begin in range(0, n, size))


def split_score(score: Score) -> SplitScore:
    """Return the part of a score that the record has."""
    return SplitScore(loss=score.loss, accuracy=score.accuracy, n=score.n)
