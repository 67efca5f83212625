"""Facts about decoded pixels, from one pass over the pixel store: gray, and flat."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.data.parallel import ordered_map
from headstart.data.pixel_store import PixelStore
from headstart.data.pixels import Pixels
from headstart.reporter import ProgressCallback

_SAMPLED_SIDE = 64  # px; a larger image is sampled in steps
_MAX_TINT = 8  # of 255, between the channels of a gray pixel: JPEG files have a little
_MAX_COLORED_SHARE = 0.002  # of the pixels of a gray image
_MAX_FLAT_DEVIATION = 1.5  # of 255, of each channel of an image without content
_PER_TASK = 32
_PROGRESS_STEP = 512


@dataclass(frozen=True)
class PixelFacts:
    """What the pixels of n images say; images that cannot be decoded have False.

    Attributes:
        is_gray: All pixels are gray, bool [n].
        is_flat: All pixels are about equal, bool [n].
    """

    is_gray: npt.NDArray[np.bool_]
    is_flat: npt.NDArray[np.bool_]


def measure_pixels(store: PixelStore, threads: int, progress: ProgressCallback | None = None) -> PixelFacts:
    """Return the facts of each image of a store.

    Args:
        store: The decoded images.
        threads: Number of threads.
        progress: Called with (images done, all images).
    """
    count = len(store)
    facts = PixelFacts(np.zeros(count, np.bool_), np.zeros(count, np.bool_))
    readable = np.flatnonzero(store.sizes[:, 0] > 0)

    def measure(places: npt.NDArray[np.int64]) -> int:
        for i in places.tolist():
            pixels = store[i]
            facts.is_gray[i], facts.is_flat[i] = _is_gray(pixels), _is_flat(pixels)
        return len(places)

    batches = [readable[i : i + _PER_TASK] for i in range(0, len(readable), _PER_TASK)]
    done = 0
    with contextlib.closing(ordered_map(measure, batches, threads)) as results:
        for part in results:
            done += part
            if progress and (done % _PROGRESS_STEP < _PER_TASK or done == len(readable)):
                progress(done, len(readable))
    return facts


def _sampled(pixels: Pixels) -> Pixels:
    step = max(1, min(pixels.shape[:2]) // _SAMPLED_SIDE)
    return pixels[::step, ::step]


def _is_gray(pixels: Pixels) -> bool:
    part = _sampled(pixels)
    tint = part.max(axis=2).astype(np.int16) - part.min(axis=2)
    return float(np.mean(tint > _MAX_TINT)) <= _MAX_COLORED_SHARE


def _is_flat(pixels: Pixels) -> bool:
    return bool(_sampled(pixels).reshape(-1, 3).std(axis=0).max() <= _MAX_FLAT_DEVIATION)
