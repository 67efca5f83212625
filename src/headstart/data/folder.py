"""Images in class folders: `photos/cat/1.jpg`, or the same below `train/`, `val/` and `test/`."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from headstart.data.image_index import SPLIT_NAMES, SUFFIXES, ImageIndex, assemble, natural
from headstart.errors import DataError

_CLUTTER = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information"})
_LAYOUT = "Put the images into one folder per class: {root}/cat/1.jpg, {root}/dog/1.jpg."


def read(source: str, root: Path, *, allow_outside: bool = False) -> ImageIndex:
    """The images of the folder `root` (absolute), labelled by the name of their class folder.

    Hidden files, `__MACOSX` and the like are passed over. Links that lead out of `root` are followed only with
    `allow_outside`, links that lead back never. Raises DataError where there are no class folders, where images lie
    beside them, and for folders that may not be read.
    """
    walk = _Walk(root, allow_outside)
    keys: list[str] = []
    names: list[str] = []
    splits: list[str] = []
    notes: list[str] = []
    start = len(str(root).rstrip(os.sep)) + 1
    for split, folder in _parts(walk, notes).items():
        for name, images in _classes(walk, folder).items():
            if not images:
                notes.append(f"Class folder {name!r}{f' of {split}' if split else ''} has no images and is left out.")
            keys += [path[start:].replace(os.sep, "/") for path in images]
            names += [name] * len(images)
            splits += [split] * len(images)
    return assemble(source, root, keys, names, splits, [""] * len(keys), [*notes, *walk.notes()])


class _Walk:
    """Looks into folders, in sorted order; counts what it passes over."""

    def __init__(self, root: Path, allow_outside: bool) -> None:
        self.root = str(root)
        self._real = os.path.realpath(root)
        self._allow_outside = allow_outside
        self._looked: dict[str, tuple[dict[str, str], list[str]]] = {}
        self._links: Counter[str] = Counter()
        self._others: Counter[str] = Counter()

    def look(self, folder: str) -> tuple[dict[str, str], list[str]]:
        """Visible subfolders (name -> path) and images (paths) directly in `folder`."""
        if folder not in self._looked:
            self._looked[folder] = self._look(folder)
        return self._looked[folder]

    def _look(self, folder: str) -> tuple[dict[str, str], list[str]]:
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(
                f"The folder {folder} cannot be read ({error.strerror}).", "Give yourself access."
            ) from error
        folders: dict[str, str] = {}
        images: list[str] = []
        for entry in entries:
            if entry.name.startswith(".") or entry.name.casefold() in _CLUTTER:
                continue
            if not _utf8(entry.name):
                raise DataError(f"The name {entry.name!r} in {folder!r} is not UTF-8.", "Rename it.")
            if entry.is_symlink() and not self._follows(entry):
                continue
            if entry.is_dir():
                folders[entry.name] = entry.path
            elif entry.is_file() and (suffix := os.path.splitext(entry.name)[1].lower()) in SUFFIXES:  # noqa: PTH122
                images.append(entry.path)
            else:
                self._others[suffix if entry.is_file() and suffix else "other"] += 1
        return folders, images

    def images(self, folder: str) -> list[str]:
        """Every image in `folder` and below it; each real folder is entered once."""
        waiting, seen, images = [folder], set(), []
        while waiting:
            here = waiting.pop()
            if (real := os.path.realpath(here)) in seen:
                continue
            seen.add(real)
            folders, found = self.look(here)
            images += found
            waiting += folders.values()
        return images

    def _follows(self, entry: os.DirEntry[str]) -> bool:
        real, here = os.path.realpath(entry.path), os.path.realpath(os.path.dirname(entry.path))  # noqa: PTH120
        if not Path(real).exists():
            self._links["lead nowhere"] += 1
        elif not self._allow_outside and not inside(real, self._real):
            self._links["lead out of the folder (--allow-outside follows them)"] += 1
        elif inside(here, real):
            self._links["lead back to a folder above them"] += 1
        else:
            return True
        return False

    def notes(self) -> list[str]:
        """One sentence for each kind of thing that was passed over."""
        notes = [f"Passed over {count:,} links that {why}." for why, count in sorted(self._links.items())]
        if self._others:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in self._others.most_common(5))
            notes.append(f"Passed over {self._others.total():,} files that are no images by their name: {kinds}.")
        return notes


def inside(real: str, root: str) -> bool:
    """Whether the resolved path `real` is `root` (resolved too) or lies below it."""
    return real == root or real.startswith(root.rstrip(os.sep) + os.sep)


def _utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parts(walk: _Walk, notes: list[str]) -> dict[str, str]:
    """Split -> folder that holds class folders; the split is "" where the root holds them itself.

    `train` may also be a class (of vehicles): it is a split if it holds folders, not images, and nothing but splits
    stands beside it, or a `val` or `test` does.
    """
    folders, _ = walk.look(walk.root)
    parts: dict[str, str] = {}
    for name, path in folders.items():
        if split := SPLIT_NAMES.get(name.casefold()):
            if split in parts:
                raise DataError(f"{walk.root} has two folders for {split}: {parts[split]} and {path}.", "Merge them.")
            parts[split] = path
    others = [name for name in folders if name.casefold() not in SPLIT_NAMES]
    if parts and not others and "train" not in parts:
        raise DataError(f"{walk.root} has {' and '.join(parts)}, but no train.", "Add a folder train.")
    if "train" not in parts:
        return {"": walk.root}
    below, images = walk.look(parts["train"])
    if others and (images or not below or len(parts) == 1):
        return {"": walk.root}
    if others:
        notes.append(f"Passed over {', '.join(map(repr, others[:5]))} beside the splits.")
    return parts


def _classes(walk: _Walk, folder: str) -> dict[str, list[str]]:
    """Class name -> its images. Raises DataError if there are no class folders, or images beside them."""
    folders, strays = walk.look(folder)
    if strays:
        what = f"{len(strays):,} images lie directly in {folder} (such as {os.path.basename(strays[0])})"  # noqa: PTH119
        raise DataError(f"{what}, where only class folders can be.", _LAYOUT.format(root=folder))
    if not folders:
        raise DataError(f"{folder} has no class folders.", _LAYOUT.format(root=folder))
    return {name: walk.images(path) for name, path in folders.items()}


def images_in(path: Path) -> list[Path]:
    """The images that a user names: a file as it is, a folder's images in natural order, nested ones too.

    Raises DataError for a path that is not there.
    """
    if path.is_dir():
        return [
            Path(found) for found in sorted(_Walk(path.absolute(), allow_outside=True).images(str(path)), key=natural)
        ]
    if not path.exists():
        raise DataError(f"There is no image {path}.", "Check the path.")
    return [path]
