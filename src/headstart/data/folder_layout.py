"""Decide which folders are classes, which are splits, and which only contain the others.

A folder is read as `cat/1.jpg`, as `train/cat/1.jpg` or as `cat/train/1.jpg`, also below folders that contain nothing
else (`photos/photos/cat/1.jpg`). What is decided is stated in a note. Where two readings are possible, the names of
folders do not decide: `--class-folders` does.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from headstart.config.run_config import ClassFolders
from headstart.data.class_folders import (
    SHOWN_NAMES,
    ClassFolder,
    Layout,
    class_folders_in,
    class_names,
    holds_folders,
    require_folder_links,
    used_folders,
)
from headstart.data.folder import Walk
from headstart.data.folder_checks import reject_splits_beside_classes
from headstart.data.image_index import SPLIT_NAMES, class_name
from headstart.data.split_folders import layout_with_splits, splits_in
from headstart.data.split_names import split_names
from headstart.errors import DataError
from headstart.i18n import Message, _
from headstart.text import join_first, join_list


def find_class_folders(
    walk: Walk, reading: ClassFolders, known_classes: Collection[str] = (), *, to_train: bool = True
) -> Layout:
    """Return the class folders below the root of a walk.

    Args:
        walk: Lists the folders.
        reading: `outer`: the classes are the folders directly in the root. `inner`: they are one level deeper. `auto`:
            the layout decides.
        known_classes: Classes of a model: they decide where two readings are possible, and no error is raised then.
        to_train: Require a split `train` if the folders are splits.

    Raises:
        DataError: There are no class folders, images lie beside them, a split occurs twice, the links to class folders
            are not followed, or there are two readings.
    """
    root = walk.root
    require_folder_links(walk, root)
    if _are_known(walk, root, known_classes):
        return _splits_in_classes(walk, root) or Layout(class_folders_in(walk, root))
    layout = Layout([])
    root = _unwrapped(walk, root, layout.notes, to_inner=reading == "inner")
    require_folder_links(walk, root)
    if reading == "outer":
        return Layout(class_folders_in(walk, root), layout.notes)
    if names := splits_in(walk, root, to_train=to_train):
        return layout_with_splits(walk, root, names, layout)
    grid = _grid(walk, root)
    if reading == "inner":
        return Layout(_inner_folders(walk, grid or walk.entries(root)[0]), layout.notes)
    if (divided := _splits_in_classes(walk, root)) is not None:
        return Layout(divided.folders, [*layout.notes, *divided.notes])
    if grid and _is_inner(walk, root, grid, known_classes):
        return Layout(_inner_folders(walk, grid), layout.notes)
    if not known_classes and to_train:
        reject_splits_beside_classes(walk, root)
    return Layout(_without_copy(walk, class_folders_in(walk, root), root, layout.notes), layout.notes)


def _inner_folders(walk: Walk, folders: Mapping[str, str]) -> list[ClassFolder]:
    return [inner for path in folders.values() for inner in class_folders_in(walk, path)]


def _are_known(walk: Walk, root: str, known_classes: Collection[str]) -> bool:
    names = class_names(used_folders(walk, root)) if known_classes else set()
    return bool(names) and names <= set(known_classes)


def _unwrapped(walk: Walk, root: str, notes: list[Message], *, to_inner: bool) -> str:
    """Return the folder below `root` that has the class folders, if all folders above contain nothing else.

    With `to_inner` it has the folders of class folders.
    """
    current = root
    while not walk.entries(current)[1]:
        folders = walk.entries(current)[0]
        used = used_folders(walk, current)
        own_name = [name for name in used if name.casefold() == os.path.basename(current).casefold()]  # noqa: PTH119
        only = list(used) if len(folders) == 1 else own_name if len(used) == 1 else []
        if not only or class_name(only[0]).casefold() in SPLIT_NAMES or not holds_folders(walk, used[only[0]]):
            break
        if to_inner and not all(holds_folders(walk, path) for path in used_folders(walk, used[only[0]]).values()):
            break
        current = used[only[0]]
    if current != root:
        notes.append(_("Read {folder}, the only folder with images in {root}.", folder=current, root=root))
    return current


def _grid(walk: Walk, root: str) -> dict[str, str]:
    """Return the folders in `root` if all of them contain the same subfolders, which may then be the classes.

    At least half of all names of subfolders, and two of them, must be in each folder. Such folders may be splits or
    parts of one data set, or classes with a further division.
    """
    folders = {name: _descended(walk, path) for name, path in used_folders(walk, root).items()}
    inner = [class_names(used_folders(walk, path)) for path in folders.values()]
    if len(inner) < 2 or not all(holds_folders(walk, path) for path in folders.values()):
        return {}
    common, together = set.intersection(*inner), set.union(*inner)
    return folders if len(common) >= 2 and 2 * len(common) >= len(together) else {}


def _descended(walk: Walk, path: str) -> str:
    """Return the folder below `path` that has several folders, if all above contain one: `amazon/images/bike`."""
    while not walk.entries(path)[1]:
        used = list(used_folders(walk, path).values())
        if len(used) != 1 or not holds_folders(walk, used[0]):
            break
        path = used[0]
    return path


def _is_inner(walk: Walk, root: str, grid: Mapping[str, str], known_classes: Collection[str]) -> bool:
    """Return True if the classes are in the folders of a grid, False if they are these folders.

    Raises DataError without `known_classes`.
    """
    inner = sorted(set.union(*(class_names(used_folders(walk, path)) for path in grid.values())))
    if known_classes:
        known = set(known_classes)
        return len(known.intersection(inner)) > len(known & class_names(grid))
    outer_names, inner_names = (join_first([*map(repr, names)], SHOWN_NAMES) for names in (list(grid), inner))
    raise DataError(
        _(
            "The folders {outer} in {root} all contain the same folders, {inner}: either may be the classes.",
            outer=outer_names,
            inner=inner_names,
            root=root,
        ),
        _(
            "If {inner} are the classes, use --class-folders inner (or name the folders above them train, val and "
            "test, if they are splits); if {outer} are the classes, use --class-folders outer.",
            outer=outer_names,
            inner=inner_names,
        ),
    )


def _splits_in_classes(walk: Walk, root: str) -> Layout | None:
    """Return the layout `cat/train/1.jpg`, in which every class folder contains the splits; None for another one."""
    folders: list[ClassFolder] = []
    for name, path in used_folders(walk, root).items():
        inner = used_folders(walk, path)
        names = split_names(inner)
        if walk.entries(path)[1] or len(names) < len(inner) or not all(split.exact for split in names):
            return None
        folders += [ClassFolder(split.split, name, inner[split.folder]) for split in names]
    splits = {folder.split for folder in folders}
    if "train" not in splits or len(splits) < 2:
        return None
    note = _("The folders {splits} in the class folders are read as splits.", splits=join_list(sorted(splits)))
    return Layout(folders, [note])


def _without_copy(walk: Walk, folders: list[ClassFolder], root: str, notes: list[Message]) -> list[ClassFolder]:
    """Return the class folders without one that has the name of `root` and a copy of the others, as archives leave."""
    name = os.path.basename(root)  # noqa: PTH119
    names = class_names(folder.name for folder in folders if folder.name != name)
    for folder in folders:
        if folder.name == name and len(inner := class_names(used_folders(walk, folder.path))) >= 2 and inner <= names:
            notes.append(_("Skipped {folder}, a folder with the same class folders.", folder=folder.path))
            return [other for other in folders if other is not folder]
    return folders
