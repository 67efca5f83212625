"""Images in class folders: `photos/cat/1.jpg`, or the same below `train/`, `val/` and `test/`."""

from __future__ import annotations

import os
from collections import Counter
from enum import Enum, auto
from pathlib import Path

from headstart.data.image_index import IMAGE_SUFFIXES, SPLIT_NAMES, ImageIndex, build_index, natural_key
from headstart.errors import DataError
from headstart.i18n import Message, _, join, ngettext, verbatim
from headstart.text import join_first, join_list

_CLUTTER = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information"})


def read_folder(source: str, root: Path, *, allow_outside: bool = False) -> ImageIndex:
    """Return the index of the images in a folder, labeled by the names of their class folders.

    Hidden files, `__MACOSX` and the like are skipped. Links to a folder above them are never followed.

    Args:
        source: Name of the source in messages.
        root: The folder, absolute.
        allow_outside: Follow links that lead out of `root`.

    Raises:
        DataError: There are no class folders, images lie beside the class folders, or a folder is not readable.
    """
    walk = _Walk(root, allow_outside)
    keys: list[str] = []
    names: list[str] = []
    splits: list[str] = []
    notes: list[Message] = []
    start = len(str(root).rstrip(os.sep)) + 1
    for split, folder in _split_folders(walk, notes).items():
        for name, images in _class_images(walk, folder).items():
            if not images:
                notes.append(
                    _("Class folder {name!r} of {split} has no images and is left out.", name=name, split=split)
                    if split
                    else _("Class folder {name!r} has no images and is left out.", name=name)
                )
            keys += [path[start:].replace(os.sep, "/") for path in images]
            names += [name] * len(images)
            splits += [split] * len(images)
    return build_index(source, root, keys, names, splits, [""] * len(keys), [*notes, *walk.notes()])


class _SkippedLink(Enum):
    """Reason for not following a link, in the order of the notes."""

    BACK_TO_PARENT = auto()
    OUTSIDE = auto()
    WITHOUT_TARGET = auto()

    def note(self, count: int) -> Message:
        """Return the note on `count` such links."""
        match self:
            case _SkippedLink.BACK_TO_PARENT:
                return ngettext(
                    "Skipped {count:,} link back to a parent folder.",
                    "Skipped {count:,} links back to a parent folder.",
                    count,
                )
            case _SkippedLink.OUTSIDE:
                return ngettext(
                    "Skipped {count:,} link out of the folder (--allow-outside follows them).",
                    "Skipped {count:,} links out of the folder (--allow-outside follows them).",
                    count,
                )
            case _SkippedLink.WITHOUT_TARGET:
                return ngettext(
                    "Skipped {count:,} link without a target.", "Skipped {count:,} links without a target.", count
                )


class _Walk:
    """Lists folders in sorted order and counts what it skips."""

    def __init__(self, root: Path, allow_outside: bool) -> None:
        self.root = str(root)
        self._real_root = os.path.realpath(root)
        self._allow_outside = allow_outside
        self._entries: dict[str, tuple[dict[str, str], list[str]]] = {}
        self._skipped_links: Counter[_SkippedLink] = Counter()
        self._skipped_files: Counter[str] = Counter()

    def entries(self, folder: str) -> tuple[dict[str, str], list[str]]:
        """Return the visible subfolders (name -> path) and the images (paths) directly in `folder`."""
        if folder not in self._entries:
            self._entries[folder] = self._scan(folder)
        return self._entries[folder]

    def _scan(self, folder: str) -> tuple[dict[str, str], list[str]]:
        try:
            with os.scandir(folder) as iterator:
                entries = sorted(iterator, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(
                _("The folder {folder} cannot be read ({reason}).", folder=folder, reason=error.strerror),
                _("Grant read permission."),
            ) from error
        folders: dict[str, str] = {}
        images: list[str] = []
        for entry in entries:
            if entry.name.startswith(".") or entry.name.casefold() in _CLUTTER:
                continue
            if not _is_utf8(entry.name):
                raise DataError(
                    _("The name {name!r} in {folder!r} is not UTF-8.", name=entry.name, folder=folder),
                    _("Rename it."),
                )
            if entry.is_symlink() and not self._follows(entry):
                continue
            if entry.is_dir():
                folders[entry.name] = entry.path
            elif entry.is_file() and (suffix := os.path.splitext(entry.name)[1].lower()) in IMAGE_SUFFIXES:  # noqa: PTH122
                images.append(entry.path)
            else:
                self._skipped_files[suffix if entry.is_file() else ""] += 1
        return folders, images

    def images(self, folder: str) -> list[str]:
        """Return every image in `folder` and below it; each real folder is entered once."""
        waiting, seen, images = [folder], set(), []
        while waiting:
            current = waiting.pop()
            if (real := os.path.realpath(current)) in seen:
                continue
            seen.add(real)
            folders, own_images = self.entries(current)
            images += own_images
            waiting += folders.values()
        return images

    def _follows(self, entry: os.DirEntry[str]) -> bool:
        """Return True if a link is followed; count it otherwise."""
        target, parent = os.path.realpath(entry.path), os.path.realpath(os.path.dirname(entry.path))  # noqa: PTH120
        if not Path(target).exists():
            reason = _SkippedLink.WITHOUT_TARGET
        elif not self._allow_outside and not is_inside(target, self._real_root):
            reason = _SkippedLink.OUTSIDE
        elif is_inside(parent, target):
            reason = _SkippedLink.BACK_TO_PARENT
        else:
            return True
        self._skipped_links[reason] += 1
        return False

    def notes(self) -> list[Message]:
        """Return one sentence for each kind of entry that was skipped."""
        notes = [reason.note(count) for reason in _SkippedLink if (count := self._skipped_links[reason])]
        if self._skipped_files:
            kinds = (
                verbatim(f"{count:,} {suffix}") if suffix else _("{count:,} other", count=count)
                for suffix, count in self._skipped_files.most_common(5)
            )
            notes.append(
                ngettext(
                    "Skipped {count:,} file without an image suffix: {kinds}.",
                    "Skipped {count:,} files without an image suffix: {kinds}.",
                    self._skipped_files.total(),
                    kinds=join(kinds, ", "),
                )
            )
        return notes


def is_inside(path: str, root: str) -> bool:
    """Return True if `path` is `root` or lies below it; both are resolved paths."""
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _split_folders(walk: _Walk, notes: list[Message]) -> dict[str, str]:
    """Return the folder with class folders of each split; the split is "" if the root contains them directly.

    `train` may also be a class (of vehicles). It is a split if it contains folders and no images, and if there are only
    splits beside it or a `val` or `test` exists.
    """
    folders, _unused = walk.entries(walk.root)
    splits: dict[str, str] = {}
    for name, path in folders.items():
        if split := SPLIT_NAMES.get(name.casefold()):
            if split in splits:
                raise DataError(
                    _(
                        "{root} has two folders for {split}: {first} and {second}.",
                        root=walk.root,
                        split=split,
                        first=splits[split],
                        second=path,
                    ),
                    _("Merge them."),
                )
            splits[split] = path
    others = [name for name in folders if name.casefold() not in SPLIT_NAMES]
    if splits and not others and "train" not in splits:
        raise DataError(
            _("{root} has {splits}, but no train.", root=walk.root, splits=join_list(splits)),
            _("Add a folder train."),
        )
    if "train" not in splits:
        return {"": walk.root}
    subfolders, images = walk.entries(splits["train"])
    if others and (images or not subfolders or len(splits) == 1):
        return {"": walk.root}
    if others:
        notes.append(_("Skipped {folders} beside the splits.", folders=join_first([*map(repr, others)], 5)))
    return splits


def _class_images(walk: _Walk, folder: str) -> dict[str, list[str]]:
    """Return the images of each class. Raises DataError if there are no class folders, or images beside them."""
    folders, strays = walk.entries(folder)
    if strays:
        example = os.path.basename(strays[0])  # noqa: PTH119
        raise DataError(
            ngettext(
                "{folder} has {count:,} image outside of class folders, such as {example}.",
                "{folder} has {count:,} images outside of class folders, such as {example}.",
                len(strays),
                folder=folder,
                example=example,
            ),
            _layout_hint(folder),
        )
    if not folders:
        raise DataError(_("{folder} has no class folders.", folder=folder), _layout_hint(folder))
    return {name: walk.images(path) for name, path in folders.items()}


def _layout_hint(folder: str) -> Message:
    return _("Put the images into one folder per class: {folder}/cat/1.jpg, {folder}/dog/1.jpg.", folder=folder)


def list_images(path: Path) -> list[Path]:
    """Return the images that a path names: the file itself, or a folder's images and those of its subfolders.

    Images of a folder are in natural order. Raises DataError if a folder cannot be read.
    """
    if path.is_dir():
        images = _Walk(path.absolute(), allow_outside=True).images(str(path))
        return [Path(image) for image in sorted(images, key=natural_key)]
    return [path]
