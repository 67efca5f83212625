"""Recognize folders of splits by their names: train, validation, seg_test, images_val, train2017."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from headstart.data.image_index import SPLIT_NAMES, class_name

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # also those of trainImages
_HOLD_OUT = re.compile(r"hold[-_ ]out", re.IGNORECASE)
_EVALUATION = frozenset({"eval", "evaluation"})
_SET = "set"  # of trainset


@dataclass(frozen=True)
class SplitName:
    """The name of a folder that names a split.

    Attributes:
        folder: The name.
        split: "train", "val" or "test".
        exact: The whole name is that of a split. Otherwise a word of it is, and the folder may also be a class, such as
            test_tube.
        rest: The other words: `images` of `images_train`.
    """

    folder: str
    split: str
    exact: bool
    rest: tuple[str, ...]

    @property
    def is_usual(self) -> bool:
        """True if the name needs no explanation: it begins with that of the split, as validation does."""
        return self.exact and class_name(self.folder).casefold().startswith(self.split)


def split_names(folders: Iterable[str]) -> list[SplitName]:
    """Return the names that name a split, in the order train, val, test.

    `eval` is val. It is test where another folder is val and none is test.
    """
    names = [name for folder in folders if (name := _split_name(folder))]
    others = {name.split for name in names if not _is_evaluation(name)}
    if "val" in others and "test" not in others:
        names = [
            SplitName(name.folder, "test", name.exact, name.rest) if _is_evaluation(name) else name for name in names
        ]
    order = tuple(dict.fromkeys(SPLIT_NAMES.values()))
    return sorted(names, key=lambda name: order.index(name.split))


def _split_name(folder: str) -> SplitName | None:
    name = class_name(folder)
    if split := SPLIT_NAMES.get(name.casefold()):
        return SplitName(folder, split, True, ())
    words = _words(name)
    splits = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    if len(splits) != 1:
        return None
    return SplitName(folder, splits.pop(), False, tuple(word for word in words if word not in SPLIT_NAMES))


def _words(name: str) -> list[str]:
    words = [word.lower() for word in _WORD.findall(_HOLD_OUT.sub("holdout", name))]
    return [word.removesuffix(_SET) if word.removesuffix(_SET) in SPLIT_NAMES else word for word in words]


def _is_evaluation(name: SplitName) -> bool:
    return not _EVALUATION.isdisjoint(_words(class_name(name.folder)))
