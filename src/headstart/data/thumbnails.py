"""Read gray thumbnails of image files, from which near-duplicates are found.

They are made from the files and not from the pixel store, so that they depend neither on the image size of a run nor on
the other images of its data set.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from headstart.data.conversion import DEFAULT_CONVERSION, choose_conversion
from headstart.data.decode import ImageFileError, suppress_pillow_warnings
from headstart.data.image_windows import Integers
from headstart.data.parallel import ordered_map
from headstart.data.store_builder import DecodeFailure, read_image
from headstart.reporter import ProgressCallback

SIDE = 64  # of a thumbnail, px
MIN_SIDE = 24  # of an image that is reduced to SIDE; smaller ones have too little detail
_FILES_PER_TASK = 32

Square = npt.NDArray[np.uint8]


def thumbnail(pixels: npt.NDArray[np.uint8]) -> Square:
    """Return the gray thumbnail, uint8 [SIDE, SIDE], of an image uint8 [h, w, 3]; its shape is not kept."""
    image = Image.fromarray(pixels).convert("L")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))  # a box filter would leave aliasing


def read_thumbnails(
    files: Sequence[tuple[str, Path]], threads: int, progress: ProgressCallback
) -> tuple[Integers, npt.NDArray[np.uint8]]:
    """Return positions and thumbnails of the files that can be compared: int64 [n] and uint8 [n, SIDE, SIDE].

    Left out are files that cannot be decoded, and images that are below MIN_SIDE when the shorter side is reduced to
    SIDE, or the longer one to 4 SIDE.

    Args:
        files: Content hash and path of each file.
        threads: Number of threads.
        progress: Called with (files done, all files).

    Raises:
        ImageFileError: A file has changed or cannot be read any more.
    """
    squares = np.empty((len(files), SIDE, SIDE), np.uint8)
    places: list[int] = []
    batches = [files[begin : begin + _FILES_PER_TASK] for begin in range(0, len(files), _FILES_PER_TASK)]
    done = 0
    with (
        suppress_pillow_warnings(),
        contextlib.closing(ordered_map(lambda batch: [_read(*file) for file in batch], batches, threads)) as results,
    ):
        for batch in results:
            for place, square in enumerate(batch, done):
                if square is not None:
                    squares[len(places)] = square
                    places.append(place)
            done += len(batch)
            progress(done, len(files))
    return np.array(places, dtype=np.int64), squares[: len(places)]


def _read(content: str, path: Path) -> Square | None:
    """Return the thumbnail of a file; None if it cannot be decoded or is too small."""
    decoded = read_image(path, content, SIDE, DEFAULT_CONVERSION)
    if not isinstance(decoded, DecodeFailure):
        own = choose_conversion([decoded.facts.max_value], [decoded.facts.visible])
        if own != DEFAULT_CONVERSION:  # that of the data set depends on the other images
            decoded = read_image(path, content, SIDE, own)
    if isinstance(decoded, DecodeFailure):
        if decoded.permanent:
            return None
        raise ImageFileError(decoded.of(str(path)), decoded.hint)
    return thumbnail(decoded.pixels) if min(decoded.pixels.shape[:2]) >= MIN_SIDE else None
