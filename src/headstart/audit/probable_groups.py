"""Find images that probably show one thing: bursts by time and camera, and series by their names.

Names and times are hints. They count only where they divide the data into many groups of a few images each: numbers
that run through the whole data, names of classes and random names do not.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from headstart.audit.file_facts import FileFacts
from headstart.data.image_index import ImageIndex, class_name

Series = tuple[str, int]  # the stem of its names, and its class; -1 if its images can be of several classes
MAX_GAP_S = 3.0  # between two photos of a burst
_MIN_GROUPS = 5
_MAX_GROUP_SHARE = 0.1  # of all images; a larger group says nothing
_MIN_LARGE_GROUP = 20  # images that a group may have in any case
_MAX_UNNAMED_GROUP = 20  # median of the images of a group whose name has no number
_MIN_GROUPS_PER_CLASS = 3  # on average; fewer are parts of the class
_MAX_DIGITS = 6  # of the number of an image in its group; longer ones are times and random numbers
_MIN_RUN_LENGTH = 2
_RANDOM = re.compile(r"[0-9a-f]{8,}(?:-[0-9a-f]{4,})*|[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)
_NUMBERED = re.compile(r"(.*?)[\s_.\-]*\(?(\d+)\)?")
_CAMERA = re.compile(
    r"((?:IMG|_MG|MG|DSC|_DSC|DSCN|DSCF|DSC0|PICT|SAM|CIMG|IMGP|_IGP|GOPR|HPIM|KIF|STA|SDC|DCP|MVC|P|R|\d{3})[_\-]?)(\d{4,7})",
    re.IGNORECASE,
)
_PHONE = re.compile(r"(?:.*?\D)?((?:19|20)\d{6})[_\-]?(\d{6})(\d{0,3})(?:\D.*)?")  # IMG_20240131_094512123
_ROBOFLOW = re.compile(
    r"(.+)_(?:jpe?g|png|webp|bmp)\.rf\.[0-9a-f]{16,}", re.IGNORECASE
)  # augmented copies of one photo


def probable_groups(images: ImageIndex, files: Sequence[FileFacts]) -> npt.NDArray[np.int64]:
    """Return the number of each image's probable group, int64 [n]; -1 for an image that is in none.

    Args:
        images: Index of n images.
        files: Facts in the headers of their files.
    """
    group = np.full(len(images), -1, dtype=np.int64)
    next_number = 0
    for groups in (_by_time(images, files), _by_stem(images), _by_run(images)):
        for members in groups:
            free = [i for i in members if group[i] < 0 and not images.groups[i]]  # else its group is declared
            if len(free) > 1:
                group[free] = next_number
                next_number += 1
    return group


def _informative(groups: Sequence[Sequence[int]], count: int, min_groups: int = _MIN_GROUPS) -> list[Sequence[int]]:
    """Return the groups of two images or more, if there are enough of them and none has much of the data."""
    kept = [members for members in groups if len(members) > 1]
    largest = max(map(len, kept), default=0)
    if len(kept) < min_groups or largest > max(_MIN_LARGE_GROUP, _MAX_GROUP_SHARE * count):
        return []
    return kept


def _by_time(images: ImageIndex, files: Sequence[FileFacts]) -> list[Sequence[int]]:
    """Return bursts: photos of one camera, each taken at most `MAX_GAP_S` after the one before."""
    taken: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for i, facts in enumerate(files):
        if facts.taken is not None:
            taken[facts.camera].append((facts.taken, i))
        elif (seconds := _name_time(posixpath.basename(images.keys[i]))) is not None:
            taken[f"name {images.labels[i]}"].append((seconds, i))  # not by folder, which may be that of a split
    bursts: list[Sequence[int]] = []
    for photos in taken.values():
        photos.sort()
        gaps = [b[0] - a[0] > MAX_GAP_S for a, b in itertools.pairwise(photos)]
        starts = [0, *(i + 1 for i, is_gap in enumerate(gaps) if is_gap), len(photos)]
        bursts += [[i for _time, i in photos[a:b]] for a, b in itertools.pairwise(starts)]
    return _informative(bursts, len(images), min_groups=1)


def _name_time(name: str) -> float | None:
    """Return the time in a name of a phone's photo, such as IMG_20240131_094512; None without one."""
    if (match := _PHONE.fullmatch(posixpath.splitext(name)[0])) is None:
        return None
    try:
        moment = datetime.strptime(f"{match[1]}{match[2]}", "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return moment.timestamp() + (float(f"0.{match[3]}") if match[3] else 0.0)


def _by_stem(images: ImageIndex) -> list[Sequence[int]]:
    """Return images whose names are equal up to the last number: patient12_1, patient12_2.

    Where one file name is in two classes, each class numbers its images by itself, and its series are its own.
    """
    copies: dict[Series, list[int]] = defaultdict(list)
    stems: dict[Series, list[int]] = defaultdict(list)
    names = [posixpath.splitext(posixpath.basename(key))[0] for key in images.keys]
    classes_of: dict[str, set[int]] = defaultdict(set)
    for name, label in zip(names, images.labels.tolist(), strict=True):
        classes_of[name].add(label)
    is_by_class = any(len(labels) > 1 for labels in classes_of.values())
    for i, name in enumerate(names):
        label = int(images.labels[i]) if is_by_class else -1
        if match := _ROBOFLOW.fullmatch(name):
            copies[match[1], label].append(i)
        elif stem := _stem(name):
            stems[stem, label].append(i)
    return [*_informative(list(copies.values()), len(images), 1), *_informative_stems(images, stems)]


def _stem(name: str) -> str:
    """Return the name of an image's series; "" if its name has no number at the end, or is random."""
    match = _NUMBERED.fullmatch(name)
    if match is None or not match[1] or len(match[2]) > _MAX_DIGITS or _RANDOM.search(name) or _CAMERA.fullmatch(name):
        return ""
    is_separated = len(match[1]) + len(match[2]) < len(name)
    return match[1] if is_separated or match[1][-1].isalpha() else ""


def _informative_stems(images: ImageIndex, stems: Mapping[Series, list[int]]) -> list[Sequence[int]]:
    """Return the groups of stems that divide the classes into many series of a few images."""
    labels = images.labels
    names = {_folded(class_name(name)) for name in images.classes}
    groups = {series: members for series, members in stems.items() if _folded(series[0]) not in names}
    kept = {series: members for series, members in groups.items() if len(members) > 1}
    if not kept or 2 * len(kept) < len(groups):  # most stems are those of one image
        return []
    per_class = Counter(label for members in kept.values() for label in set(labels[members].tolist()))
    if sum(per_class.values()) < _MIN_GROUPS_PER_CLASS * len(per_class):
        return []
    sizes = [len(members) for members in kept.values()]
    has_numbers = sum(any(c.isdigit() for c in stem) for stem, _label in kept) * 2 > len(kept)
    if not has_numbers and float(np.median(sizes)) > _MAX_UNNAMED_GROUP:
        return []
    return _informative(list(kept.values()), len(images))


def _folded(text: str) -> str:
    return re.sub(r"[\s_\-]+", "", text).casefold()


def _by_run(images: ImageIndex) -> list[Sequence[int]]:
    """Return photos of a camera with consecutive numbers in one class: IMG_1234, IMG_1235."""
    numbers: dict[tuple[str, int], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, key in enumerate(images.keys):
        match = _CAMERA.fullmatch(posixpath.splitext(posixpath.basename(key))[0])
        if match:
            numbers[match[1].upper(), int(images.labels[i])][int(match[2])].append(i)
    runs: list[Sequence[int]] = []
    for by_number in numbers.values():
        ordered = sorted(by_number)
        ends = [i + 1 for i, (a, b) in enumerate(itertools.pairwise(ordered)) if b - a > 1]
        for a, b in itertools.pairwise([0, *ends, len(ordered)]):
            runs.append([i for number in ordered[a:b] for i in by_number[number]])
    photos = sum(map(len, runs))
    runs = [run for run in runs if len(run) >= _MIN_RUN_LENGTH]
    return _informative(runs, len(images)) if 2 * sum(map(len, runs)) > photos else []
