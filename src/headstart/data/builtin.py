"""Built-in data: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI 1998 (CC BY 4.0), as included in
`sklearn.datasets.load_digits`.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from headstart.data import labeled_folder
from headstart.data.image_index import ImageIndex
from headstart.errors import UsageError
from headstart.i18n import _
from headstart.storage.cache import cache_root, commit_folder, scratch_folder

_IMAGE_COUNT = 1797
_DEFAULT_CLASSES = ("6", "7", "8", "9")


def is_builtin(source: str) -> bool:
    """Return True for `digits` and `digits:…`. A folder of that name is written `./digits`."""
    return source == "digits" or source.startswith("digits:")


def read_digits(source: str) -> ImageIndex:
    """Return the index of the built-in digits, which are written to the cache as PNG files on first use.

    Args:
        source: `digits` for the digits 6 to 9, or a selection such as `digits:0-5` or `digits:1,3`.

    Raises:
        UsageError: The selection is not valid.
        ResourceError: The cache cannot be written.
    """
    classes = _DEFAULT_CLASSES if source == "digits" else _parse_classes(source)
    images = labeled_folder.read_folder(source, _write_images())
    images = replace(images, source=source, flip=False, notes=()).pick(classes)
    if source == "digits" and Path("digits").is_dir():
        note = _("Read the built-in digits. To read the folder named digits, write ./digits.")
        images = replace(images, notes=(note,))
    return images


def _parse_classes(source: str) -> tuple[str, ...]:
    digits: set[int] = set()
    for part in source.removeprefix("digits:").split(","):
        match = re.fullmatch(r"\s*([0-9])(?:-([0-9]))?\s*", part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(
                _("{source!r} is not a selection of digits.", source=source), _("Write digits:0-5 or digits:1,3.")
            )
        digits.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    if len(digits) < 2:
        raise UsageError(
            _("{source!r} selects only one class.", source=source), _("Name two digits or more, as in digits:0-5.")
        )
    return tuple(map(str, sorted(digits)))


def _write_images() -> Path:
    """Write the images to the cache if they are not complete there, and return their folder."""
    target = cache_root() / "builtin" / "digits-1"
    if _is_complete(target):
        return target
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)
    with scratch_folder(target.parent) as scratch:
        for i, (image, digit) in enumerate(zip(images, data.target, strict=True)):
            (scratch / str(digit)).mkdir(exist_ok=True)
            Image.fromarray(image).save(scratch / str(digit) / f"{i:04d}.png")
        if target.exists() and not _is_complete(target):  # another process may have completed it meanwhile
            shutil.rmtree(target)
        commit_folder(scratch, target)
    return target


def _is_complete(target: Path) -> bool:
    return sum(1 for _unused in target.glob("*/*.png")) == _IMAGE_COUNT
