"""Class folders directly in a folder, and the errors if there are none."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from headstart.data.folder import SkippedLink, Walk
from headstart.data.image_index import class_name
from headstart.errors import DataError
from headstart.i18n import Message, _, join, ngettext
from headstart.text import join_first

SHOWN_NAMES = 5  # in a message
ARCHIVE_SUFFIXES = frozenset({".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst"})


@dataclass(frozen=True)
class ClassFolder:
    """A folder of images of one class; `split` is "" if none is declared."""

    split: str
    name: str
    path: str


@dataclass(frozen=True)
class Layout:
    """The class folders of a data folder, and what was decided to find them."""

    folders: list[ClassFolder]
    notes: list[Message] = field(default_factory=list)


def used_folders(walk: Walk, folder: str) -> dict[str, str]:
    """Return the subfolders that contain images (name -> path)."""
    return {name: path for name, path in walk.entries(folder)[0].items() if walk.has_images(path)}


def class_names(folders: Iterable[str]) -> set[str]:
    """Return the classes that names of folders stand for."""
    return {class_name(name) for name in folders}


def holds_folders(walk: Walk, folder: str) -> bool:
    """Return True if a folder has subfolders with images, and no images beside them."""
    return not walk.entries(folder)[1] and bool(used_folders(walk, folder))


def class_folders_in(walk: Walk, folder: str, split: str = "") -> list[ClassFolder]:
    """Return the class folders in a folder.

    Raises DataError if there are none, if images lie beside them, or if links to folders outside are not followed.
    """
    folders, strays = walk.entries(folder)
    require_folder_links(walk, folder)
    if strays:
        message = ngettext(
            "{folder} has {count:,} image outside of class folders, such as {example}.",
            "{folder} has {count:,} images outside of class folders, such as {example}.",
            len(strays),
            folder=folder,
            example=os.path.basename(strays[0]),  # noqa: PTH119
        )
        raise DataError(message, _layout_hint(folder))
    if not folders:
        if count := walk.skipped_links(folder, SkippedLink.OUTSIDE):
            raise outside_links_error(folder, count, [])
        if archives := files_with(folder, ARCHIVE_SUFFIXES):
            raise DataError(
                _(
                    "{folder} has no class folders, but archives, such as {example}.",
                    folder=folder,
                    example=archives[0],
                ),
                _("Unpack them, so that there is one folder per class."),
            )
        notes = (reason.note(count) for reason in SkippedLink if (count := walk.skipped_links(folder, reason)))
        raise DataError(join([_("{folder} has no class folders.", folder=folder), *notes]), _layout_hint(folder))
    return [ClassFolder(split, name, path) for name, path in folders.items()]


def require_folder_links(walk: Walk, folder: str) -> None:
    """Raise DataError if links in a folder lead to folders outside, which may be splits or classes."""
    if links := walk.skipped_folders(folder):
        raise outside_links_error(folder, len(links), links)


def outside_links_error(folder: str, count: int, classes: list[str]) -> DataError:
    """Return the error for links that lead out of the data folder and without which `classes` have no images."""
    message = ngettext(
        "{count:,} link in {folder} leads out of the data folder and is not followed",
        "{count:,} links in {folder} lead out of the data folder and are not followed",
        count,
        folder=folder,
    )
    names = join_first([*map(repr, dict.fromkeys(classes))], SHOWN_NAMES)
    return DataError(
        _("{links}: without them there are no images of {classes}.", links=message, classes=names)
        if classes
        else _("{links}.", links=message),
        _("Use --allow-outside if you trust the folder; otherwise replace the links by files, or remove them."),
    )


def files_with(folder: str, suffixes: Collection[str]) -> list[str]:
    """Return the names of the visible files directly in a folder that have one of `suffixes`, sorted."""
    return sorted(
        path.name
        for path in Path(folder).iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )


def _layout_hint(folder: str) -> Message:
    return _("Put the images into one folder per class: {folder}/cat/1.jpg, {folder}/dog/1.jpg.", folder=folder)
