"""Find images that show the same photo: saved again, resized, flipped, cropped, brightened, or taken in a burst.

Three steps, all on gray thumbnails (`thumbnails`), deterministic and without a network:

1. `image_windows`: a descriptor of each image, and of windows of it (cropped, mirrored and turned).
2. `candidates`: for each image the others whose descriptors are the most similar to those of its windows.
3. `alignment`: each candidate is aligned by position and size of the window. The pair is a near-duplicate if the fine
   detail of both correlates. Similar scenes do not: their detail differs.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from headstart.data.alignment import similarities
from headstart.data.candidates import descriptor_space, find_hits
from headstart.data.components import Edges, components
from headstart.data.image_detail import corner_count, detail_deviation
from headstart.data.image_windows import Floats, Integers
from headstart.i18n import _
from headstart.reporter import NullReporter, Reporter

ALGORITHM_VERSION = 3  # of what decides which images are near-duplicates, and of the form of the cached pairs
_THRESHOLDS = (0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.95, 0.96, 0.97, 0.98, 0.99)  # correlations of the detail
_BAND = 0.35  # width of a band below a threshold, in units of Fisher's z
_MAX_FALSE_SHARES = ((0.8, 0.01), (1.0, 0.2))  # of the pairs above a threshold that is below the first number
_FEW_PAIRS, _FEW_PAIRS_SIMILARITY = 5, 0.9  # fewer pairs are no evidence of a gap below this similarity
_MIN_CORNERS = 10  # blocks of an image of which there are 64
_FEW_CORNERS_SIMILARITY = 0.97  # that images with fewer corners need
_MIN_DETAIL = 1.5  # standard deviation of the detail, in gray levels


@dataclass(frozen=True)
class Pairs:
    """Pairs of near-duplicates.

    Attributes:
        first: Position of an image, int64 [n].
        second: Position of the other, larger than `first`.
        similarity: Correlation of their detail, -1 to 1.
    """

    first: Integers
    second: Integers
    similarity: Floats

    def __len__(self) -> int:
        return len(self.first)

    @property
    def edges(self) -> Edges:
        """Positions of both images of each pair."""
        return self.first, self.second

    @classmethod
    def none(cls) -> Pairs:
        """Return no pairs."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))

    def at(self, places: Integers) -> Pairs:
        """Return the pairs of images that are elsewhere: `places` has the new position of each image, all different."""
        one, other = places[self.first], places[self.second]
        return Pairs(np.minimum(one, other), np.maximum(one, other), self.similarity)

    def clusters(self, count: int) -> Integers:
        """Return the number of the cluster of each of `count` images: connected components, in order of appearance."""
        return components(count, [self.edges])


def find_pairs(squares: npt.NDArray[np.uint8], threads: int, reporter: Reporter | None = None) -> Pairs:
    """Return the near-duplicates among thumbnails, uint8 [n, side, side]: pairs that connect all copies.

    The pairs of thumbnails do not depend on their order: all that depends on an order is done in that of their hashes.
    Of equal thumbnails, only the first is compared with others. Thumbnails without detail are not compared.

    Args:
        squares: The thumbnails.
        threads: Number of threads of the alignment.
        reporter: Receives progress.
    """
    progress = (reporter or NullReporter()).progress
    detailed = np.flatnonzero(detail_deviation(squares) >= _MIN_DETAIL)
    digests = np.array([hashlib.blake2b(squares[i].tobytes(), digest_size=16).digest() for i in detailed], dtype="V16")
    _unused, first, number = np.unique(digests, return_index=True, return_inverse=True)
    distinct = detailed[first]  # in the order of their hashes
    copies = np.flatnonzero(detailed != distinct[number])
    pairs = [(distinct[number[copies]], detailed[copies], np.ones(len(copies), np.float32))]
    if len(distinct) > 1:
        compared = squares[distinct]
        space = descriptor_space(compared)
        hits = find_hits(compared, space, partial(progress, _("comparing images")))
        images, targets, similarity = similarities(
            compared, hits, space, threads, partial(progress, _("aligning similar images"))
        )
        corners = corner_count(compared)
        has_few = np.minimum(corners[images], corners[targets]) < _MIN_CORNERS
        threshold = min_similarity(similarity[~has_few])
        found = similarity >= np.where(has_few, max(threshold, _FEW_CORNERS_SIMILARITY), threshold)
        pairs.append((distinct[images[found]], distinct[targets[found]], similarity[found]))
    first, second, similarity = (np.concatenate(column) for column in zip(*pairs, strict=True))
    low, high = np.minimum(first, second), np.maximum(first, second)
    order = np.lexsort((high, low))
    return Pairs(low[order], high[order], similarity[order])


def min_similarity(similarity: Floats) -> float:
    """Return the similarity of near-duplicates, given that of all candidates of a set of images.

    Other pairs become rarer with growing similarity. How many of them are above a threshold is extrapolated from their
    numbers in two bands below it, as a geometric sequence that ends at the highest threshold. Where these are many, as
    among handwritten digits and letters, the threshold is raised. Of the upper band at most as many pairs count as the
    lower band has: more are near-duplicates, most of which are far above the threshold.
    """
    for threshold in _THRESHOLDS[:-1]:
        edges = np.tanh(np.arctanh(threshold) - _BAND * np.array([2, 1, 0]))
        far, near = np.diff([np.count_nonzero(similarity >= edge) for edge in edges]) * -1
        ratio = min(near / max(far, 1), 1)
        bands = math.ceil((np.arctanh(_THRESHOLDS[-1]) - np.arctanh(threshold)) / _BAND)
        false = max(far, 1) * sum(ratio ** (place + 2) for place in range(bands))
        above = np.count_nonzero(similarity >= threshold)
        is_evidence = above >= _FEW_PAIRS or threshold >= _FEW_PAIRS_SIMILARITY
        share = next(share for end, share in _MAX_FALSE_SHARES if threshold < end)
        if is_evidence and false <= share * above:
            return threshold
    return _THRESHOLDS[-1]
