"""Limit the pixels of an image by the memory and time that decoding takes for each, which differ by format.

A file of some kB can declare as many pixels as a photo. Larger files may have more pixels: their bytes show that they
have such content.
"""

from __future__ import annotations

from PIL import Image

from headstart.data.samples import is_tile_of_16_bits

MAX_EXTRA_BYTES = 480_000_000  # beyond the 3 bytes of each pixel
EXTRA_BYTES_PER_FILE_BYTE = 48  # the same of a file of more than 10 MB
MAX_RUN_PIXELS = 8_000_000  # of a BMP file in runs, which Pillow unpacks in Python
_OPAQUE, _RGBA, _TRANSPARENT, _WIDE, _DEEP = 3, 7, 10, 10, 21  # bytes beyond 3 for each pixel, as measured
_TENTHS_PER_SAMPLE_BYTE = 46  # of the memory that a byte of a sample takes, in copies and with an alpha channel
_BYTES_OF_FORMATS = {  # of opaque and of transparent images: their decoders have copies
    "WEBP": (13, 17),
    "AVIF": (7, 12),
    "HEIF": (5, 7),
}


def pixel_limit(image: Image.Image, file_bytes: int) -> int:
    """Return the number of pixels up to which an opened image is decoded.

    Args:
        image: The image; it is not decoded.
        file_bytes: The size of its file.
    """
    limit = max(MAX_EXTRA_BYTES, EXTRA_BYTES_PER_FILE_BYTE * file_bytes) // _extra_bytes(image)
    is_in_runs = any(tile.codec_name == "bmp_rle" for tile in getattr(image, "tile", ()))
    return min(limit, MAX_RUN_PIXELS) if is_in_runs else limit


def sample_limit(file_bytes: int) -> int:
    """Return the number of bytes of all pixels up to which the samples of a TIFF file are taken as they are."""
    return max(MAX_EXTRA_BYTES, EXTRA_BYTES_PER_FILE_BYTE * file_bytes) * 10 // _TENTHS_PER_SAMPLE_BYTE


def _extra_bytes(image: Image.Image) -> int:
    """Return the memory that decoding takes beyond the 3 bytes of each pixel."""
    is_transparent = image.mode in ("LA", "La", "PA") or image.has_transparency_data
    if image.format in _BYTES_OF_FORMATS:
        return _BYTES_OF_FORMATS[image.format][is_transparent]
    if is_tile_of_16_bits(image):
        return _DEEP
    if image.mode in ("I", "F"):
        return _WIDE
    if image.mode == "RGBA":
        return _RGBA
    return _TRANSPARENT if is_transparent else _OPAQUE
