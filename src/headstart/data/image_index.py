"""A labelled set of images as one value: who they are, what they are called, and where they lie."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError, UsageError

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
_NUMBER = re.compile(r"[0-9]+")
_SHOWN = 30  # classes that `describe` lists one by one


@dataclass(frozen=True, eq=False)
class ImageIndex:
    """n images with their classes, in natural order of their keys, whatever the file system's order was.

    `keys` are posix paths relative to `root` and serve as image ids; `labels` (int64 [n]) index `classes`; `splits`
    hold "train", "val", "test" or "" (undeclared); `groups` hold "" where there is none. `flip` is False where left and
    right differ by nature. `notes` are sentences that the user should see.
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
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.keys)

    def without(self, indices: Iterable[int]) -> ImageIndex:
        """The same listing less the images at `indices`; the classes stay, even one that lost all its images."""
        gone = set(map(int, indices))
        return self._take([i for i in range(len(self)) if i not in gone])

    def pick(self, classes: Sequence[str]) -> ImageIndex:
        """Only the images of `classes`. Raises UsageError for an unknown class, or for fewer than two."""
        for name in classes:
            if name not in self.classes:
                shown = f"The data has {', '.join(self.classes[:10])}{', …' if len(self.classes) > 10 else ''}."
                raise UsageError(f"There is no class {name!r} in {self.source}.", nearest(name, self.classes) or shown)
        wanted = tuple(sorted(set(classes), key=natural))
        if len(wanted) < 2:
            raise UsageError(f"--classes names only {wanted[0]!r}.", "Name two classes or more, as in --classes a,b.")
        number = np.full(len(self.classes), -1)
        number[[self.classes.index(name) for name in wanted]] = np.arange(len(wanted))
        kept = self._take(np.flatnonzero(number[self.labels] >= 0).tolist())
        return replace(kept, classes=wanted, labels=number[kept.labels])

    def describe(self) -> str:
        """A few plain lines: how many images, which classes, and how many of each in every declared split."""
        splits = np.asarray(self.splits)
        declared = [name for name in SPLITS if (splits == name).any()]
        lines = [f"{self.source}: {len(self):,} images in {len(self.classes)} classes"]
        if declared:
            lines[0] += "; " + ", ".join(f"{name} {np.count_nonzero(splits == name):,}" for name in declared)
        width = max((len(name) for name in self.classes[:_SHOWN]), default=0)
        counts = {name: self._counts(splits == name) for name in declared}
        for i, (name, total) in enumerate(zip(self.classes, self._counts(slice(None)), strict=True)):
            if i == _SHOWN:
                lines.append(f"  … and {len(self.classes) - _SHOWN} more classes")
                break
            parts = "".join(f"  {split} {counts[split][i]:,}" for split in declared)
            lines.append(f"  {name:<{width}}  {total:>6,}{'  =' + parts if parts else ''}")
        return "\n".join(lines)

    def _counts(self, mask: slice | npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        return np.bincount(self.labels[mask], minlength=len(self.classes))

    def _take(self, kept: Sequence[int]) -> ImageIndex:
        keys = tuple(self.keys[i] for i in kept)
        return replace(
            self,
            keys=keys,
            paths=Paths(self.root, keys),
            labels=self.labels[np.asarray(kept, dtype=np.int64)],
            splits=tuple(self.splits[i] for i in kept),
            groups=tuple(self.groups[i] for i in kept),
        )


class Paths(Sequence[Path]):
    """The absolute paths of `keys` below `root`, made when asked for: a million Path objects would weigh 0.3 GB."""

    def __init__(self, root: Path, keys: Sequence[str]) -> None:
        self._root, self._keys = root, keys

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Paths: ...
    def __getitem__(self, index: int | slice) -> Path | Paths:
        if isinstance(index, slice):
            return Paths(self._root, self._keys[index])
        return self._root / self._keys[index]


def natural(text: str) -> tuple[str, str]:
    """A sort key by which "2" stands before "10": each number is preceded by its length."""
    return _NUMBER.sub(_measured, text), text


def _measured(match: re.Match[str]) -> str:
    digits = match[0].lstrip("0") or "0"
    return f"{len(digits):04d}{digits}"


def nearest(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'x'?` for the known word nearest to `word`, or "" if none is near."""
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), folded, n=1)
    return f"Did you mean {folded[close[0]]!r}?" if close else ""


def assemble(
    source: str,
    root: Path,
    keys: Sequence[str],
    names: Sequence[str],
    splits: Sequence[str],
    groups: Sequence[str],
    notes: Iterable[str] = (),
) -> ImageIndex:
    """A listing from columns of equal length (`names` are class names), put in natural order."""
    order = sorted(range(len(keys)), key=lambda i: natural(keys[i]))
    classes = tuple(sorted(set(names), key=natural))
    number = {name: i for i, name in enumerate(classes)}
    ordered = tuple(keys[i] for i in order)
    return ImageIndex(
        source=source,
        root=root,
        classes=classes,
        keys=ordered,
        paths=Paths(root, ordered),
        labels=np.fromiter((number[names[i]] for i in order), dtype=np.int64, count=len(order)),
        splits=tuple(splits[i] for i in order),
        groups=tuple(groups[i] for i in order),
        notes=tuple(notes),
    )


def checked(listing: ImageIndex, *, to_train: bool = True) -> ImageIndex:
    """The listing with notes on what is odd. Raises DataError for what cannot be learned from.

    What is not there `to_train` may have one class, and lack classes in train.

    Refused: no images, one class only, a class that `train` lacks. Noted: class names that differ only in case, a class
    that a declared `val` or `test` lacks.
    """
    if len(listing.classes) < (2 if to_train else 1):
        found = f"only one class, {listing.classes[0]!r}" if listing.classes else "no images"
        said = f" {' '.join(listing.notes)}" if listing.notes else ""
        raise DataError(
            f"{listing.source} has {found}.{said}",
            f"A classifier needs two class folders or more, each with images ({', '.join(sorted(SUFFIXES))}).",
        )
    notes = [*listing.notes, *_clashes(listing.classes)]
    splits = np.asarray(listing.splits)
    for split in SPLITS if (splits == "train").all() or (splits != "").all() else ():
        if not (mask := splits == split).any():
            continue
        absent = [listing.classes[i] for i in np.flatnonzero(listing._counts(mask) == 0)]
        if absent and split == "train" and to_train:
            rest = [name for name in listing.classes if name not in absent]
            raise DataError(
                f"Class {absent[0]!r} of {listing.source} has no images in train.",
                nearest(absent[0], rest) or "Add training images of it, or leave it out with --classes.",
            )
        if absent:
            notes.append(f"No images in {split} of {', '.join(map(repr, absent[:5]))}: {split} says nothing on that.")
    return replace(listing, notes=tuple(notes))


def _clashes(classes: Iterable[str]) -> Iterable[str]:
    alike = defaultdict(list)
    for name in classes:
        alike[unicodedata.normalize("NFC", name).casefold().strip()].append(name)
    for names in alike.values():
        if len(names) > 1:
            yield f"Classes {' and '.join(map(repr, names))} differ only in spelling and are kept apart: is that meant?"
