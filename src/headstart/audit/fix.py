"""Write a manifest of the images without what `check` found in files: no image is touched, no file is overwritten."""

from __future__ import annotations

import csv
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from headstart.audit.audit_data import AuditData, Integers
from headstart.audit.finding import FixedManifest
from headstart.audit.group_checks import joined_groups
from headstart.audit.relations import sets_of
from headstart.data.dataset import divide_plan
from headstart.data.image_index import SPLITS, ImageIndex
from headstart.data.manifest import read_manifest
from headstart.data.near_duplicates import Pairs
from headstart.data.tables.options import TableOptions
from headstart.errors import DataError, ResourceError, UsageError
from headstart.i18n import Message, _, join, ngettext
from headstart.text import formula_notes, join_first

_SHOWN = 5
_SPECIAL = re.compile(r"~|file:|[A-Za-z]:[/\\]|\\\\|[A-Za-z][A-Za-z0-9+.-]+://|[\s='\"]", re.IGNORECASE)
_GROUP = "group-{number}"


def require_new_file(path: Path, suffix: str, flag: str) -> None:
    """Raise UsageError if a file to be written has another suffix, is there already, or has no folder."""
    if path.suffix.lower() != suffix:
        raise UsageError(
            _("{flag} {path} does not end in {suffix}.", flag=flag, path=path, suffix=suffix),
            _(
                "Name a file such as {example}.",
                example=str(path.with_suffix(suffix)) if path.name else f"fixed{suffix}",
            ),
        )
    if path.exists() or path.is_symlink():
        raise UsageError(
            _("{path} exists already, and {flag} overwrites nothing.", path=path, flag=flag),
            _("Name another file, or remove this one."),
        )
    if not path.parent.is_dir():
        raise UsageError(
            _("The folder {folder} does not exist.", folder=path.parent),
            _("Make it, or name a file in another folder."),
        )


def write_fixed_manifest(data: AuditData, path: Path) -> FixedManifest:
    """Write the images with labels, declared splits and groups to a new manifest, and read it back.

    Files that cannot be decoded are left out, and copies in train or val of images in a declared test, or in train of
    those in val. No label is changed. Groups are declared groups, near-duplicates and probable groups.

    Args:
        data: The audited data.
        path: A new file that ends in .csv.

    Raises:
        UsageError: The file exists already.
        DataError: The manifest cannot be read back as it was meant, because of the name of a file or of a class.
        ResourceError: The file cannot be written.
    """
    unnamed = [i for i, key in enumerate(data.images.keys) if "\r" in key]  # readers of tables take it for a line end
    copies, kept = _copies(data, {*data.store.bad, *unnamed})
    left_out = {*data.store.bad, *copies, *unnamed}
    places = np.array([i for i in range(len(data.images)) if i not in left_out], dtype=np.int64)
    fixed, source, fault = _with_groups(data, places)
    _write(fixed, path)
    try:
        flags = _flags_to_read(fixed, path)
    except DataError:
        with suppress(OSError):
            path.unlink()
        raise
    notes = [
        _written_note(path, fixed, source),
        *_left_out_notes(data, copies, unnamed),
        *_label_notes(data, copies),
        *kept,
        *_lost_notes(data, places),
        *formula_notes([*(_path_in(image, path.absolute().parent) for image in fixed.paths), *fixed.classes]),
    ]
    if fault is not None:
        notes.append(join([_("The manifest cannot be divided into splits:"), fault.message, fault.hint]))
    return FixedManifest(path, tuple(flags), tuple(data.images.keys[i] for i in sorted(left_out)), tuple(notes))


def _copies(data: AuditData, left_out: set[int]) -> tuple[list[int], list[Message]]:
    """Return copies of images of a declared split that lie in a split before it, and notes on those that stay.

    Copies stay where a class would have no other image in their split.

    Args:
        data: The audited data.
        left_out: Images that are left out for another reason.
    """
    declared, labels = data.images.splits, data.images.labels
    rank = {name: place for place, name in enumerate(SPLITS)}  # test is kept as it is, then val
    copies = []
    for members in sets_of(data.clusters):
        named = [i for i in members if declared[i] and i not in left_out]
        highest = max((rank[declared[i]] for i in named), default=0)
        copies += [i for i in named if rank[declared[i]] < highest]
    count = Counter((declared[i], int(labels[i])) for i in range(len(labels)) if i not in left_out)
    lost = Counter((declared[i], int(labels[i])) for i in copies)
    emptied = {key for key, number in lost.items() if number == count[key]}
    notes = [
        _("The copies of {classes} stay: without them these classes would have no {split} images.",
          classes=join_first([repr(data.images.classes[label]) for name, label in sorted(emptied) if name == split],
                             _SHOWN), split=split)
        for split in SPLITS
        if any(name == split for name, _label in emptied)
    ]  # fmt: skip
    return [i for i in sorted(copies) if (declared[i], int(labels[i])) not in emptied], notes


def _with_groups(data: AuditData, places: Integers) -> tuple[ImageIndex, Message, DataError | None]:
    """Return the images at `places` with groups, what these are made from, and why they cannot be divided, if so."""
    images = data.images.without(set(range(len(data.images))) - set(places.tolist()))
    for source, numbers in _choices_of_groups(data, places):
        fixed = replace(images, groups=_group_names(images, numbers))
        result = fixed, source, _split_fault(data, fixed, places)
        if result[-1] is None:
            break
    return result


def _choices_of_groups(data: AuditData, places: Integers) -> list[tuple[Message, Integers]]:
    """Return what groups are made from, and the number of each image's group: all hints, fewer, only declared ones."""
    probable = data.probable_groups
    probable = np.where(probable < 0, probable.max(initial=-1) + 1 + np.arange(len(probable)), probable)
    return [
        (_("declared groups, near-duplicates, and series by time and name"),
         joined_groups(data, [data.clusters, probable])[places]),
        (_("declared groups and near-duplicates"), joined_groups(data, [data.clusters])[places]),
        (_("declared groups"), joined_groups(data, [])[places]),
    ]  # fmt: skip


def _group_names(images: ImageIndex, numbers: Integers) -> tuple[str, ...]:
    """Return the group of each image: that which was declared, else a new name; "" for an image that is alone."""
    taken, names = set(images.groups), list(images.groups)
    number = 0
    for members in sets_of(numbers):
        name = next((images.groups[i] for i in members if images.groups[i]), "")
        while not name or (name in taken and name not in {images.groups[i] for i in members}):
            number += 1
            name = _GROUP.format(number=number)
        taken.add(name)
        for i in members:
            names[i] = name
    return tuple(names)


def _split_fault(data: AuditData, images: ImageIndex, places: Integers) -> DataError | None:
    """Return why a training could not divide the images, which are at `places` in the data; None if it could."""
    place = np.full(len(data.images), -1, dtype=np.int64)
    place[places] = np.arange(len(places))
    first, second = place[data.near.first], place[data.near.second]
    stays = (first >= 0) & (second >= 0) & (data.plan.data.near_duplicates == "together")
    pairs = Pairs(first[stays], second[stays], data.near.similarity[stays])
    hashes = tuple(data.content_hashes[i] for i in places)
    try:
        divide_plan(data.plan, images.without_empty_classes(), hashes, pairs)
    except DataError as error:
        return error
    return None


def _write(images: ImageIndex, path: Path) -> None:
    columns = ["path", "label"]
    has_splits, has_groups = any(images.splits), any(images.groups)
    columns += ["split"] * has_splits + ["group"] * has_groups
    folder = path.absolute().parent
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
            writer.writerow(columns)
            for i, image in enumerate(images.paths):
                row = [_path_in(image, folder), images.classes[images.labels[i]]]
                row += [images.splits[i]] * has_splits + [images.groups[i]] * has_groups
                writer.writerow(row)
    except FileExistsError:
        raise UsageError(_("{path} exists already.", path=path), _("Name another file.")) from None
    except OSError as error:
        raise ResourceError(
            _("{path} cannot be written ({reason}).", path=path, reason=error.strerror),
            _("Name a file in another folder."),
        ) from None


def _path_in(image: Path, folder: Path) -> str:
    """Return the path of an image relative to a folder; one that could be read as something else begins with `./`."""
    path = os.path.relpath(image, folder).replace(os.sep, posixpath.sep)
    return f"./{path}" if _SPECIAL.match(path) else path


def _flags_to_read(images: ImageIndex, path: Path) -> list[str]:
    """Return the flags with which a manifest is read as it was meant.

    Raises:
        DataError: It cannot be read so.
    """
    expected = _rows(images)
    fault: DataError | None = None
    for is_outside in (False, True):
        for keeps in (False, True):
            try:
                read = read_manifest(
                    str(path), path.absolute(), TableOptions(keep_labels=keeps), allow_outside=is_outside
                )
            except DataError as error:
                fault = fault or error
                continue
            if _rows(read) == expected:
                return ["--allow-outside"] * is_outside + ["--keep-labels"] * keeps
            fault = None
            differing = _first_difference(expected, _rows(read))
    if fault is not None:
        raise DataError(_("A manifest of these images cannot be read back: {fault}", fault=fault.message), fault.hint)
    raise DataError(
        _("A manifest cannot hold the name of {path} or of its class.", path=differing),
        _("Rename the file or the class."),
    )


def _rows(images: ImageIndex) -> dict[str, tuple[str, str, str]]:
    """Return label, split and group of each image by its path."""
    return {
        os.path.normpath(path): (images.classes[label], split, group)
        for path, label, split, group in zip(
            images.paths, images.labels.tolist(), images.splits, images.groups, strict=True
        )
    }


def _first_difference(expected: dict[str, tuple[str, str, str]], read: dict[str, tuple[str, str, str]]) -> str:
    return next((path for path, row in expected.items() if read.get(path) != row), next(iter(read), ""))


def _written_note(path: Path, images: ImageIndex, source: Message) -> Message:
    groups = Counter(name for name in images.groups if name)
    count = sum(number > 1 for number in groups.values())
    note = ngettext("Wrote {path}: {count:,} image.", "Wrote {path}: {count:,} images.", len(images), path=path)
    if not count:
        return note
    return ngettext(
        "{note} {count:,} group keeps images together ({source}).",
        "{note} {count:,} groups keep images together ({source}).",
        count,
        note=note,
        source=source,
    )


def _lost_notes(data: AuditData, places: Integers) -> Iterator[Message]:
    """Yield a note for each declared split, or for all images, in which classes have no image at `places` any more."""
    labels, splits = data.images.labels, np.asarray(data.images.splits)
    for split in dict.fromkeys(splits.tolist()):
        before, after = (set(labels[p[splits[p] == split]].tolist()) for p in (np.arange(len(labels)), places))
        if lost := sorted(before - after):
            names = join_first([repr(data.images.classes[label]) for label in lost], _SHOWN)
            yield (
                _("{split:cap} has no image of {classes} any more.", split=split, classes=names)
                if split
                else _("There is no image of {classes} any more.", classes=names)
            )


def _label_notes(data: AuditData, copies: Sequence[int]) -> Iterator[Message]:
    """Yield a note if copies that are left out have another label than an image that stays: one label is wrong."""
    labels, out = data.images.labels, {*data.store.bad, *copies}
    left_out = set(copies)
    doubtful = [
        i
        for members in sets_of(data.clusters)
        for i in members
        if i not in out and any(labels[i] != labels[copy] for copy in members if copy in left_out)
    ]
    if doubtful:
        yield ngettext(
            "{count:,} image that stays has another label than its copy; look which label is right: {names}.",
            "{count:,} images that stay have another label than their copies; look which label is right: {names}.",
            len(doubtful),
            names=join_first([data.images.keys[i] for i in doubtful], _SHOWN),
        )


def _left_out_notes(data: AuditData, copies: Sequence[int], unnamed: Sequence[int]) -> Iterator[Message]:
    keys, splits = data.images.keys, data.images.splits
    if data.store.bad:
        yield ngettext(
            "Left out {count:,} image that cannot be decoded: {names}.",
            "Left out {count:,} images that cannot be decoded: {names}.",
            len(data.store.bad),
            names=join_first([keys[i] for i in data.store.bad], _SHOWN),
        )
    for name in SPLITS:
        if places := [i for i in copies if splits[i] == name]:
            yield ngettext(
                "Left out {count:,} image of {split} that has a copy in a later split: {names}.",
                "Left out {count:,} images of {split} that have a copy in a later split: {names}.",
                len(places),
                split=name,
                names=join_first([keys[i] for i in places], _SHOWN),
            )
    if unnamed:
        yield ngettext(
            "Left out {count:,} image with a carriage return in its name, which a table cannot hold: {names}.",
            "Left out {count:,} images with a carriage return in their names, which a table cannot hold: {names}.",
            len(unnamed),
            names=join_first([keys[i] for i in unnamed], _SHOWN),
        )
