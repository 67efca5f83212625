"""Decode an image file to pixels, in the same way for training, prediction and export.

The result is upright (EXIF), RGB, on a background where transparent, and scaled to 8 bits by rules that hold for the
whole data set (`Conversion`). `image_formats` opens the file.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError

from headstart.data.conversion import DEFAULT_CONVERSION, Conversion, choose_conversion
from headstart.data.foreign_formats import ForeignFormatError, reject_variant
from headstart.data.image_formats import FORMATS, format_of, open_image
from headstart.data.pixels import (
    MAX_PIXELS,
    DecodedImage,
    Pixels,
    decode_loaded,
    decode_opened,
    decode_unknown_tiff,
    target_size,
)
from headstart.data.png_chunks import without_metadata
from headstart.data.samples import ImageTooLargeError, LayoutError
from headstart.errors import DataError
from headstart.i18n import Message, _
from headstart.text import end_sentence, message_of

DECODER_VERSION = 3  # of this module's output: increase it when the same bytes give other pixels
REPLACE_HINT = _("Replace or remove it.")


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


def decode(source: Path | bytes, side: int = 0, conversion: Conversion | None = None) -> Pixels:
    """Return the image as uint8 [h, w, 3], RGB.

    Values of 16 bits are scaled, and transparent pixels composed on a background, as `conversion` says. 32-bit and
    floating-point values are divided by the smallest of 1, 255 and 65535 that is not exceeded (32-bit: 65535), or
    stretched to their own range if all are exceeded.

    Args:
        source: A file, or the content of one.
        side: If positive, the shorter side is reduced to `side` px and the longer side to at most 4 times that. Nothing
            is enlarged. An image that is, or decodes directly to, at most an eighth more than that stays as it is:
            resampling from 200 px to 192 costs more time than decoding, and sharpness.
        conversion: Conversion of the data set; None for that which the image alone gives.

    Raises:
        ImageFileError: The image cannot be read or decoded. The message names the file.
    """
    if not isinstance(source, bytes):
        with open_regular_file(source) as file:
            return _decode_whole(file, side, str(source), conversion)
    return _decode_whole(io.BytesIO(source), side, _("The image"), conversion)


def _decode_whole(file: BinaryIO, side: int, name: str, conversion: Conversion | None) -> Pixels:
    decoded = decode_file(file, side, name, conversion or DEFAULT_CONVERSION)
    found = choose_conversion([decoded.facts.max_value], [decoded.facts.visible])
    if conversion is None and found != DEFAULT_CONVERSION:
        file.seek(0)
        decoded = decode_file(file, side, name, found)
    return decoded.pixels.copy()


def decode_image(image: Image.Image, side: int = 0, conversion: Conversion = DEFAULT_CONVERSION) -> Pixels:
    """Return an image of Pillow as `decode` returns that of a file.

    The content of an image that was opened and not loaded yet is decoded like its file, to the same pixels. A loaded
    image is reduced from its whole size, which a JPEG file is not. The image is not changed.

    Args:
        image: The image.
        side: As in `decode`.
        conversion: Conversion of the data set.

    Raises:
        ImageFileError: The image cannot be decoded.
    """
    if (content := _unread_content(image)) is not None:
        return decode(content, side, conversion)
    name = _("The image")
    try:
        return decode_loaded(image, side, conversion).pixels.copy()
    except ImageTooLargeError as error:
        raise _too_large(name, error) from None
    except (OSError, ValueError) as error:
        raise UndecodableError(
            _("{name} is damaged ({reason})", name=name, reason=message_of(error)), REPLACE_HINT
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


def decode_file(file: BinaryIO, side: int, name: str, conversion: Conversion = DEFAULT_CONVERSION) -> DecodedImage:
    """Decode an open file as `decode` does.

    Args:
        file: The file, open for reading.
        side: As in `decode`.
        name: Name of the file in messages.
        conversion: As in `decode`.

    Raises:
        UndecodableError: The bytes are not an image.
        ImageFileError: The bytes cannot be read.
    """
    try:
        return _decode_variant(file, side, conversion)
    except ImageTooLargeError as error:
        raise _too_large(name, error) from None
    except ForeignFormatError as error:
        values = {**error.message.values, "name": name}
        raise UndecodableError(Message(error.message.template, values), error.hint) from None
    except LayoutError as error:
        raise UndecodableError(
            _("{name} is a TIFF file of a layout that is not read ({layout})", name=name, layout=message_of(error)),
            _("Save it in gray, RGB or CMYK with 8 or 16 bits per channel."),
        ) from error
    except UnidentifiedImageError:
        raise _no_image(file, name) from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise ImageFileError(
                _("{name} cannot be read ({reason})", name=name, reason=error.strerror), _("Check the disk.")
            ) from error
        raise _damaged(file, name, message_of(error)) from error


def decoded_bytes(file: BinaryIO, side: int) -> int:
    """Return the size in bytes of what `decode_file` would return, from the file's header only.

    Raises:
        UndecodableError: The file has no image header.
    """
    try:
        with open_image(file) as image:
            width, height = target_size(image.size, side) if side else image.size
            return 3 * width * height
    except Exception as error:  # as in decode_file, which gives a better message
        fault = _("The file has no image header ({reason})", reason=message_of(error))
        raise UndecodableError(fault, REPLACE_HINT) from error


@contextmanager
def suppress_pillow_warnings() -> Iterator[None]:
    """Suppress Pillow's warnings about unusual files, for a main thread that waits for decoding threads.

    Python's warning filters are shared by all threads, so `decode` itself must not change them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _too_large(name: str, error: ImageTooLargeError) -> UndecodableError:
    megapixels = error.limit // 10**6
    if error.is_progressive:
        return UndecodableError(
            _("{name} is a progressive JPEG of more than {megapixels} megapixels", name=name, megapixels=megapixels),
            _("Save it as a JPEG that is not progressive, or reduce it."),
        )
    return UndecodableError(
        _("{name} has more than {megapixels} megapixels", name=name, megapixels=megapixels), _("Reduce or remove it.")
    )


def _no_image(file: BinaryIO, name: str) -> UndecodableError:
    if file.seek(0, io.SEEK_END) == 0:
        return UndecodableError(_("{name} is empty", name=name), REPLACE_HINT)
    if _format(file):
        return _damaged(file, name, _("its header is incomplete or damaged"))
    *formats, last_format = FORMATS
    fault = _(
        "{name} is not a {formats} or {last_format} image",
        name=name,
        formats=", ".join(formats),
        last_format=last_format,
    )
    return UndecodableError(fault, REPLACE_HINT)


def _format(file: BinaryIO) -> str:
    file.seek(0)
    return format_of(file.read(64))


def _damaged(file: BinaryIO, name: str, reason: Message) -> UndecodableError:
    kind = _format(file) or _("image")
    reason = reason or _("its content cannot be decoded")
    fault = _("{name} is a damaged {format} file ({reason})", name=name, format=kind, reason=reason)
    return UndecodableError(fault, REPLACE_HINT)


def _decode_variant(file: BinaryIO, side: int, conversion: Conversion) -> DecodedImage:
    """Decode a file; a PNG file that Pillow refuses is decoded without its metadata.

    Raises:
        ForeignFormatError: It is a JPEG file of a kind that Pillow does not read.
    """
    try:
        return _decode_open(file, side, conversion)
    except (ImageTooLargeError, ForeignFormatError, LayoutError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if (pixels := without_metadata(file)) is None:
            reject_variant(file)
            raise
    return _decode_open(pixels, side, conversion)


def _decode_open(file: BinaryIO, side: int, conversion: Conversion) -> DecodedImage:
    try:
        image = open_image(file)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ImageTooLargeError(MAX_PIXELS) from None
    except UnidentifiedImageError:
        if _format(file) != "TIFF":
            raise
        return decode_unknown_tiff(file, side, conversion)
    with image:
        return decode_opened(image, file, side, conversion)
