"""Built-in data: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI 1998 (CC BY 4.0), as included in
`sklearn.datasets.load_digits`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from headstart.data import labeled_folder
from headstart.data.image_index import ImageIndex
from headstart.errors import ResourceError, UsageError
from headstart.i18n import _
from headstart.storage import contained
from headstart.storage.cache import cache_root, commit_folder, read_cache_file, scratch_folder
from headstart.storage.contained import Entry, TooLargeError, UnsafeFileError

_PARENT = "builtin"  # in the cache
_FOLDER, _CHECKSUM_FILE = f"{_PARENT}/digits-1", f"{_PARENT}/digits-1.sha256"
_MAX_IMAGE_BYTES = 1 << 16
_verified: set[tuple[object, ...]] = set()  # states of the files that this process has read
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
    root = cache_root()
    if _is_complete(root):
        return root / _FOLDER
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)
    with scratch_folder(root, _PARENT) as scratch:
        for digit in sorted(set(data.target.tolist())):
            contained.make_folder(root, f"{scratch}/{digit}")
        for i, (image, digit) in enumerate(zip(images, data.target, strict=True)):
            with contained.new_file(root, f"{scratch}/{digit}/{i:04d}.png", sync=False) as file:
                Image.fromarray(image).save(file, "PNG")
        if not _is_complete(root):  # another process may have completed it meanwhile
            contained.remove_folder(root, _FOLDER)
            contained.write(root, _CHECKSUM_FILE, _checksum(root, scratch))
        commit_folder(root, scratch, _FOLDER)
    if not _is_complete(root):
        raise ResourceError(
            _("The built-in digits in {folder} are damaged and cannot be replaced.", folder=root / _FOLDER),
            _("Delete the folder, or set HEADSTART_CACHE to a writable folder."),
        )
    return root / _FOLDER


def _is_complete(root: Path) -> bool:
    """Return True if the images in the cache are those that were written; they are read once per process."""
    expected = read_cache_file(root, _CHECKSUM_FILE, 1 << 10)
    try:
        state = (root, expected, *_files(root))
        if state not in _verified and expected is not None and expected.decode("latin-1") == _checksum(root, _FOLDER):
            _verified.add(state)
    except (OSError, UnsafeFileError, TooLargeError):
        return False
    return state in _verified


def _files(root: Path) -> list[tuple[str, Entry]]:
    """Return the files of all digits."""
    digits = [entry.name for entry in contained.entries(root, _FOLDER)]
    return [(digit, entry) for digit in digits for entry in contained.entries(root, f"{_FOLDER}/{digit}")]


def _checksum(root: Path, folder: str) -> str:
    """Return the hash of the names and contents of the images in a folder."""
    digest = hashlib.sha256()
    for name in contained.files_below(root, folder):
        content = contained.read_bytes(root, name, _MAX_IMAGE_BYTES)
        digest.update(f"{name.removeprefix(folder)} {len(content)}\n".encode() + content)
    return digest.hexdigest()
