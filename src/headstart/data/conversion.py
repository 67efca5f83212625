"""Convert the values of an image to 8 bits and compose it on a background, by rules that hold for a whole data set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from headstart.data.row_bands import bands
from headstart.data.samples import IntArray, Samples, opaque_value
from headstart.i18n import _

MAX_16_BIT = 65535
OPAQUE = -1
EIGHT_BITS = -1
BACKGROUNDS = (255, 0, 128, 64, 192)  # gray levels, in the order of preference
_MIN_CONTRAST = 16  # of 255, between a visible pixel and the background
_MIN_VISIBLE_SHARE = 0.001  # of the pixels
_MEASURED_PIXELS = 1_000_000  # about as many pixels are measured of a larger image
_MIN_BITS = 8


@dataclass(frozen=True)
class Conversion:
    """How all images of a data set become RGB of 8 bits.

    Attributes:
        max_value: The 16-bit value that becomes 255; higher ones become 255 too.
        background: Gray level behind transparent pixels.
    """

    max_value: int = MAX_16_BIT
    background: int = BACKGROUNDS[0]


DEFAULT_CONVERSION = Conversion()


@dataclass(frozen=True)
class ImageFacts:
    """What an image contributes to the conversion of its data set.

    Attributes:
        max_value: Its highest value, of a file of 16 bits; EIGHT_BITS for others.
        visible: Bit i is set if something is visible on `BACKGROUNDS[i]`; OPAQUE for an image without transparency.
        is_scaled: Its values have more than 8 bits.
    """

    max_value: int = EIGHT_BITS
    visible: int = OPAQUE
    is_scaled: bool = False


def choose_conversion(max_values: Iterable[int], visible: Iterable[int]) -> Conversion:
    """Return the conversion of a data set from the facts of its images.

    16-bit values are scaled by the smallest number of bits, at least 8, that holds all of them. The background is the
    one on which the most images are visible; of several the first.

    Args:
        max_values: `ImageFacts.max_value` of each image.
        visible: `ImageFacts.visible` of each image.
    """
    highest = max(max_values, default=EIGHT_BITS)
    bits = 16 if highest == EIGHT_BITS else max(_MIN_BITS, highest.bit_length())
    transparent = np.array([mask for mask in visible if mask != OPAQUE], dtype=np.int64)
    counts = [int(np.count_nonzero(transparent >> i & 1)) for i in range(len(BACKGROUNDS))]
    return Conversion(2**bits - 1, BACKGROUNDS[counts.index(max(counts))])


def is_visible(visible: int, background: int) -> bool:
    """Return False if nothing of an image with `ImageFacts.visible` is seen on a background."""
    return visible == OPAQUE or bool(visible >> BACKGROUNDS.index(background) & 1)


def eight_bit_image(samples: Samples, conversion: Conversion) -> tuple[Image.Image, int]:
    """Return samples as an image of 8 bits, and their highest value of 16 bits (EIGHT_BITS for others).

    Colors of transparent pixels do not count. CMYK is always divided by the whole range.
    """
    values, mode = samples.values, samples.mode
    highest = EIGHT_BITS
    if values.dtype == np.uint16:
        colors, opacity = (values[..., :-1], values[..., -1:]) if mode in ("LA", "RGBA") else (values, None)
        top = MAX_16_BIT if mode == "CMYK" else conversion.max_value
        if mode != "CMYK":
            alphas = (None if opacity is None else opacity[band] for band in bands(values))
            highest = max(map(_highest, (colors[band] for band in bands(values)), alphas), default=0)
        parts = [_scaled(colors, top)] + ([] if opacity is None else [_scaled(opacity, opaque_value(opacity))])
        values = np.concatenate(parts, axis=2)
    pixels = np.ascontiguousarray(values if values.shape[2] > 1 else values[..., 0])
    if mode == "CMYK":
        return Image.frombytes("CMYK", pixels.shape[1::-1], pixels.tobytes()), highest
    return Image.fromarray(pixels), highest


def _scaled(values: IntArray, top: int) -> npt.NDArray[np.uint8]:
    scaled = np.empty(values.shape, dtype=np.uint8)
    for band in bands(values):
        scaled[band] = (np.minimum(values[band], top).astype(np.uint32) * 255 + top // 2) // top
    return scaled


def _highest(colors: IntArray, opacity: IntArray | None) -> int:
    shown = colors if opacity is None else colors[opacity[..., 0] > 0]
    return int(shown.max()) if shown.size else 0


def stretched(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Return integers of 32 bits or floats as 8 bits.

    They are divided by the smallest of 1, 255 and 65535 that is not exceeded (integers: 65535), or stretched to their
    own range if all are exceeded.

    Raises:
        ValueError: A value is not finite.
    """
    parts = (values[band].astype(np.float32) for band in bands(values))
    ends = [(part.min(), part.max()) for part in parts]
    low, high = float(np.min([end[0] for end in ends])), float(np.max([end[1] for end in ends]))
    if not np.isfinite([low, high]).all():
        raise ValueError(_("it has values that are not finite"))
    ranges = (65535.0,) if values.dtype.kind in "iu" else (1.0, 255.0, 65535.0)
    top = next((r for r in ranges if low >= 0 and high <= r), None)
    base, top = (0.0, top) if top is not None else (low, max(high - low, 1e-12))
    pixels = np.empty(values.shape, dtype=np.uint8)
    for band in bands(values):
        numbers = values[band].astype(np.float32)
        pixels[band] = np.rint((numbers - base if base else numbers) * (255 / top)).astype(np.uint8)
    return pixels


def visible_on(image: Image.Image) -> int:
    """Return `ImageFacts.visible` of an image of mode RGBA."""
    if image.getchannel("A").getextrema() == (255, 255):
        return OPAQUE
    step = max(1, int((image.width * image.height / _MEASURED_PIXELS) ** 0.5))
    rows = range(0, image.height, step)
    # An array of a large image takes three times its memory.
    lines = [image] if step == 1 else [image.crop((0, row, image.width, row + 1)) for row in rows]
    values = np.concatenate([np.asarray(line)[:, ::step] for line in lines]).astype(np.int32)
    colors, alpha = values[..., :3], values[..., 3:]
    mask = 0
    for i, background in enumerate(BACKGROUNDS):
        contrast = (np.abs(colors - background) * alpha).max(axis=2)
        is_seen = float(np.mean(contrast >= _MIN_CONTRAST * 255)) > _MIN_VISIBLE_SHARE
        mask |= is_seen << i
    return mask
