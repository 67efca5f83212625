"""Batches of a split, all of one shape: a new shape costs oneDNN a slow first time.

Which photo stands where is a pure function of (seed, epoch, step): nothing is replayed to resume.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from headstart.parts import augment
from headstart.parts.seed import stream


class Store(Protocol):
    """Decoded photos: `store[i]` is uint8 [h, w, 3]."""

    def __getitem__(self, index: int, /) -> np.ndarray: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Photos:
    """The photos of one split: positions in the store (int64 [n]) and their labels (int64 [n])."""

    store: Store
    indices: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def steps(self, batch_size: int) -> int:
        """Batches that hold every photo once; the last one is filled up."""
        return math.ceil(len(self) / batch_size)

    def pixels(self, rows: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        return [self.store[int(self.indices[row])] for row in rows]


@lru_cache(maxsize=4)
def order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of an epoch: a permutation of range(count)."""
    return stream(seed, "order", epoch).permutation(count)


def training_rows(count: int, batch_size: int, seed: int, epoch: int, step: int) -> np.ndarray:
    """Rows of batch `step` of an epoch; a short last batch is filled from the epoch's start."""
    wanted = np.arange(step * batch_size, (step + 1) * batch_size)
    return order(seed, epoch, count)[wanted % count]


@dataclass(frozen=True)
class TrainingBatches:
    """The training split as batches: `batch(epoch, step)` gives uint8 [n, 3, size, size] and labels [n]."""

    photos: Photos
    batch_size: int
    how: augment.Augmentation
    seed: int
    view_seed: int = 0  # of a frozen trunk's views, which all seeds of a study share

    @property
    def steps_per_epoch(self) -> int:
        return self.photos.steps(self.batch_size)

    def batch(self, epoch: int, step: int, views: int = 0) -> tuple[Tensor, Tensor]:
        """Batch `step` of `epoch`. With `views` > 0 epoch e shows view e mod views of each photo, whatever the seed."""
        rows = training_rows(len(self.photos), self.batch_size, self.seed, epoch, step)
        view, seed = (epoch % views, self.view_seed) if views else (epoch, self.seed)
        indices = [int(i) for i in self.photos.indices[rows]]
        images = augment.training_batch(self.photos.pixels(rows), indices, self.how, seed, view)
        return images, torch.from_numpy(self.photos.labels[rows])


@lru_cache(maxsize=1)
def _one_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="batches")


class Ahead:
    """Prepares the next batch in a thread while an accelerator works on this one; the batches are the same."""

    def __init__(self, batches: TrainingBatches) -> None:
        self._batches = batches
        self._next: tuple[tuple[int, int, int], Future[tuple[Tensor, Tensor]]] | None = None

    def batch(self, epoch: int, step: int, views: int = 0) -> tuple[Tensor, Tensor]:
        """As `TrainingBatches.batch`."""
        asked = (epoch, step, views)
        ready = self._next[1].result() if self._next and self._next[0] == asked else self._batches.batch(*asked)
        after = (epoch, step + 1, views) if step + 1 < self._batches.steps_per_epoch else (epoch + 1, 0, views)
        self._next = after, _one_thread().submit(self._batches.batch, *after)
        return ready


def plain_batches(photos: Photos, batch_size: int, size: int) -> Iterator[tuple[Tensor, int]]:
    """The split in its own order: uint8 [batch_size, 3, size, size] and how many rows of it count.

    The last batch is filled with its own first photo, so that all have one shape.
    """
    for begin in range(0, len(photos), batch_size):
        rows = list(range(begin, min(begin + batch_size, len(photos))))
        padded = rows + rows[:1] * (batch_size - len(rows))
        yield augment.plain_batch(photos.pixels(padded), size), len(rows)
