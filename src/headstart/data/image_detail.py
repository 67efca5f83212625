"""Measure the fine detail of thumbnails: what tells similar scenes apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headstart.data.image_windows import Floats, batches

_RADIUS = 2  # px, of the mean that detail is the difference to
_BLOCK = 8  # px
_MIN_CORNER = 0.1  # smaller eigenvalue of the structure tensor of a block, relative to the mean trace of the blocks


def blurred(images: Floats, radius: int) -> Floats:
    """Return the means of squares of 2 radius + 1 px around each pixel, with repeated edges."""
    side = images.shape[1]
    distance = np.arange(side)[:, None] - np.arange(-radius, side + radius)[None, :]
    near = (np.abs(distance) <= radius).astype(np.float32) / np.float32(2 * radius + 1)
    averages = near[:, radius : radius + side].copy()
    averages[:, 0] += near[:, :radius].sum(axis=1)
    averages[:, -1] += near[:, radius + side :].sum(axis=1)
    means: Floats = averages @ images @ averages.T
    return means


def detail(images: Floats) -> Floats:
    """Return images without what is smooth in them."""
    return images - blurred(images, _RADIUS)


def detail_deviation(squares: npt.NDArray[np.uint8]) -> Floats:
    """Return the standard deviation of the detail of each square image [n, side, side], in gray levels."""
    parts = (detail(squares[part].astype(np.float32)).std(axis=(1, 2)) for part in batches(len(squares)))
    return np.concatenate([np.empty(0, np.float32), *parts])


def corner_count(squares: npt.NDArray[np.uint8]) -> Floats:
    """Return the number of blocks of each square image [n, side, side] that have a corner or texture.

    Along a straight edge the place of a window is not determined; where the structure tensor has two large eigenvalues
    it is (Shi and Tomasi 1994). Photos have many such blocks; icons, letters and drawings have few. A block whose
    smaller eigenvalue is below the threshold counts in part.
    """
    parts = (_corner_count(squares[part]) for part in batches(len(squares)))
    return np.concatenate([np.empty(0, np.float32), *parts])


def _corner_count(squares: npt.NDArray[np.uint8]) -> Floats:
    smooth = blurred(squares.astype(np.float32), 1)
    rows, columns = np.zeros_like(smooth), np.zeros_like(smooth)
    rows[:, 1:-1, 1:-1] = smooth[:, 2:, 1:-1] - smooth[:, :-2, 1:-1]
    columns[:, 1:-1, 1:-1] = smooth[:, 1:-1, 2:] - smooth[:, 1:-1, :-2]
    by_row, by_column, mixed = _block_sums(rows * rows), _block_sums(columns * columns), _block_sums(rows * columns)
    trace = by_row + by_column
    smaller = trace / 2 - np.sqrt((by_row - by_column) ** 2 / 4 + mixed**2)
    limit = _MIN_CORNER * trace.mean(axis=(1, 2), keepdims=True) + np.float32(1e-6)
    count: Floats = np.minimum(smaller / limit, 1).sum(axis=(1, 2))
    return count


def _block_sums(images: Floats) -> Floats:
    blocks = images.shape[1] // _BLOCK
    sums: Floats = images.reshape(len(images), blocks, _BLOCK, blocks, _BLOCK).sum(axis=(2, 4))
    return sums
