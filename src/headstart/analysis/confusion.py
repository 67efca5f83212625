"""Choose the cells of a confusion matrix that are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")
MOST_CLASSES = 30  # that a confusion shows


def in_turn(lists: Mapping[K, Sequence[V]]) -> Iterator[tuple[K, V]]:
    """The first of each list with the list's name, then the second of each, and so on."""
    for at in range(max(map(len, lists.values()), default=0)):
        yield from ((name, some[at]) for name, some in lists.items() if at < len(some))


def shown_classes(counts: Sequence[Sequence[int]]) -> list[int]:
    """Which classes a confusion `counts[true][said]` shows, in order: all, or of very many those confused most."""
    confused = (at for _, true, said in _confused(counts) for at in (true, said))
    return sorted(list(dict.fromkeys([*confused, *range(len(counts))]))[:MOST_CLASSES])


def shown_cells(counts: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """The cells (true, said) that a confusion shows and that have images: mistakes first, the most frequent first."""
    shown = shown_classes(counts)
    wrong = [(true, said) for _, true, said in _confused(counts) if true in shown and said in shown]
    return [*wrong, *((at, at) for at in shown if counts[at][at])]


def _confused(counts: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    """(how many, true, said) of what is not right, the most first."""
    pairs = [
        (count, true, said)
        for true, row in enumerate(counts)
        for said, count in enumerate(row)
        if count and true != said
    ]
    return sorted(pairs, key=lambda pair: -pair[0])
