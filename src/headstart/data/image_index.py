"""The index of a labeled set of images: keys, paths, labels, declared splits and groups."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from headstart.config.flag_words import flag_text
from headstart.errors import DataError, UsageError
from headstart.i18n import Message, _, join, ngettext, verbatim
from headstart.text import join_first, join_list, relative_path, replacement_hint

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {  # in lower case, as folders and manifests name the splits
    **dict.fromkeys(("train", "training", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "devel", "development", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "holdout", "hold-out", "hold_out"), "test"),
}
_WITHOUT_WIDTH = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
_NUMBER = re.compile(r"[0-9]+")
_DIGITS = str.maketrans("123456789", "0" * 9)
_MAX_NAMED_CLASSES = 100  # in one message
_MAX_CLASSES_SHOWN = 30  # classes that `describe` lists one by one


@dataclass(frozen=True, eq=False)
class ImageIndex:
    """n images with their classes, in natural order of their keys, whatever the order of the file system.

    Attributes:
        source: What the user named.
        root: Folder of the images.
        classes: Class names, in natural order.
        keys: Paths relative to `root` with forward slashes; they serve as image ids.
        paths: Absolute paths.
        labels: Positions in `classes`, int64 [n].
        splits: "train", "val", "test" or "" (not declared).
        groups: Group names, "" for an image without one.
        flip: False if left and right of an image must not be exchanged.
        notes: Sentences for the user.
    """

    source: str
    root: Path
    classes: tuple[str, ...]
    keys: tuple[str, ...]
    paths: Sequence[Path]
    labels: npt.NDArray[np.int64]
    splits: tuple[str, ...]
    groups: tuple[str, ...]
    flip: bool = True
    notes: tuple[Message, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)

    def without(self, indices: Iterable[int]) -> ImageIndex:
        """Return the index without the images at `indices`; all classes stay, even one without images."""
        dropped = set(map(int, indices))
        return self._take([i for i in range(len(self)) if i not in dropped])

    def without_empty_classes(self) -> ImageIndex:
        """Return the index without classes that have no images; a note names them."""
        counts = self._counts(slice(None))
        if counts.all():
            return self
        number = np.cumsum(counts > 0) - 1
        empty = [name for name, count in zip(self.classes, counts, strict=True) if not count]
        note = ngettext(
            "Class {names} has no image that can be decoded and is left out.",
            "Classes {names} have no image that can be decoded and are left out.",
            len(empty),
            names=join_first([*map(repr, empty)], 5),
        )
        classes = tuple(name for name, count in zip(self.classes, counts, strict=True) if count)
        return replace(self, classes=classes, labels=number[self.labels], notes=(*self.notes, note))

    def pick(self, classes: Sequence[str]) -> ImageIndex:
        """Return the images of `classes` only. Raises UsageError for an unknown class, or for fewer than two."""
        position = {name: index for index, name in enumerate(self.classes)}
        for name in classes:
            if name not in position:
                available = _("The data has {classes}.", classes=join_first(self.classes, 10))
                raise UsageError(
                    _("There is no class {name!r} in {source}.", name=name, source=self.source),
                    several_names_hint(name, self.classes) or replacement_hint(name, self.classes) or available,
                )
        names = tuple(sorted(set(classes), key=natural_key))
        if len(names) < 2:
            raise UsageError(
                _("--classes names only {name!r}.", name=names[0]),
                _("Name two classes or more, as in --classes a --classes b."),
            )
        number = np.full(len(self.classes), -1)
        number[[position[name] for name in names]] = np.arange(len(names))
        picked = self._take(np.flatnonzero(number[self.labels] >= 0).tolist())
        return replace(picked, classes=names, labels=number[picked.labels])

    def describe(self) -> Message:
        """Return the lines of `summary` as one text."""
        return join(self.summary(), "\n")

    def summary(self) -> list[Message]:
        """Return lines with the numbers of images, in all and of each class and declared split."""
        splits = np.asarray(self.splits)
        declared = [name for name in SPLITS if (splits == name).any()]
        lines = [
            _(
                "{source}: {images} in {classes}",
                source=relative_path(self.source),
                images=ngettext("{count:,} image", "{count:,} images", len(self)),
                classes=ngettext("{count} class", "{count} classes", len(self.classes)),
            )
        ]
        if declared:
            sizes = ", ".join(f"{name} {np.count_nonzero(splits == name):,}" for name in declared)
            lines = [_("{summary}; {splits}", summary=lines[0], splits=sizes)]
        width = max((len(name) for name in self.classes[:_MAX_CLASSES_SHOWN]), default=0)
        counts = {name: self._counts(splits == name) for name in declared}
        for i, (name, total) in enumerate(zip(self.classes, self._counts(slice(None)), strict=True)):
            if i == _MAX_CLASSES_SHOWN:
                more = len(self.classes) - _MAX_CLASSES_SHOWN
                lines.append(ngettext("  … and {count} more class", "  … and {count} more classes", more))
                break
            parts = "".join(f"  {split} {counts[split][i]:,}" for split in declared)
            lines.append(verbatim(f"  {name:<{width}}  {total:>6,}{'  =' + parts if parts else ''}"))
        return lines

    def _counts(self, mask: slice | npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        return np.bincount(self.labels[mask], minlength=len(self.classes))

    def _take(self, indices: Sequence[int]) -> ImageIndex:
        keys = tuple(self.keys[i] for i in indices)
        return replace(
            self,
            keys=keys,
            paths=LazyPaths(self.root, keys),
            labels=self.labels[np.asarray(indices, dtype=np.int64)],
            splits=tuple(self.splits[i] for i in indices),
            groups=tuple(self.groups[i] for i in indices),
        )


class LazyPaths(Sequence[Path]):
    """The absolute paths of `keys` below `root`, built on access: a million Path objects would take 0.3 GB."""

    def __init__(self, root: Path, keys: Sequence[str]) -> None:
        self._root, self._keys = root, keys

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> LazyPaths: ...
    def __getitem__(self, index: int | slice) -> Path | LazyPaths:
        if isinstance(index, slice):
            return LazyPaths(self._root, self._keys[index])
        return self._root / self._keys[index]


def class_name(folder: str) -> str:
    """Return the class that the name of a folder stands for: composed accents (NFC), no blanks around it.

    Systems store accents in two forms that look alike, and blanks and other signs without width at the ends cannot be
    seen.
    """
    text = unicodedata.normalize("NFC", folder)
    while (stripped := text.strip().strip(_WITHOUT_WIDTH)) != text:
        text = stripped
    return text or folder


def natural_key(text: str) -> tuple[str, str]:
    """Return a sort key that puts "2" before "10": each number is preceded by its length."""
    return _NUMBER.sub(_with_length, text), text


def natural_order(texts: Sequence[str]) -> list[int]:
    """Return the positions of texts in the order of their natural keys."""
    order = sorted(range(len(texts)), key=texts.__getitem__)
    shapes = (text.translate(_DIGITS) for text in texts)
    first = next(shapes, "")
    if any(shape != first for shape in shapes):  # else all numbers are as long as those of the other texts
        order.sort(key=lambda i: _NUMBER.sub(_with_length, texts[i]))
    return order


def _with_length(match: re.Match[str]) -> str:
    digits = match[0].lstrip("0") or "0"
    return f"{len(digits):04d}{digits}"


def build_index(
    source: str,
    root: Path,
    keys: Sequence[str],
    names: Sequence[str],
    splits: Sequence[str],
    groups: Sequence[str],
    notes: Iterable[Message] = (),
) -> ImageIndex:
    """Return an index, in natural order, from columns of equal length; `names` are the class names."""
    order = natural_order(keys)
    classes = tuple(sorted(set(names), key=natural_key))
    number = {name: i for i, name in enumerate(classes)}
    ordered = tuple(keys[i] for i in order)
    return ImageIndex(
        source=source,
        root=root,
        classes=classes,
        keys=ordered,
        paths=LazyPaths(root, ordered),
        labels=np.fromiter((number[names[i]] for i in order), dtype=np.int64, count=len(order)),
        splits=tuple(splits[i] for i in order),
        groups=tuple(groups[i] for i in order),
        notes=tuple(notes),
    )


def validate_index(images: ImageIndex, *, to_train: bool = True) -> ImageIndex:
    """Return the index with notes on what is unusual in it.

    Notes name class names that differ only in spelling, and classes without images in a declared `val` or `test`.

    Args:
        images: The index.
        to_train: Require two classes or more, and training images of every class. Without it one class is enough.

    Raises:
        DataError: There are too few classes, or a class has no images in a declared train.
    """
    if len(images.classes) < (2 if to_train else 1):
        message = (
            _("{source} has only one class, {name!r}.", source=images.source, name=images.classes[0])
            if images.classes
            else _("{source} has no images.", source=images.source)
        )
        raise DataError(join([message, *images.notes]), _("Add images of at least two classes."))
    notes = [*images.notes, *_clashes(images.classes)]
    splits = np.asarray(images.splits)
    for split in SPLITS if (splits == "train").all() or (splits != "").all() else ():
        if not (mask := splits == split).any():
            continue
        absent = [images.classes[i] for i in np.flatnonzero(images._counts(mask) == 0)]
        if absent and split == "train" and to_train:
            raise _absent_in_train(images, absent)
        if absent:
            names = join_first([*map(repr, absent)], 5)
            notes.append(
                _(
                    "No images in {split} of {classes}: results on {split} do not cover them.",
                    split=split,
                    classes=names,
                )
            )
    return replace(images, notes=tuple(notes))


def _absent_in_train(images: ImageIndex, absent: Sequence[str]) -> DataError:
    """Return the error for classes without images in a declared train. One of them may be misspelled."""
    missing = set(absent)
    similar = replacement_hint(absent[0], [name for name in images.classes if name not in missing])
    return DataError(
        ngettext(
            "{count:,} class of {source} has no images in train: {classes}.",
            "{count:,} classes of {source} have no images in train: {classes}.",
            len(absent),
            classes=join_first([*map(repr, absent)], _MAX_NAMED_CLASSES),
            source=images.source,
        ),
        similar
        if len(absent) == 1 and similar
        else _("Add training images, or use --min-per-class 1, which leaves out classes without training images."),
    )


def class_counts_text(counts: Mapping[str, int]) -> Message:
    """Return classes with their numbers of images: `'cat' (2), 'dog' (1)`; of very many the first ones."""
    return join_first([f"{name!r} ({count:,})" for name, count in counts.items()], _MAX_NAMED_CLASSES)


def several_names_hint(text: str, classes: Sequence[str]) -> Message | None:
    """Return how to name several classes if a text names them with commas, which names may contain; else None."""
    names = [name.strip() for name in text.split(",")]
    if len(names) < 2 or not set(names) & set(classes):
        return None
    return _("Write {flags}.", flags=flag_text("classes", names))


def _clashes(classes: Iterable[str]) -> Iterable[Message]:
    same_spelling = defaultdict(list)
    for name in classes:
        folded = class_name(unicodedata.normalize("NFKC", name)).casefold()
        same_spelling[folded.lstrip("0") or "0" if folded.isdecimal() else folded].append(name)
    for names in same_spelling.values():
        if len(names) > 1:
            listed = join_list(map(repr, names))
            yield _("Classes {names} differ only in spelling and are treated as separate.", names=listed)
