"""Connected components: images that belong together, directly or through others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from headstart.data.unit_selection import Indices

Edges = tuple[Indices, Indices]  # positions of two images each, int64 [n]


def components(count: int, edges: Iterable[Edges]) -> Indices:
    """Return the number of each image's component, int64 [count], in order of appearance.

    Args:
        count: Number of images.
        edges: Pairs of images that belong together.
    """
    parts = list(edges)
    first, second = (np.concatenate([np.zeros(0, np.int64), *(part[side] for part in parts)]) for side in (0, 1))
    if not len(first):  # every image is alone: no need for the slow import
        return np.arange(count, dtype=np.int64)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(count, count))
    numbers: Indices = connected_components(graph, directed=False)[1].astype(np.int64)
    return numbers


def same_name(names: Sequence[str]) -> Edges:
    """Return edges from the first image of each name to the others of that name; empty names connect nothing."""
    places: dict[str, int] = {}
    first = [places.setdefault(name, i) if name else i for i, name in enumerate(names)]
    return _repeated(np.asarray(first, dtype=np.int64))


def same_number(numbers: Indices) -> Edges:
    """Return edges from the first image of each number to the others of that number."""
    _unused, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return _repeated(np.asarray(first[inverse], dtype=np.int64))


def _repeated(first: Indices) -> Edges:
    """Return the edges of the images that have an earlier one, whose position `first` has."""
    others = np.flatnonzero(first != np.arange(len(first)))
    return first[others], others
