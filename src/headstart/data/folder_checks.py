"""Reject folders that look like classes and are not: splits beside classes, and files of other formats."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from headstart.data.class_folders import (
    ARCHIVE_SUFFIXES,
    SHOWN_NAMES,
    ClassFolder,
    holds_folders,
    used_folders,
)
from headstart.data.folder import Walk, suffixes_text
from headstart.data.image_index import SPLIT_NAMES, class_name
from headstart.errors import DataError
from headstart.i18n import Message, _, ngettext
from headstart.text import join_first

_RAW_SUFFIXES = frozenset({
    *(".3fr", ".arw", ".bay", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".k25"),
    *(".kdc", ".mdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".ori", ".pef", ".r3d", ".raf", ".raw"),
    *(".rw2", ".rwl", ".rwz", ".sr2", ".srf", ".srw", ".x3f"),
})  # fmt: skip
_VIDEO_SUFFIXES = frozenset({
    *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".h264", ".h265", ".hevc", ".insv", ".lrv", ".m1v"),
    *(".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf"),
    *(".ogv", ".qt", ".rm", ".rmvb", ".vob", ".webm", ".wmv", ".y4m"),
})  # fmt: skip
_OTHER_IMAGE_SUFFIXES = frozenset({
    *(".afphoto", ".ai", ".bpg", ".cdr", ".cin", ".clip", ".cur", ".dds", ".djv", ".djvu", ".dpx", ".emf", ".eps"),
    *(".exr", ".flif", ".fit", ".fits", ".fts", ".hdp", ".hdr", ".icns", ".ico", ".jbig2", ".jls", ".jng", ".jxl"),
    *(".jxr", ".kra", ".mng", ".ora", ".pam", ".pbm", ".pcx", ".pfm", ".pgm", ".pict", ".pnm", ".ppm", ".psb"),
    *(".psd", ".pspimage", ".qoi", ".ras", ".rgbe", ".sgi", ".svg", ".svgz", ".tga", ".wdp", ".wmf", ".xbm", ".xcf"),
    *(".xpm", ".czi", ".dcm", ".dicom", ".ima", ".ims", ".lif", ".lsm", ".mha", ".mhd", ".mrxs", ".nd2", ".ndpi"),
    *(".nii", ".nrrd", ".oib", ".oif", ".scn", ".svs", ".vsi"),
})  # fmt: skip
_MEDIA_SUFFIXES = _RAW_SUFFIXES | _VIDEO_SUFFIXES | _OTHER_IMAGE_SUFFIXES | ARCHIVE_SUFFIXES

_UNLABELED = frozenset({"unlabeled", "unlabelled"})


def reject_splits_beside_classes(walk: Walk, root: str) -> None:
    """Raise DataError if a folder beside class folders has the name of a split, which may be a class or not.

    These are `test` and `val` in their usual spellings, `unlabeled`, and a `train` that has class folders. A `train`
    with images may be a class of vehicles.
    """
    used = used_folders(walk, root)
    names = [name for name, path in used.items() if _may_be_split(walk, name, path)]
    if not names or len(names) == len(used):
        return
    raise DataError(
        ngettext(
            "The folder {names} in {root} may be a split or a class beside {others}.",
            "The folders {names} in {root} may be splits or classes beside {others}.",
            len(names),
            names=join_first([*map(repr, names)], SHOWN_NAMES),
            root=root,
            others=join_first([repr(name) for name in used if name not in names], SHOWN_NAMES),
        ),
        _(
            "If {names} and the others are classes, use --class-folders outer. Otherwise have only folders of splits "
            "in {root}, train among them, or only folders of classes.",
            names=join_first([*map(repr, names)], SHOWN_NAMES),
            root=root,
        ),
    )


def _may_be_split(walk: Walk, name: str, path: str) -> bool:
    folded = class_name(name).casefold()
    if folded in _UNLABELED:
        return True
    split = SPLIT_NAMES.get(folded, "")
    return holds_folders(walk, path) and len(used_folders(walk, path)) > 1 if split == "train" else bool(split)


def reject_other_formats(walk: Walk, empty: Sequence[ClassFolder]) -> None:
    """Raise DataError if class folders without images have photos that are not read: camera raw, videos, archives.

    Folders with arrays, weights or text are no classes; they may be left out.
    """
    counts: Counter[str] = Counter()
    names = []
    for folder in empty:
        skipped = walk.skipped_files(folder.path)
        other = Counter({suffix: count for suffix, count in skipped.items() if suffix in _MEDIA_SUFFIXES})
        if other:
            counts += other
            names.append(os.path.relpath(folder.path, walk.root))
    if not names:
        return
    raise DataError(
        ngettext(
            "The class folder {names} has no images that are read, but other files: {kinds}.",
            "The class folders {names} have no images that are read, but other files: {kinds}.",
            len(names),
            names=join_first([*map(repr, names)], SHOWN_NAMES),
            kinds=suffixes_text(counts),
        ),
        _other_formats_hint(counts),
    )


def _other_formats_hint(counts: Counter[str]) -> Message:
    if not ARCHIVE_SUFFIXES.isdisjoint(counts):
        return _("Unpack the archives, or remove the folders.")
    if _VIDEO_SUFFIXES.issuperset(counts):
        return _("Export frames of the videos as JPEG or PNG, or remove the folders.")
    return _("Convert the files to JPEG or PNG, or remove the folders.")
