"""List the images in a folder and below it; clutter and links that are not followed are skipped and counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from headstart.data.image_formats import has_image_name
from headstart.data.image_index import class_name, natural_key
from headstart.errors import DataError
from headstart.i18n import Message, _, join, ngettext, verbatim
from headstart.path_names import name_fault

_OUTPUT_FILES = ("metrics.jsonl", "study.toml")  # of a run, of a study
_CLUTTER = frozenset(
    {
        "#recycle",
        "$recycle.bin",
        "@eadir",
        "__macosx",
        "__pycache__",
        "desktop.ini",
        "ehthumbs.db",
        "icon\r",
        "lost+found",
        "system volume information",
        "thumbs.db",
    }
)
# lower-case names of folders that hold all images of a data set, and of folders with what belongs to them
IMAGE_FOLDERS = frozenset({"images", "image", "imgs", "img", "jpegimages"})
ANNOTATION_FOLDERS = frozenset({
    *("masks", "mask", "labels", "label", "annotations", "annotation", "segmentationclass", "segmentationobject"),
    *("groundtruth", "ground_truth", "gt"),
})  # fmt: skip


class SkippedLink(Enum):
    """Reason for not following a link, in the order of the notes."""

    BACK_TO_PARENT = auto()
    OUTSIDE = auto()
    WITHOUT_TARGET = auto()

    def note(self, count: int) -> Message:
        """Return the note on `count` such links."""
        match self:
            case SkippedLink.BACK_TO_PARENT:
                return ngettext(
                    "Skipped {count:,} link back to a parent folder.",
                    "Skipped {count:,} links back to a parent folder.",
                    count,
                )
            case SkippedLink.OUTSIDE:
                return ngettext(
                    "Skipped {count:,} link out of the folder (--allow-outside follows them).",
                    "Skipped {count:,} links out of the folder (--allow-outside follows them).",
                    count,
                )
            case SkippedLink.WITHOUT_TARGET:
                return ngettext(
                    "Skipped {count:,} link without a target.", "Skipped {count:,} links without a target.", count
                )


@dataclass(frozen=True)
class MixedFolder:
    """A folder with images, folders that may have annotations of them, and other folders of images.

    Attributes:
        path: The folder.
        images: Names of its folders that are called images or the like.
        annotations: Paths of its folders with images that are called masks, labels or the like.
        others: Names of its other folders with images.
    """

    path: str
    images: tuple[str, ...]
    annotations: tuple[str, ...]
    others: tuple[str, ...]


class Walk:
    """Lists folders in sorted order, each once, and counts what it skips.

    Args:
        root: The folder that links must not leave.
        allow_outside: Follow links that lead out of `root`.
        any_name: Accept names that are not UTF-8, for images whose names are only printed.
        with_annotations: Also list folders of masks and the like beside folders of images and no others.
        known_classes: Names of folders that are listed in any case.
    """

    def __init__(
        self,
        root: Path,
        *,
        allow_outside: bool,
        any_name: bool = False,
        with_annotations: bool = True,
        known_classes: Collection[str] = (),
    ) -> None:
        self.mixed: list[MixedFolder] = []  # of the folders listed so far, without `with_annotations`
        self.root = str(root)
        self._real_root = os.path.realpath(root)
        self._allow_outside = allow_outside
        self._any_name = any_name
        self._with_annotations = with_annotations
        self._known_classes = frozenset(known_classes)
        self._scanned: dict[str, tuple[dict[str, str], list[str]]] = {}
        self._entries: dict[str, tuple[dict[str, str], list[str]]] = {}
        self._has_images: dict[str, bool] = {}
        self._skipped_links: Counter[tuple[str, SkippedLink]] = Counter()  # by their folder
        self._skipped_folders: dict[str, list[str]] = {}  # names of links to folders outside, by their folder
        self._skipped_files: Counter[tuple[str, str]] = Counter()  # by their folder and suffix
        self._skipped_annotations: list[str] = []
        self._skipped_outputs: list[str] = []

    def entries(self, folder: str) -> tuple[dict[str, str], list[str]]:
        """Return the visible subfolders (name -> path) and the images (paths) directly in `folder`."""
        if folder not in self._entries:
            self._entries[folder] = self._without_annotations(folder)
        return self._entries[folder]

    def has_skipped_annotations(self) -> bool:
        """Return True if folders of masks and the like were skipped in the folders listed so far."""
        return bool(self._skipped_annotations)

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

    def has_images(self, folder: str) -> bool:
        """Return True if there is an image in `folder` or below it; no more folders are listed than necessary."""
        if folder not in self._has_images:
            self._has_images[folder] = self._search_image(folder, self.entries)
        return self._has_images[folder]

    def _search_image(self, folder: str, listed: Callable[[str], tuple[dict[str, str], list[str]]]) -> bool:
        waiting, seen = [folder], set()
        while waiting:
            current = waiting.pop()
            if (real := os.path.realpath(current)) in seen:
                continue
            seen.add(real)
            folders, images = listed(current)
            if images:
                return True
            waiting += folders.values()
        return False

    def skipped_links(self, folder: str, reason: SkippedLink) -> int:
        """Return the number of links in `folder` and below it that were skipped for a reason."""
        return sum(
            count
            for (parent, other), count in self._skipped_links.items()
            if other is reason and is_inside(parent, folder)
        )

    def skipped_folders(self, folder: str) -> list[str]:
        """Return the names of links directly in `folder` that lead to folders outside and are not followed."""
        self.entries(folder)
        return self._skipped_folders.get(folder, [])

    def skipped_files(self, folder: str) -> Counter[str]:
        """Return the numbers of files in `folder` and below it that are no images by their names, by suffix."""
        counts: Counter[str] = Counter()
        for (parent, suffix), count in self._skipped_files.items():
            if is_inside(parent, folder):
                counts[suffix] += count
        return counts

    def notes(self) -> list[Message]:
        """Return one sentence for each kind of entry that was skipped."""
        notes = [reason.note(count) for reason in SkippedLink if (count := self.skipped_links(self.root, reason))]
        if self._skipped_annotations:
            notes.append(
                ngettext(
                    "Skipped {count:,} folder of masks or annotations beside images: {folder}.",
                    "Skipped {count:,} folders of masks or annotations beside images, such as {folder}.",
                    len(self._skipped_annotations),
                    folder=self._skipped_annotations[0],
                )
            )
        if self._skipped_outputs:
            notes.append(
                ngettext(
                    "Skipped {count:,} folder of a run or study: {folder}.",
                    "Skipped {count:,} folders of runs and studies, such as {folder}.",
                    len(self._skipped_outputs),
                    folder=self._skipped_outputs[0],
                )
            )
        if counts := self.skipped_files(self.root):
            notes.append(
                ngettext(
                    "Skipped {count:,} file without an image suffix: {kinds}.",
                    "Skipped {count:,} files without an image suffix: {kinds}.",
                    counts.total(),
                    kinds=suffixes_text(counts),
                )
            )
        return notes

    def _all_entries(self, folder: str) -> tuple[dict[str, str], list[str]]:
        if folder not in self._scanned:
            self._scanned[folder] = self._scan(folder)
        return self._scanned[folder]

    def _without_annotations(self, folder: str) -> tuple[dict[str, str], list[str]]:
        """Return the entries of a folder without folders of annotations, if only these lie beside the images.

        Beside other folders with images they may be classes: then they stay, and the folder is added to `mixed`.
        """
        folders, files = self._all_entries(folder)
        images = tuple(name for name in folders if name.casefold() in IMAGE_FOLDERS)
        annotations = [
            name
            for name in folders
            if name.casefold() in ANNOTATION_FOLDERS and class_name(name) not in self._known_classes
        ]
        if self._with_annotations or not images or not annotations:
            return folders, files
        is_used = {name: self._search_image(path, self._all_entries) for name, path in folders.items()}
        usual = {*images, *annotations}
        others = tuple(name for name, used in is_used.items() if used and name not in usual)
        if others:
            paths = tuple(folders[name] for name in annotations if is_used[name])
            if paths:
                self.mixed.append(MixedFolder(folder, images, paths, others))
            return folders, files
        self._skipped_annotations += [folders[name] for name in annotations]
        return {name: path for name, path in folders.items() if name not in annotations}, files

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
            if not self._any_name and not entry.name.isascii() and (fault := name_fault(entry.path)):
                raise DataError(*fault)
            if entry.is_symlink() and not self._follows(entry):
                continue
            if entry.is_dir():
                if _is_output(entry.path):
                    self._skipped_outputs.append(entry.path)
                else:
                    folders[entry.name] = entry.path
            elif not entry.is_file():
                self._skipped_files[folder, ""] += 1
            elif has_image_name(entry.path):
                images.append(entry.path)
            else:
                self._skipped_files[folder, os.path.splitext(entry.name)[1].lower()] += 1  # noqa: PTH122
        return folders, images

    def _follows(self, entry: os.DirEntry[str]) -> bool:
        """Return True if a link is followed; count it otherwise."""
        folder = os.path.dirname(entry.path)  # noqa: PTH120
        target, parent = os.path.realpath(entry.path), os.path.realpath(folder)
        if not Path(target).exists():
            reason = SkippedLink.WITHOUT_TARGET
        elif not self._allow_outside and not is_inside(target, self._real_root):
            reason = SkippedLink.OUTSIDE
            if entry.is_dir():
                self._skipped_folders.setdefault(folder, []).append(entry.name)
        elif is_inside(parent, target):
            reason = SkippedLink.BACK_TO_PARENT
        else:
            return True
        self._skipped_links[folder, reason] += 1
        return False


def _is_output(folder: str) -> bool:
    """Return True for the folder of a run or study: with `--runs` below the data its pictures would become a class."""
    return any(os.path.isfile(os.path.join(folder, name)) for name in _OUTPUT_FILES)  # noqa: PTH113, PTH118


def suffixes_text(counts: Counter[str]) -> Message:
    """Return the most frequent suffixes with their numbers: `12 .dng, 3 .txt`."""
    kinds = (
        verbatim(f"{count:,} {suffix}") if suffix else _("{count:,} other", count=count)
        for suffix, count in counts.most_common(5)
    )
    return join(kinds, ", ")


def is_inside(path: str, root: str) -> bool:
    """Return True if `path` is `root` or lies below it; both are resolved paths."""
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def list_images(path: Path) -> list[Path]:
    """Return the images that a path names: the file itself, or a folder's images and those of its subfolders.

    Images of a folder are in natural order. Raises DataError if a folder cannot be read.
    """
    if path.is_dir():
        images = Walk(path.absolute(), allow_outside=True, any_name=True).images(str(path))
        return [Path(image) for image in sorted(images, key=natural_key)]
    return [path]
