"""Data that comes with the program: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI 1998 (CC BY 4.0), as
`sklearn.datasets.load_digits` carries it.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from headstart.data import folder
from headstart.data.image_index import ImageIndex
from headstart.errors import UsageError
from headstart.storage.cache import cache_root, commit_folder, scratch_folder

_COUNT = 1797
_DEFAULT = ("6", "7", "8", "9")


def names(source: str) -> bool:
    """Whether `source` is built in: `digits` or `digits:…`. A folder of that name is `./digits`."""
    return source == "digits" or source.startswith("digits:")


def read(source: str) -> ImageIndex:
    """The digits 6 to 9 for `digits`, or those of `digits:0-5`, `digits:1,3`: written to the cache once, as PNG.

    Raises UsageError for a range that makes no sense, ResourceError where the cache cannot be written.
    """
    classes = _DEFAULT if source == "digits" else _chosen(source)
    listing = folder.read(source, _written())
    listing = replace(listing, source=source, flip=False, notes=()).pick(classes)
    if source == "digits" and Path("digits").is_dir():
        note = "Read the built-in digits; the folder of that name here is ./digits."
        listing = replace(listing, notes=(note,))
    return listing


def _chosen(source: str) -> tuple[str, ...]:
    chosen: set[int] = set()
    for part in source.removeprefix("digits:").split(","):
        match = re.fullmatch(r"\s*([0-9])(?:-([0-9]))?\s*", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(f"{source!r} names no digits.", "Write digits:0-5 or digits:1,3.")
        chosen.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    if len(chosen) < 2:
        raise UsageError(f"{source!r} is one class only.", "Name two digits or more, as in digits:0-5.")
    return tuple(map(str, sorted(chosen)))


def _written() -> Path:
    target = cache_root() / "builtin" / "digits-1"
    if sum(1 for _ in target.glob("*/*.png")) == _COUNT:
        return target
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits()
    pictures = np.rint(data.images * (255 / 16)).astype(np.uint8)
    with scratch_folder(target.parent) as scratch:
        for i, (picture, digit) in enumerate(zip(pictures, data.target, strict=True)):
            (scratch / str(digit)).mkdir(exist_ok=True)
            Image.fromarray(picture).save(scratch / str(digit) / f"{i:04d}.png")
        if target.exists() and sum(1 for _ in target.glob("*/*.png")) != _COUNT:  # damaged, not another's whole one
            shutil.rmtree(target)
        commit_folder(scratch, target)
    return target
