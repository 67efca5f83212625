"""Images in class folders: `photos/cat/1.jpg`, or the same below `train/`, `val/` and `test/`."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from headstart.config.run_config import ClassFolders
from headstart.data.annotation_checks import reject_annotations, reject_mixed_annotations
from headstart.data.class_folders import SHOWN_NAMES, ClassFolder, Layout, outside_links_error, used_folders
from headstart.data.folder import SkippedLink, Walk
from headstart.data.folder_checks import reject_other_formats
from headstart.data.folder_layout import find_class_folders
from headstart.data.image_index import ImageIndex, build_index, class_name
from headstart.errors import DataError
from headstart.i18n import Message, _, ngettext
from headstart.text import join_first, join_list


def read_folder(
    source: str,
    root: Path,
    *,
    allow_outside: bool = False,
    class_folders: ClassFolders = "auto",
    known_classes: Collection[str] = (),
    to_train: bool = True,
) -> ImageIndex:
    """Return the index of the images in a folder, labeled by the names of their class folders.

    Hidden files, `__MACOSX` and the like are skipped. Links to a folder above them are never followed. The class of a
    link is that of the folder it lies in, wherever it leads.

    Args:
        source: Name of the source in messages.
        root: The folder, absolute.
        allow_outside: Follow links that lead out of `root`.
        class_folders: Which folders are the classes; see `find_class_folders`.
        known_classes: Classes of a model, which decide between two readings of the folders.
        to_train: Require a split `train` if the folders are splits.

    Raises:
        DataError: There are no class folders, images lie beside them, a class has no images because its links are not
            followed, a name is not UTF-8, or a folder is not readable.
    """

    def listed(reading: ClassFolders) -> tuple[Walk, Layout]:
        walk = Walk(
            root,
            allow_outside=allow_outside,
            with_annotations=reading == "outer",
            known_classes=known_classes,
        )
        return walk, find_class_folders(walk, reading, known_classes, to_train=to_train)

    walk, layout = listed(class_folders)
    images = [walk.images(folder.path) for folder in layout.folders]
    empty = [folder for folder, paths in zip(layout.folders, images, strict=True) if not paths]
    _require_followed_links(walk, empty)
    if to_train:
        reject_other_formats(walk, empty)
        if class_folders != "outer":
            reject_annotations(walk, layout)
    reject_mixed_annotations(walk, layout, class_folders, (lambda reading: listed(reading)[1]) if to_train else None)
    notes = [*layout.notes, *_nested_notes(walk, layout.folders), *map(_empty_note, empty)]
    notes += _name_notes(folder.name for folder in layout.folders)
    keys: list[str] = []
    names: list[str] = []
    splits: list[str] = []
    start = len(str(root).rstrip(os.sep)) + 1
    for folder, paths in zip(layout.folders, images, strict=True):
        keys += [path[start:].replace(os.sep, "/") for path in paths]
        names += [class_name(folder.name)] * len(paths)
        splits += [folder.split] * len(paths)
    notes += [*_case_notes(keys), *walk.notes()]
    return build_index(source, root, keys, names, splits, [""] * len(keys), notes)


def _require_followed_links(walk: Walk, empty: Sequence[ClassFolder]) -> None:
    """Raise DataError if class folders have no images because their links lead out of the folder, or nowhere."""
    for reason in (SkippedLink.OUTSIDE, SkippedLink.WITHOUT_TARGET):
        classes = [folder.name for folder in empty if walk.skipped_links(folder.path, reason)]
        if not classes:
            continue
        count = walk.skipped_links(walk.root, reason)
        if reason is SkippedLink.OUTSIDE:
            raise outside_links_error(walk.root, count, classes)
        raise DataError(
            ngettext(
                "{count:,} link in {root} has no target: there are no images of {classes}.",
                "{count:,} links in {root} have no target: there are no images of {classes}.",
                count,
                root=walk.root,
                classes=join_first([*map(repr, dict.fromkeys(classes))], 5),
            ),
            _("Fetch the files, for example with `git annex get .` or `dvc pull`, or remove the links."),
        )


def _empty_note(folder: ClassFolder) -> Message:
    if folder.split:
        return _(
            "Class folder {name!r} of {split} has no images and is left out.", name=folder.name, split=folder.split
        )
    return _("Class folder {name!r} has no images and is left out.", name=folder.name)


def _nested_notes(walk: Walk, folders: Sequence[ClassFolder]) -> Iterable[Message]:
    """Yield a note on class folders with several subfolders, which might be the classes."""
    names = dict.fromkeys(repr(folder.name) for folder in folders if len(used_folders(walk, folder.path)) > 1)
    if names:
        yield ngettext(
            "Images in the subfolders of {classes} are images of this class.",
            "Images in the subfolders of {classes} are images of these classes.",
            len(names),
            classes=join_first([*names], SHOWN_NAMES),
        )


def _name_notes(folders: Iterable[str]) -> Iterable[Message]:
    """Yield notes on folders whose name is not that of their class: blanks around it, or accents in two forms."""
    by_class = defaultdict(set)
    for name in folders:
        by_class[class_name(name)].add(name)
    for class_, names in by_class.items():
        if len(names) > 1:
            listed = join_list(map(ascii, sorted(names)))  # escapes: the names may look alike
            yield _("The folders {names} are read as one class, {class_!r}.", names=listed, class_=class_)
        elif class_ != unicodedata.normalize("NFC", name := next(iter(names))):
            yield _("The folder {name!r} is read as the class {class_!r}.", name=name, class_=class_)


def _case_notes(keys: Sequence[str]) -> Iterable[Message]:
    """Yield a note on files of one folder whose names differ in upper and lower case only."""
    first: dict[str, str] = {}
    clashes = []
    for key in keys:
        folder, slash, name = key.rpartition("/")
        if (other := first.setdefault(folder + slash + name.casefold(), key)) != key:
            clashes.append((other, key))
    if clashes:
        yield ngettext(
            "{count:,} file has the name of another but for upper and lower case, such as {first} and {second}: a copy "
            "on macOS or Windows has only one of the two.",
            "{count:,} files have the names of others but for upper and lower case, such as {first} and {second}: a "
            "copy on macOS or Windows has only one of each two.",
            len(clashes),
            first=clashes[0][0],
            second=clashes[0][1],
        )
