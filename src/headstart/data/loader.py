"""Batches of a split, all of one shape: a new shape costs oneDNN a slow first time.

Which photo stands where is a pure function of (seed, epoch, step): nothing is replayed to resume.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from headstart.data import transforms
from headstart.rng import stream


class ImageStore(Protocol):
    """Decoded photos: `store[i]` is uint8 [h, w, 3]."""

    def __getitem__(self, index: int, /) -> np.ndarray: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class ImageSubset:
    """The photos of one split: positions in the store (int64 [n]) and their labels (int64 [n])."""

    store: ImageStore
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

    photos: ImageSubset
    batch_size: int
    how: transforms.Augmentation
    seed: int
    view_seed: int = 0  # of a frozen trunk's views, which all seeds of a study share

    @property
    def steps_per_epoch(self) -> int:
        return self.photos.steps(self.batch_size)

    def batch(self, epoch: int, step: int, augmented_views: int = 0) -> tuple[Tensor, Tensor]:
        """Batch `step` of `epoch`. With `views` > 0 epoch e shows view e mod views of each photo, whatever the seed."""
        rows = training_rows(len(self.photos), self.batch_size, self.seed, epoch, step)
        view, seed = (epoch % augmented_views, self.view_seed) if augmented_views else (epoch, self.seed)
        indices = [int(i) for i in self.photos.indices[rows]]
        images = transforms.training_batch(self.photos.pixels(rows), indices, self.how, seed, view)
        return images, torch.from_numpy(self.photos.labels[rows])


MOST_THREADS = 4  # more of them wait for Python's lock: docs/speed.md has the figures


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    # a batch is one thread's work: torch's own threads, one team for each of ours, would only be in the way (the
    # thread that trains keeps its count)
    return ThreadPoolExecutor(threads, "batches", partial(torch.set_num_threads, 1))


class Prefetcher:
    """Prepares the next batches in threads while an accelerator works on this one; the batches are the same."""

    def __init__(self, batches: TrainingBatches, threads: int) -> None:
        """As many batches are made ahead as there are `threads` (at most MOST_THREADS), each by one of them."""
        self._batches, self._threads = batches, min(threads, MOST_THREADS)
        self._waiting: dict[tuple[int, int, int], Future[tuple[Tensor, Tensor]]] = {}

    def batch(self, epoch: int, step: int, augmented_views: int = 0) -> tuple[Tensor, Tensor]:
        """As `TrainingBatches.batch`."""
        per_epoch = self._batches.steps_per_epoch
        number = epoch * per_epoch + step
        wanted = [(n // per_epoch, n % per_epoch, augmented_views) for n in range(number, number + self._threads + 1)]
        for asked in set(self._waiting).difference(wanted):  # of another phase
            self._waiting.pop(asked).cancel()
        for asked in wanted:
            if asked not in self._waiting:
                self._waiting[asked] = _pool(self._threads).submit(self._batches.batch, *asked)
        return self._waiting.pop(wanted[0]).result()


def plain_batches(photos: ImageSubset, batch_size: int, size: int) -> Iterator[tuple[Tensor, int]]:
    """The split in its own order: uint8 [batch_size, 3, size, size] and how many rows of it count.

    The last batch is filled with its own first photo, so that all have one shape.
    """
    for begin in range(0, len(photos), batch_size):
        rows = list(range(begin, min(begin + batch_size, len(photos))))
        padded = rows + rows[:1] * (batch_size - len(rows))
        yield transforms.plain_batch(photos.pixels(padded), size), len(rows)
