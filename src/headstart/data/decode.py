"""From a file to pixels, in one way for training, prediction and serving.

Upright (EXIF), RGB, on white where transparent, 8 bits of whatever range the file has. Files are opened by what they
contain, from a short list of formats: Pillow's other readers (EPS, FITS, PSD, …) are never reached.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from headstart.errors import DataError

VERSION = 1  # of this file's output: raise it when the same bytes give other pixels
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 64_000_000
MAX_ASPECT = 4
_LARGE = 16_000_000  # from here on one image is decoded at a time, so that threads do not multiply its memory
_one_large = threading.Lock()
_NEAR = 1.125
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Pixels = npt.NDArray[np.uint8]


class UndecodableError(DataError):
    """The bytes were read, and they are no image that this program opens."""


def decode(source: Path | bytes, side: int = 0) -> Pixels:
    """The image as uint8 [h, w, 3], RGB.

    With `side` > 0 the shorter side is reduced to `side` px and the longer to at most 4 times that; nothing is
    enlarged. What is, or decodes directly to, at most an eighth more than that stays so: to resample a picture of
    200 px for 192 costs more time than to decode it, and sharpness. Values of 16 bits are divided by 257; 32-bit and
    floating ones by the smallest of 1, 255 and 65535 that holds them (32-bit: 65535), or stretched if none does.
    Raises DataError, naming the file, for whatever is wrong.
    """
    name = "The image" if isinstance(source, bytes) else str(source)
    if isinstance(source, bytes):
        return decode_file(io.BytesIO(source), side, name)[0].copy()
    with opened(source) as file:
        return decode_file(file, side, name)[0].copy()


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """The regular file at `path`, open for reading. Raises DataError if there is none or it may not be read."""
    try:
        if not S_ISREG(path.stat().st_mode):
            raise DataError(f"{path} is not a file.", "Name an image file.")
        file = path.open("rb")
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}).", "Check the file and your access to it."
        ) from error
    with file:
        yield file


def decode_file(file: BinaryIO, side: int, name: str) -> tuple[Pixels, bool]:
    """As `decode`, from an open file, read-only; also whether a value had more than 8 bits and was scaled.

    Raises UndecodableError for bytes that are no image, DataError if they cannot be read.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            return _pixels(image, side, name)
    except UndecodableError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise _too_large(name) from None
    except UnidentifiedImageError:
        empty = file.seek(0, io.SEEK_END) == 0
        what = f"{name} is empty." if empty else f"{name} is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image."
        raise UndecodableError(what, "Replace or remove it.") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{name} cannot be read ({error.strerror}).", "Check the disk it lies on.") from error
        raise UndecodableError(f"{name} is damaged ({error}).", "Replace or remove it.") from error


def decoded_bytes(file: BinaryIO, side: int) -> int:
    """How many bytes `decode_file` would give, from the file's header only. Raises DataError if there is none."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            width, height = _target(image.size, side) if side else image.size
            return 3 * width * height
    except Exception as error:  # as in decode_file, which says more
        raise UndecodableError(f"The file has no header of an image ({error}).", "Replace or remove it.") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings on odd files; for a main thread that waits for others to decode.

    Python's filters are shared by all threads, so `decode` itself must not touch them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _too_large(name: str) -> UndecodableError:
    return UndecodableError(f"{name} has more than {MAX_PIXELS // 10**6} megapixels.", "Reduce or remove it.")


def _pixels(image: Image.Image, side: int, name: str) -> tuple[Pixels, bool]:
    held = image.width * image.height
    if held > MAX_PIXELS:
        raise _too_large(name)
    if side and image.format in ("JPEG", "MPO"):
        image.draft(None, _target(image.size, side))  # decodes at 1/2, 1/4 or 1/8, never below the target
        if not image.info.get("progressive"):  # such a file is held whole before it is scaled
            held = image.width * image.height
    with _one_large if held > _LARGE else nullcontext():
        image.load()
        turn = _UPRIGHT.get(_orientation(image))
        deep = image.mode.startswith("I") or image.mode == "F"
        flat = _flat(image)
        target = _target(flat.size, side) if side else flat.size
        if max(flat.size) > _NEAR * max(target):
            flat = flat.resize(target, Image.Resampling.BILINEAR, reducing_gap=2.0)
        if flat.mode == "RGBA":
            flat = Image.alpha_composite(Image.new("RGBA", flat.size, "white"), flat)
        if turn is not None:
            flat = flat.transpose(turn)
        if flat.mode != "RGB":
            flat = flat.convert("RGB")
        return np.asarray(flat), deep


def _target(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / min(size), MAX_ASPECT * side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1 where the EXIF block is damaged: the pixels are whole all the same. TIFF is turned by Pillow."""
    if image.format == "TIFF":
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # as many kinds as there are ways to damage it
        return 1


def _flat(image: Image.Image) -> Image.Image:
    """The image in mode RGB, L or RGBA."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(image)))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


def _eight_bits(values: npt.NDArray[np.generic]) -> Pixels:
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    numbers = values.astype(np.float32)
    low, high = float(numbers.min()), float(numbers.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("it holds values that are not finite")
    ranges = (65535.0,) if values.dtype.kind in "iu" else (1.0, 255.0, 65535.0)
    top = next((r for r in ranges if low >= 0 and high <= r), None)
    if top is None:
        numbers, top = numbers - low, max(high - low, 1e-12)
    pixels: Pixels = np.rint(numbers * (255 / top)).astype(np.uint8)
    return pixels
