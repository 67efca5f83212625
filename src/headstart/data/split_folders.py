"""Folders of splits: which folders are splits, and which images of theirs have labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from headstart.data.class_folders import (
    SHOWN_NAMES,
    Layout,
    class_folders_in,
    class_names,
    holds_folders,
    used_folders,
)
from headstart.data.folder import SkippedLink, Walk
from headstart.data.split_names import SplitName, split_names
from headstart.errors import DataError
from headstart.i18n import Message, _, ngettext
from headstart.text import join_first, join_list


def splits_in(walk: Walk, root: str, *, to_train: bool) -> list[SplitName]:
    """Return the names of the folders that are splits; none if the folders are classes.

    `train` may also be a class (of vehicles). It is a split if it contains folders and no images, and if there are only
    splits beside it or a `val` or `test` exists. A name that only contains that of a split, such as `seg_test`, also
    needs a `train` with some of its class folders, or a name like it: `test_images` beside `train_images`. If there are
    only such names, the folders are splits although their images have no labels.
    """
    folders = walk.entries(root)[0]
    names = split_names(folders)
    by_split = defaultdict(list)
    for name in names:
        by_split[name.split].append(name)
    named = {name.folder for name in names}
    others = any(walk.has_images(path) for folder, path in folders.items() if folder not in named)
    all_exact = all(name.exact for name in names)
    if not names or (others and len(by_split) == 1):
        return []
    if "train" not in by_split:
        if others or not all_exact:
            return []
        if to_train:
            raise DataError(
                _("{root} has {splits}, but no train.", root=root, splits=join_list(by_split)),
                _("Add a folder train, or name the folder that contains the class folders."),
            )
    train = by_split["train"]
    labeled = all(holds_folders(walk, _inner(walk, name.folder, folders[name.folder])) for name in train)
    if not labeled and not all_exact:
        if others or not _share_other_words(by_split):
            return []
        _require_one_folder_each(root, by_split)
    if not labeled and others:
        return []
    if not all_exact and not _belong_together(walk, folders, names, train[0]):
        return []
    for split, same in by_split.items():
        if len(same) > 1:
            raise _two_folders(root, split, folders[same[0].folder], folders[same[1].folder])
    return names


def _share_other_words(by_split: Mapping[str, list[SplitName]]) -> bool:
    """Return True if a train folder and another split have the same other words, as train2017 and val2017."""
    rests = {name.rest for name in by_split["train"]}
    return any(name.rest in rests for split, names in by_split.items() if split != "train" for name in names)


def _require_one_folder_each(root: str, by_split: Mapping[str, list[SplitName]]) -> None:
    """Raise DataError if the names of folders are those of splits and of classes: train_cat, train_dog, test_cat."""
    for split, names in by_split.items():
        if len({name.rest for name in names}) > 1:
            folders = [repr(name.folder) for name in names]
            first = names[0]
            raise DataError(
                _(
                    "The names of the folders {folders} in {root} contain {split} and something else.",
                    folders=join_first(folders, SHOWN_NAMES),
                    root=root,
                    split=split,
                ),
                _(
                    "If the other words are the classes, move the images of {folder} to {split}/{name}, and likewise "
                    "for the others; if the folders are the classes, use --class-folders outer.",
                    folder=first.folder,
                    split=split,
                    name="_".join(first.rest) or first.folder,
                ),
            )


def layout_with_splits(walk: Walk, root: str, names: list[SplitName], layout: Layout) -> Layout:
    """Return the class folders of the splits; a val or test without labels is left out."""
    folders = walk.entries(root)[0]
    notes = layout.notes
    if not all(name.is_usual for name in names):
        readings = [_("{name!r} as {split}", name=name.folder, split=name.split) for name in names]
        notes.append(_("Read {readings}.", readings=join_list(readings)))
    if others := [repr(name) for name in folders if name not in {name.folder for name in names}]:
        notes.append(_("Skipped {folders} beside the splits.", folders=join_first(others, SHOWN_NAMES)))
    classes: set[str] = set()
    for name in names:
        path = _inner(walk, name.folder, folders[name.folder])
        if name.split != "train" and _is_empty(walk, path):
            notes.append(_("{folder} has no images and is left out.", folder=path))
            continue
        if classes and _is_unlabeled(walk, path, classes):
            notes.append(_unlabeled_note(path, len(walk.images(path)), name.split))
            continue
        layout.folders.extend(class_folders_in(walk, path, name.split))
        if name.split == "train":
            classes = class_names(used_folders(walk, path))
    return layout


def _inner(walk: Walk, name: str, path: str) -> str:
    """Return the folder of a split that has the class folders: `train/train/cat` is read as `train/cat`."""
    while not walk.entries(path)[1]:
        folders = walk.entries(path)[0]
        same = [inner for inner in folders if inner.casefold() == name.casefold()]
        if len(folders) != 1 or not same:
            break
        path = folders[same[0]]
    return path


def _two_folders(root: str, split: str, first: str, second: str) -> DataError:
    return DataError(
        _(
            "{root} has two folders for {split}: {first} and {second}.",
            root=root,
            split=split,
            first=first,
            second=second,
        ),
        _("Merge them, or move one of them out of the folder."),
    )


def _belong_together(walk: Walk, folders: Mapping[str, str], names: list[SplitName], train: SplitName) -> bool:
    """Return True if every folder whose name only contains that of a split goes with the train folder."""
    classes = class_names(used_folders(walk, _inner(walk, train.folder, folders[train.folder])))
    others = [name for name in names if name.split != "train"]
    for name in others:
        inner = _inner(walk, name.folder, folders[name.folder])
        if not walk.has_images(inner):
            continue
        is_alike = train.exact or name.exact or name.rest == train.rest
        if not (classes & class_names(used_folders(walk, inner)) or (is_alike and _is_unlabeled(walk, inner, classes))):
            return False
    return bool(others)


def _is_unlabeled(walk: Walk, folder: str, classes: Collection[str]) -> bool:
    """Return True if the images of a split are not in class folders, but directly in it or in one such as images."""
    used, images = used_folders(walk, folder), walk.entries(folder)[1]
    if images:
        return not used
    return len(used) == 1 and not class_names(used) & set(classes) and not used_folders(walk, next(iter(used.values())))


def _is_empty(walk: Walk, folder: str) -> bool:
    """Return True if a folder has neither images nor links that could be followed."""
    return not walk.has_images(folder) and not any(walk.skipped_links(folder, reason) for reason in SkippedLink)


def _unlabeled_note(folder: str, count: int, split: str) -> Message:
    return ngettext(
        "Left out {count:,} image of {split} without a class folder. To classify it with the trained model, run "
        "`headstart predict RUN {folder:shell}`.",
        "Left out {count:,} images of {split} without class folders. To classify them with the trained model, run "
        "`headstart predict RUN {folder:shell}`.",
        count,
        split=split,
        folder=folder,
    )
