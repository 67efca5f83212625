"""Select the cells of a confusion matrix that are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")
MAX_SHOWN_CLASSES = 30


def round_robin(lists: Mapping[K, Sequence[V]]) -> Iterator[tuple[K, V]]:
    """Yield (key, item) pairs: the first item of each list, then the second of each, and so on."""
    for index in range(max(map(len, lists.values()), default=0)):
        yield from ((key, items[index]) for key, items in lists.items() if index < len(items))


def shown_classes(counts: Sequence[Sequence[int]]) -> list[int]:
    """Return the indices of the classes to show, in ascending order.

    Args:
        counts: Confusion matrix `counts[true][predicted]`.

    Returns:
        All classes, or the `MAX_SHOWN_CLASSES` that are confused most often if there are more.
    """
    confused = (label for _, true, predicted in confused_pairs(counts) for label in (true, predicted))
    return sorted(list(dict.fromkeys([*confused, *range(len(counts))]))[:MAX_SHOWN_CLASSES])


def shown_cells(counts: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Return the non-empty cells (true, predicted) of the shown classes: errors first, the most frequent first."""
    classes = shown_classes(counts)
    errors = [
        (true, predicted) for _, true, predicted in confused_pairs(counts) if true in classes and predicted in classes
    ]
    return [*errors, *((label, label) for label in classes if counts[label][label])]


def confused_pairs(counts: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    """Return (count, true, predicted) of the errors in `counts[true][predicted]`, the most frequent first."""
    pairs = [
        (count, true, predicted)
        for true, row in enumerate(counts)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    return sorted(pairs, key=lambda pair: -pair[0])
