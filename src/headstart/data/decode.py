"""Decode an image file to pixels, in the same way for training, prediction and serving.

The result is upright (EXIF), RGB, on white where transparent, and scaled to 8 bits from the range of the file. The
format is detected from the content, among a short list: Pillow's other readers (EPS, FITS, PSD, …) are never used.
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
from PIL import Image, ImageFile, UnidentifiedImageError

from headstart.errors import DataError
from headstart.i18n import Message, _
from headstart.text import end_sentence, message_of

DECODER_VERSION = 1  # of this module's output: increase it when the same bytes give other pixels
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 64_000_000  # width x height of a file; larger images are refused before they are decoded
MAX_ASPECT_RATIO = 4  # longer side over shorter side of a resized image; beyond it the shorter side is below the target
_LARGE_PIXELS = 16_000_000  # larger images are decoded one at a time, so that threads do not multiply their memory
_large_image_lock = threading.Lock()
_MAX_SIDE_RATIO = 1.125  # an image this much larger than the target is not resized
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_REPLACE = _("Replace or remove it.")
Pixels = npt.NDArray[np.uint8]


class ImageFileError(DataError):
    """An image file that cannot be read or decoded.

    Args:
        fault: The message without its full stop; its field `name` is the file.
        hint: As in `DataError`.
    """

    def __init__(self, fault: Message, hint: Message) -> None:
        super().__init__(end_sentence(fault), hint)
        self.fault = fault

    @property
    def reason(self) -> Message:
        """The message without the name of the file."""
        return end_sentence(Message(self.fault.template, {**self.fault.values, "name": _("The image")}))


class UndecodableError(ImageFileError):
    """The bytes were read, but they are not an image that this program can open."""


def decode(source: Path | bytes, side: int = 0) -> Pixels:
    """Return the image as uint8 [h, w, 3], RGB.

    Values of 16 bits are divided by 257. 32-bit and floating-point values are divided by the smallest of 1, 255 and
    65535 that is not exceeded (32-bit: 65535), or stretched to their own range if all are exceeded.

    Args:
        source: A file, or the content of one.
        side: If positive, the shorter side is reduced to `side` px and the longer side to at most 4 times that. Nothing
            is enlarged. An image that is, or decodes directly to, at most an eighth more than that stays as it is:
            resampling from 200 px to 192 costs more time than decoding, and sharpness.

    Raises:
        ImageFileError: The image cannot be read or decoded. The message names the file.
    """
    if isinstance(source, bytes):
        return decode_file(io.BytesIO(source), side, _("The image"))[0].copy()
    with open_regular_file(source) as file:
        return decode_file(file, side, str(source))[0].copy()


def decode_image(image: Image.Image, side: int = 0) -> Pixels:
    """Return an image of Pillow as `decode` returns that of a file.

    The content of an image that was opened and not loaded yet is decoded like its file, to the same pixels. A loaded
    image is reduced from its whole size, which a JPEG file is not. The image is not changed.

    Args:
        image: The image.
        side: As in `decode`.

    Raises:
        ImageFileError: The image cannot be decoded.
    """
    if (content := _unread_content(image)) is not None:
        return decode(content, side)
    name = _("The image")
    try:
        return _pixels(image, side, name)[0].copy()
    except ImageFileError:
        raise
    except (OSError, ValueError) as error:
        raise UndecodableError(
            _("{name} is damaged ({reason})", name=name, reason=message_of(error)), _REPLACE
        ) from error


def _unread_content(image: Image.Image) -> bytes | None:
    """Return the file of an image that Pillow has opened and not decoded yet; None for other images."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile or image.fp is None or image.tell():
        return None
    position = image.fp.tell()
    image.fp.seek(0)
    content = image.fp.read()
    image.fp.seek(position)
    return content


@contextmanager
def open_regular_file(path: Path) -> Iterator[io.BufferedReader]:
    """Open the regular file at `path` for reading. Raises ImageFileError if it is missing, special or not readable."""
    try:
        if not S_ISREG(path.stat().st_mode):
            raise ImageFileError(_("{name} is not a file", name=path), _("Name an image file."))
        file = path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise ImageFileError(
            _("{name} cannot be read ({reason})", name=path, reason=getattr(error, "strerror", error)),
            _("Check the file and its permissions."),
        ) from error
    with file:
        yield file


def decode_file(file: BinaryIO, side: int, name: str) -> tuple[Pixels, bool]:
    """Decode an open file as `decode` does.

    Args:
        file: The file, open for reading.
        side: As in `decode`.
        name: Name of the file in messages.

    Returns:
        Read-only pixels, and True if the file has more than 8 bits per value and was scaled.

    Raises:
        UndecodableError: The bytes are not an image.
        ImageFileError: The bytes cannot be read.
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
        *formats, last_format = FORMATS
        fault = (
            _("{name} is empty", name=name)
            if empty
            else _(
                "{name} is not a {formats} or {last_format} image",
                name=name,
                formats=", ".join(formats),
                last_format=last_format,
            )
        )
        raise UndecodableError(fault, _REPLACE) from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise ImageFileError(
                _("{name} cannot be read ({reason})", name=name, reason=error.strerror), _("Check the disk.")
            ) from error
        raise UndecodableError(
            _("{name} is damaged ({reason})", name=name, reason=message_of(error)), _REPLACE
        ) from error


def decoded_bytes(file: BinaryIO, side: int) -> int:
    """Return the size in bytes of what `decode_file` would return, from the file's header only.

    Raises:
        UndecodableError: The file has no image header.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            width, height = _target(image.size, side) if side else image.size
            return 3 * width * height
    except Exception as error:  # as in decode_file, which gives a better message
        fault = _("The file has no image header ({reason})", reason=message_of(error))
        raise UndecodableError(fault, _REPLACE) from error


@contextmanager
def suppress_pillow_warnings() -> Iterator[None]:
    """Suppress Pillow's warnings about unusual files, for a main thread that waits for decoding threads.

    Python's warning filters are shared by all threads, so `decode` itself must not change them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _too_large(name: str) -> UndecodableError:
    megapixels = MAX_PIXELS // 10**6
    return UndecodableError(
        _("{name} has more than {megapixels} megapixels", name=name, megapixels=megapixels), _("Reduce or remove it.")
    )


def _pixels(image: Image.Image, side: int, name: str) -> tuple[Pixels, bool]:
    pixels_in_memory = image.width * image.height
    if pixels_in_memory > MAX_PIXELS:
        raise _too_large(name)
    if side and image.format in ("JPEG", "MPO"):
        image.draft(None, _target(image.size, side))  # decodes at 1/2, 1/4 or 1/8, never below the target
        if not image.info.get("progressive"):  # a progressive file is decoded at full size before it is scaled
            pixels_in_memory = image.width * image.height
    with _large_image_lock if pixels_in_memory > _LARGE_PIXELS else nullcontext():
        image.load()
        transposition = _UPRIGHT.get(_orientation(image))
        deep = image.mode.startswith("I") or image.mode == "F"
        flat = _as_8_bit_image(image)
        target = _target(flat.size, side) if side else flat.size
        if max(flat.size) > _MAX_SIDE_RATIO * max(target):
            flat = flat.resize(target, Image.Resampling.BILINEAR, reducing_gap=2.0)
        if flat.mode == "RGBA":
            flat = Image.alpha_composite(Image.new("RGBA", flat.size, "white"), flat)
        if transposition is not None:
            flat = flat.transpose(transposition)
        if flat.mode != "RGB":
            flat = flat.convert("RGB")
        return np.asarray(flat), deep


def _target(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / min(size), MAX_ASPECT_RATIO * side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8.

    It is 1 if the EXIF block is damaged, since the pixels are intact, and for TIFF, which Pillow turns itself.
    """
    if image.format == "TIFF":
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a damaged EXIF block raises many kinds of errors
        return 1


def _as_8_bit_image(image: Image.Image) -> Image.Image:
    """Return the image in mode RGB, L or RGBA."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_scale_to_8_bits(np.asarray(image)))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


def _scale_to_8_bits(values: npt.NDArray[np.generic]) -> Pixels:
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    numbers = values.astype(np.float32)
    low, high = float(numbers.min()), float(numbers.max())
    if not np.isfinite([low, high]).all():
        raise ValueError(_("it has values that are not finite"))
    ranges = (65535.0,) if values.dtype.kind in "iu" else (1.0, 255.0, 65535.0)
    top = next((r for r in ranges if low >= 0 and high <= r), None)
    if top is None:
        numbers, top = numbers - low, max(high - low, 1e-12)
    pixels: Pixels = np.rint(numbers * (255 / top)).astype(np.uint8)
    return pixels
