"""From an opened image to its pixels: limits, reduced scale, upright, 8 bits, RGB."""

from __future__ import annotations

import io
import threading
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageFile, TiffImagePlugin

from headstart.data.conversion import MAX_16_BIT, Conversion, ImageFacts, eight_bit_image, stretched, visible_on
from headstart.data.decoder_memory import MAX_RUN_PIXELS, pixel_limit, sample_limit
from headstart.data.samples import (
    ImageTooLargeError,
    Samples,
    is_misread_tiff,
    is_tile_of_16_bits,
    png_samples,
    tiff_samples,
    with_transparent_color,
)

MAX_PIXELS = 64_000_000  # width x height of an image that is decoded at full size
MAX_LARGE_FILE_PIXELS = 160_000_000  # the same for a file with enough bytes for that many pixels, such as a scan
MAX_REDUCED_PIXELS = 256_000_000  # of a JPEG file that is decoded at a reduced scale; cameras make 200 megapixels
MAX_ASPECT_RATIO = 4  # longer side over shorter side of a resized image; beyond it the shorter side is below the target
_MIN_BYTES_PER_PIXEL = 1 / 64  # of a file above MAX_PIXELS; bombs have less
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
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DecodedImage:
    """Read-only pixels, uint8 [h, w, 3] RGB, and what the image contributes to the conversion of its data set."""

    pixels: Pixels
    facts: ImageFacts


def decode_opened(image: Image.Image, file: BinaryIO, side: int, conversion: Conversion) -> DecodedImage:
    """Return the pixels of an image that `open_image` has opened from `file`.

    Raises:
        ImageTooLargeError: It has too many pixels.
    """
    _prepare(image, file, side)
    with _large_image_lock if _pixels_in_memory(image) > _LARGE_PIXELS else nullcontext():
        if samples := _file_samples(image, file):
            return _from_samples(samples, side, conversion)
        return decode_loaded(image, side, conversion)


def decode_unknown_tiff(file: BinaryIO, side: int, conversion: Conversion) -> DecodedImage:
    """Return the pixels of a TIFF file that Pillow does not open.

    Raises:
        ValueError: It has another layout than those of `tiff_samples`, or is damaged.
        ImageTooLargeError: It has too many pixels.
    """
    with _large_image_lock:
        return _from_samples(tiff_samples(file, MAX_PIXELS, sample_limit(_size(file))), side, conversion)


def _prepare(image: Image.Image, file: BinaryIO, side: int) -> None:
    """Reduce the scale of a JPEG file, and check the number of pixels that will be decoded."""
    pixels = image.width * image.height
    if image.format == "JPEG":
        if side and pixels <= MAX_REDUCED_PIXELS:
            image.draft(None, target_size(image.size, side))  # decodes at 1/2, 1/4 or 1/8, never below the target
        if _is_progressive(image) and pixels > MAX_PIXELS:
            raise ImageTooLargeError(MAX_PIXELS, is_progressive=True)
        if image.width * image.height > MAX_PIXELS:
            raise ImageTooLargeError(MAX_REDUCED_PIXELS if pixels > MAX_REDUCED_PIXELS else MAX_PIXELS)
    elif pixels > MAX_RUN_PIXELS:
        size = _size(file)
        if pixels > MAX_PIXELS and (pixels > MAX_LARGE_FILE_PIXELS or size < pixels * _MIN_BYTES_PER_PIXEL):
            raise ImageTooLargeError(MAX_PIXELS)
        if pixels > (limit := pixel_limit(image, size)):
            raise ImageTooLargeError(limit)


def _size(file: BinaryIO) -> int:
    return file.seek(0, io.SEEK_END)


def _is_progressive(image: Image.Image) -> bool:
    return bool(image.info.get("progressive"))


def _file_samples(image: Image.Image, file: BinaryIO) -> Samples | None:
    """Return the samples of an opened file that Pillow would reduce to the high byte, or misread; else None."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        is_misread = is_misread_tiff(image)
        return tiff_samples(file, MAX_LARGE_FILE_PIXELS, sample_limit(_size(file))) if is_misread else None
    if image.format != "PNG" or not is_tile_of_16_bits(image):
        return None
    orientation = _orientation(image)
    file.seek(0)
    samples = png_samples(file.read(), orientation)
    color = image.info.get("transparency")  # Pillow compares it with 8 bits
    return samples if color is None else with_transparent_color(samples, color)


def _loaded_samples(image: Image.Image) -> Samples | None:
    """Return the samples of a decoded image with one channel of 16 bits; None for other images."""
    if image.mode.startswith("I;16") or (image.mode == "I" and _has_16_bits(image)):
        samples = Samples(np.asarray(image).astype(np.uint16)[..., None], "L", _orientation(image))
        color = image.info.get("transparency")
        return with_transparent_color(samples, color) if isinstance(color, int) else samples
    return None


def _has_16_bits(image: Image.Image) -> bool:
    """Return True if 16 bits without a sign hold all values of an image of mode I."""
    low, high = image.getextrema()
    return 0 <= low <= high <= MAX_16_BIT  # type: ignore[operator]


def decode_loaded(image: Image.Image, side: int, conversion: Conversion) -> DecodedImage:
    """Return the pixels of an image of Pillow, which is decoded if it is not yet."""
    image.load()
    if samples := _loaded_samples(image):
        return _from_samples(samples, side, conversion)
    facts = ImageFacts(is_scaled=image.mode in ("I", "F"))
    return _finish(image, _orientation(image), side, conversion, facts)


def _from_samples(samples: Samples, side: int, conversion: Conversion) -> DecodedImage:
    image, highest = eight_bit_image(samples, conversion)
    facts = ImageFacts(highest, is_scaled=samples.values.dtype != np.uint8)
    return _finish(image, samples.orientation, side, conversion, facts)


def _finish(image: Image.Image, orientation: int, side: int, conversion: Conversion, facts: ImageFacts) -> DecodedImage:
    """Reduce a decoded image, compose it on the background and turn it upright."""
    flat = _as_8_bit_image(image)
    if flat.mode == "RGBA":
        facts = replace(facts, visible=visible_on(flat))
    target = target_size(flat.size, side) if side else flat.size
    if max(flat.size) > _MAX_SIDE_RATIO * max(target):
        flat = flat.resize(target, Image.Resampling.BILINEAR, reducing_gap=2.0)
    if flat.mode == "RGBA":
        background = (*[conversion.background] * 3, 255)
        flat = Image.alpha_composite(Image.new("RGBA", flat.size, background), flat)
    if (transposition := _UPRIGHT.get(orientation)) is not None:
        flat = flat.transpose(transposition)
    if flat.mode != "RGB":
        flat = flat.convert("RGB")
    return DecodedImage(np.asarray(flat), facts)


def target_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return the (width, height) to which an image is reduced, see `decode`."""
    scale = min(1.0, side / min(size), MAX_ASPECT_RATIO * side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _pixels_in_memory(image: Image.Image) -> int:
    """Return the number of pixels that decoding needs memory for; a progressive JPEG is decoded at full size."""
    if _is_progressive(image) and isinstance(image, ImageFile.ImageFile):
        scale = getattr(image, "decoderconfig", ()) or (1,)
        return image.width * image.height * int(scale[0]) ** 2
    return image.width * image.height


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
    if image.mode in ("I", "F"):
        return Image.fromarray(stretched(np.asarray(image)))
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow inverts all CMYK files, as Adobe's programs write them
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode != "RGBA" and image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("RGB", "L", "RGBA") else image.convert("RGB")
