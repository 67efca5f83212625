"""Match the class names of images with those that weights were trained on."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable


def shared_classes(classes: Iterable[str], trained_classes: Collection[str]) -> tuple[str, ...]:
    """Return those of `classes` whose name is that of a class in `trained_classes`, or its last words.

    Case, `_` and `-` do not count: both `Golden_Retriever` and `retriever` match "golden retriever".

    Args:
        classes: Class names of the images.
        trained_classes: Class names that the weights were trained on.
    """
    names = {_words(name) for name in trained_classes}
    ends = {name[i:] for name in names for i in range(len(name))}
    return tuple(name for name in classes if _words(name) in ends)


def _words(name: str) -> tuple[str, ...]:
    """Return the words of a class name; none if all are numbers, which do not describe the images."""
    words = tuple(re.findall(r"\w+", name.lower().replace("_", " ")))
    return () if all(word.isdecimal() for word in words) else words
