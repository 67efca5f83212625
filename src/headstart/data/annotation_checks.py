"""Reject folders of masks, labels and the like that would be read as images of a class, or as the classes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from headstart.config.run_config import ClassFolders
from headstart.data.class_folders import SHOWN_NAMES, Layout
from headstart.data.folder import ANNOTATION_FOLDERS, IMAGE_FOLDERS, MixedFolder, Walk, is_inside
from headstart.data.image_index import class_name
from headstart.errors import DataError
from headstart.i18n import _, ngettext
from headstart.text import join_first

_READINGS: tuple[ClassFolders, ...] = ("outer", "inner")


def reject_annotations(walk: Walk, layout: Layout) -> None:
    """Raise DataError if no folder of a layout is a class: all are called images, masks, labels and the like."""
    names = {class_name(folder.name) for folder in layout.folders if walk.has_images(folder.path)}
    if not names or any(name.casefold() not in IMAGE_FOLDERS | ANNOTATION_FOLDERS for name in names):
        return
    listed = join_first([*map(repr, sorted(names))], SHOWN_NAMES)
    hint = _("Put the images into one folder per class, or name a table that lists the files and their labels.")
    raise DataError(
        _("{root} has images in {names}, but no folders of classes.", root=walk.root, names=listed),
        hint,
    )


def reject_mixed_annotations(
    walk: Walk, layout: Layout, reading: ClassFolders, read_as: Callable[[ClassFolders], Layout] | None
) -> None:
    """Raise DataError if folders of a layout may have annotations of images beside them, or images of their own.

    Args:
        walk: Lists the folders; all folders of the layout are listed.
        layout: Its class folders.
        reading: How the layout was found. With `inner` it is decided which folders are the classes.
        read_as: Reads the data with another flag, and raises DataError if it cannot; None if no flag can be given.
    """
    inside = [mixed for mixed in walk.mixed if any(is_inside(mixed.path, folder.path) for folder in layout.folders)]
    if inside:
        raise _images_error(walk, inside)
    for mixed in walk.mixed if reading == "auto" else ():
        if classes := [path for path in mixed.annotations if any(is_inside(f.path, path) for f in layout.folders)]:
            raise _classes_error(walk, mixed, classes, _readings(walk, layout, read_as))


def _readings(walk: Walk, layout: Layout, read_as: Callable[[ClassFolders], Layout] | None) -> list[ClassFolders]:
    """Return the values of the flag with which the same folders are the classes, and no annotations are images."""
    if read_as is None:
        return []
    readings: list[ClassFolders] = []
    for reading in _READINGS:
        try:
            is_same = set(read_as(reading).folders) == set(layout.folders)
        except DataError:
            continue
        if is_same and not (reading == "outer" and walk.has_skipped_annotations()):
            readings.append(reading)
    return readings


def _classes_error(
    walk: Walk, mixed: MixedFolder, classes: Sequence[str], readings: Sequence[ClassFolders]
) -> DataError:
    names = _names(classes)
    message = ngettext(
        "The folder {names} in {root} may be a class beside {others}, or have annotations of the images in {images}.",
        "The folders {names} in {root} may be classes beside {others}, or have annotations of the images in {images}.",
        len(classes),
        names=names,
        root=mixed.path,
        others=_names(mixed.others),
        images=_names(mixed.images),
    )
    if readings:
        hint = _(
            "If {names} and the others are classes, use --class-folders {reading}. To leave out annotations, move "
            "{names} out of {data}.",
            names=names,
            reading=readings[0],
            data=walk.root,
        )
    else:
        hint = _(
            "If {names} and the others are classes, rename {names}, for example to {example!r}. To leave out "
            "annotations, move {names} out of {data}.",
            names=names,
            example=_other_name(classes[0]),
            data=walk.root,
        )
    return DataError(message, hint)


def _images_error(walk: Walk, folders: Sequence[MixedFolder]) -> DataError:
    """Return the error for folders in classes, one for all classes."""
    first = folders[0]
    return DataError(
        ngettext(
            "{names} in {count:,} folder, {root}, may be annotations, or images of the class as in {others}.",
            "{names} in {count:,} folders, such as {root}, may be annotations, or images of the class as in {others}.",
            len(folders),
            names=_names(path for mixed in folders for path in mixed.annotations),
            root=first.path,
            others=_names([*first.images, *first.others]),
        ),
        _(
            "If they are images of the class, rename the folders, for example to {example!r}. If they are annotations, "
            "move them out of {data}.",
            example=_other_name(first.annotations[0]),
            data=walk.root,
        ),
    )


def _names(paths: Iterable[str]) -> str:
    names = dict.fromkeys(repr(os.path.basename(path)) for path in paths)  # noqa: PTH119
    return join_first([*names], SHOWN_NAMES)


def _other_name(path: str) -> str:
    return f"{os.path.basename(path)}_photos"  # noqa: PTH119
