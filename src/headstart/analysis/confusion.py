"""Select the cells of a confusion matrix that are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from headstart.metrics.confusion_counts import ConfusionCounts

K = TypeVar("K")
V = TypeVar("V")
MAX_SHOWN_CLASSES = 30


def round_robin(lists: Mapping[K, Sequence[V]]) -> Iterator[tuple[K, V]]:
    """Yield (key, item) pairs: the first item of each list, then the second of each, and so on."""
    for index in range(max(map(len, lists.values()), default=0)):
        yield from ((key, items[index]) for key, items in lists.items() if index < len(items))


def shown_classes(counts: ConfusionCounts) -> list[int]:
    """Return the indices of the classes to show, in ascending order.

    Returns:
        All classes, or the `MAX_SHOWN_CLASSES` that are confused most often if there are more.
    """
    confused = (label for _, true, predicted in counts.errors() for label in (true, predicted))
    return sorted(list(dict.fromkeys([*confused, *range(counts.classes)]))[:MAX_SHOWN_CLASSES])


def shown_cells(counts: ConfusionCounts) -> list[tuple[int, int]]:
    """Return the non-empty cells (true, predicted) of the shown classes: errors first, the most frequent first."""
    classes = shown_classes(counts)
    errors = [(true, predicted) for _, true, predicted in counts.errors() if true in classes and predicted in classes]
    correct = counts.block(classes).diagonal()
    return [*errors, *((label, label) for label, count in zip(classes, correct, strict=True) if count)]
