"""Batches of a split, all of one shape, because oneDNN is slow at the first batch of each new shape.

The images of a batch are a pure function of (seed, epoch, step): no data is replayed to resume.
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

MAX_PREFETCH_THREADS = 4  # additional threads only wait for Python's lock: docs/speed.md has the figures


class ImageStore(Protocol):
    """Decoded images: `store[i]` is uint8 [h, w, 3]."""

    def __getitem__(self, index: int, /) -> np.ndarray: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class ImageSubset:
    """The images of one split: positions in the store (int64 [n]) and their labels (int64 [n])."""

    store: ImageStore
    indices: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def steps(self, batch_size: int) -> int:
        """Return the number of batches that contain every image once; the last batch is filled up."""
        return math.ceil(len(self) / batch_size)

    def pixels(self, rows: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """Return the pixels of these rows of the subset, each uint8 [h, w, 3]."""
        return [self.store[int(self.indices[row])] for row in rows]


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order of the images in an epoch: a permutation of range(count)."""
    return stream(seed, "order", epoch).permutation(count)


def training_rows(count: int, batch_size: int, seed: int, epoch: int, step: int) -> np.ndarray:
    """Return the rows of batch `step` of an epoch; a short last batch is filled from the start of the epoch."""
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    return epoch_order(seed, epoch, count)[positions % count]


@dataclass(frozen=True)
class TrainingBatches:
    """The training split as augmented batches.

    `view_seed` is the seed of the augmented views of a frozen backbone; all seeds of a study share it.
    """

    images: ImageSubset
    batch_size: int
    augmentation: transforms.Augmentation
    seed: int
    view_seed: int = 0

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        return self.images.steps(self.batch_size)

    def batch(self, epoch: int, step: int, augmented_views: int = 0) -> tuple[Tensor, Tensor]:
        """Return the images, uint8 [n, 3, size, size], and labels [n] of a batch.

        With `augmented_views` > 0 epoch e uses view e mod `augmented_views` of each image, the same for every seed.
        """
        rows = training_rows(len(self.images), self.batch_size, self.seed, epoch, step)
        view, seed = (epoch % augmented_views, self.view_seed) if augmented_views else (epoch, self.seed)
        indices = [int(i) for i in self.images.indices[rows]]
        images = transforms.training_batch(self.images.pixels(rows), indices, self.augmentation, seed, view)
        return images, torch.from_numpy(self.images.labels[rows])


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    # Each batch is made by one thread: torch's own threads in each of them would compete for the cores. The training
    # thread keeps its own number of torch threads.
    return ThreadPoolExecutor(threads, "batches", partial(torch.set_num_threads, 1))


class Prefetcher:
    """Prepare the next batches in threads while an accelerator works on the present one."""

    def __init__(self, batches: TrainingBatches, threads: int) -> None:
        """Prefetch as many batches as there are `threads` (at most MAX_PREFETCH_THREADS), each in one thread."""
        self._batches, self._threads = batches, min(threads, MAX_PREFETCH_THREADS)
        self._waiting: dict[tuple[int, int, int], Future[tuple[Tensor, Tensor]]] = {}

    def batch(self, epoch: int, step: int, augmented_views: int = 0) -> tuple[Tensor, Tensor]:
        """Return the same batch as `TrainingBatches.batch`."""
        per_epoch = self._batches.steps_per_epoch
        number = epoch * per_epoch + step
        requests = [(n // per_epoch, n % per_epoch, augmented_views) for n in range(number, number + self._threads + 1)]
        for request in set(self._waiting).difference(requests):  # of another phase
            self._waiting.pop(request).cancel()
        for request in requests:
            if request not in self._waiting:
                self._waiting[request] = _pool(self._threads).submit(self._batches.batch, *request)
        return self._waiting.pop(requests[0]).result()


def plain_batches(images: ImageSubset, batch_size: int, size: int) -> Iterator[tuple[Tensor, int]]:
    """Yield the split in its own order, without augmentation.

    Yields:
        A batch, uint8 [n, 3, size, size] with n of at most `batch_size`, and how many of its rows count. The last batch
        is filled with its own first image: all batches have one shape, the smallest for their number.
    """
    equal = math.ceil(len(images) / max(1, math.ceil(len(images) / batch_size)))
    for begin in range(0, len(images), max(1, equal)):
        rows = list(range(begin, min(begin + equal, len(images))))
        padded = rows + rows[:1] * (equal - len(rows))
        yield transforms.plain_batch(images.pixels(padded), size), len(rows)
