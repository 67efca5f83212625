"""Find the pairs of images that may be near-duplicates, without comparing each image with all others.

Descriptors are kept in cells around some of them. A window is compared with the images in the cells nearest to it, so
that the time grows more slowly than the square of the number of images.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.data.image_windows import WINDOWS, DescriptorSpace, Floats, Integers, batches, rank, reduced
from headstart.reporter import ProgressCallback

DESCRIBED_SIDE = 32  # of the images that are described
_SAMPLE = 4096  # images that the descriptor space is computed from
# least cosine of descriptors by number of images: of few images, the principal components are known less well
_MIN_SCORES = ((1024, 0.3), (8192, 0.6))
_MIN_SCORE = 0.7  # of more images
_TARGETS = 8  # other images that an image is compared with
_HITS_PER_PAIR = 4
_PROBES = 8  # cells
_MAX_ONE_CELL = 4096  # images that are compared with all others
_QUERIES = 16_384  # that are compared with the cells at once


@dataclass(frozen=True)
class Hits:
    """Windows of images whose descriptors are similar to those of other images.

    Attributes:
        images: Positions of the images with the windows, int64 [n].
        targets: Positions of the other images.
        windows: Numbers of the windows in `WINDOWS`.
        scores: Cosines of the descriptors.
    """

    images: Integers
    targets: Integers
    windows: Integers
    scores: Floats

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def joined(cls, parts: list[Hits]) -> Hits:
        """Return the hits of all parts."""
        return cls(
            np.concatenate([np.empty(0, np.int64), *(part.images for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.targets for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.windows for part in parts)]),
            np.concatenate([np.empty(0, np.float32), *(part.scores for part in parts)]),
        )

    def chosen(self, places: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Hits:
        """Return the hits at `places`."""
        return Hits(self.images[places], self.targets[places], self.windows[places], self.scores[places])

    def pair_codes(self) -> Integers:
        """Return a number for each hit that is the same for both directions of a pair."""
        low, high = np.minimum(self.images, self.targets), np.maximum(self.images, self.targets)
        return low << 32 | high


def descriptor_space(squares: npt.NDArray[np.uint8]) -> DescriptorSpace:
    """Return the descriptor space of square images [n, side, side], whose order is no order of time or place."""
    return DescriptorSpace.of(reduced(squares[:_SAMPLE], DESCRIBED_SIDE))


def find_hits(squares: npt.NDArray[np.uint8], space: DescriptorSpace, progress: ProgressCallback) -> Hits:
    """Return the pairs that are worth aligning, sorted by pair, each with its best windows.

    Args:
        squares: Images [n, side, side], in an order that is no order of time or place.
        space: Their descriptor space.
        progress: Called with (images done, all images).
    """
    index = np.concatenate(
        [space.describe(reduced(squares[part], DESCRIBED_SIDE), WINDOWS[0]) for part in batches(len(squares))]
    )
    cells, best = _Cells.of(index), []
    for block in batches(len(squares), _QUERIES):
        images, found = squares[block], []
        parts = [reduced(images[part], DESCRIBED_SIDE) for part in batches(len(images))]
        for number, window in enumerate(WINDOWS):
            queries = np.concatenate([space.describe(part, window) for part in parts])
            found.append(_best_targets(cells.search(queries, block.start, number)))
            progress(block.start + len(images) * (number + 1) // len(WINDOWS), len(squares))
        best.append(_best_targets(Hits.joined(found)))
    return _best_hits(Hits.joined(best))


def _best_targets(hits: Hits) -> Hits:
    """Keep the hits of the best targets of each image."""
    codes = hits.images << 32 | hits.targets
    order = np.lexsort((-hits.scores, codes))
    pairs, first = np.unique(codes[order], return_index=True)
    images, scores = pairs >> 32, hits.scores[order][first]
    ranking = np.lexsort((pairs, -scores, images))
    kept = np.sort(pairs[ranking][rank(images[ranking]) < _TARGETS])
    place = np.minimum(np.searchsorted(kept, codes), max(len(kept) - 1, 0))
    return hits.chosen(kept[place] == codes) if len(hits) else hits


def _best_hits(hits: Hits) -> Hits:
    """Keep the best hits of each pair."""
    codes = hits.pair_codes()
    order = np.lexsort((hits.windows, hits.images, -hits.scores, codes))
    return hits.chosen(order[rank(codes[order]) < _HITS_PER_PAIR])


@dataclass(frozen=True)
class _Cells:
    """Descriptors in cells around some of them.

    Attributes:
        index: Descriptors [n, dimensions].
        min_score: Least cosine of a hit.
        centers: The descriptors around which the cells are.
        members: Positions of the descriptors in each cell.
    """

    index: Floats
    min_score: float
    centers: Floats
    members: list[Integers]

    @classmethod
    def of(cls, index: Floats) -> _Cells:
        count = round(2 * len(index) ** 0.5) if len(index) > _MAX_ONE_CELL else 1
        centers = index[:count]
        nearest = np.concatenate([(index[part] @ centers.T).argmax(axis=1) for part in batches(len(index))])
        order = np.argsort(nearest, kind="stable")
        starts = np.searchsorted(nearest[order], np.arange(count + 1))
        min_score = next((score for most, score in _MIN_SCORES if len(index) <= most), _MIN_SCORE)
        return cls(index, min_score, centers, [order[a:b] for a, b in itertools.pairwise(starts)])

    def search(self, queries: Floats, start: int, window: int) -> Hits:
        """Return the hits of a window of the images from position `start`, by their descriptors."""
        probes = min(_PROBES, len(self.centers))
        near = np.concatenate([_largest(queries[part] @ self.centers.T, probes) for part in batches(len(queries))])
        order = np.argsort(near.ravel(), kind="stable")
        starts = np.searchsorted(near.ravel()[order], np.arange(len(self.centers) + 1))
        hits = []
        for targets, (begin, end) in zip(self.members, itertools.pairwise(starts), strict=True):
            for part in batches(end - begin):
                images = order[begin:end][part] // probes
                hits.append(self._compare(queries[images], images + start, targets, window))
        return Hits.joined(hits)

    def _compare(self, queries: Floats, images: Integers, targets: Integers, window: int) -> Hits:
        scores = queries @ self.index[targets].T
        rows, columns = np.nonzero(scores >= self.min_score)
        if len(rows) > _TARGETS * len(scores):  # many similar images: the best of each image bound the memory
            largest = _largest(scores, _TARGETS + 1)
            rows, columns = np.repeat(np.arange(len(largest)), largest.shape[1]), largest.ravel()
        others = targets[columns] != images[rows]  # an image is no candidate of itself
        rows, columns = rows[others], columns[others]
        values = scores[rows, columns]
        hits = Hits(images[rows], targets[columns], np.full(len(rows), window), values)
        return hits.chosen(values >= self.min_score)


def _largest(scores: Floats, count: int) -> Integers:
    """Return the columns of the largest scores of each row."""
    if count >= scores.shape[1]:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.argpartition(-scores, count - 1, axis=1)[:, :count]
