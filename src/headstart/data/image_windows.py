"""Describe parts of images by short vectors, so that similar parts of two images have similar vectors.

A window is a part of an image that another image may show: cropped by up to 10 % of each side, mirrored or turned. Its
descriptor has the means of a grid of fields, without mean and contrast, in whitened principal components.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

BATCH = 512  # images, or pairs, that are computed at once
_GRID = 12
_DIMENSIONS = 48

_RIDGE = 0.05  # of the mean variance, which is added before whitening
_INTERVALS = ((0.0, 1.0), (0.0, 0.9), (0.1, 1.0), (0.05, 0.95))  # of height and of width
_QUARTER_TURNS = 4


@dataclass(frozen=True)
class Window:
    """A part of an image: rows `top` to `bottom` and columns `left` to `right` as shares, after turns and mirroring."""

    turns: int
    is_mirrored: bool
    top: float = 0.0
    bottom: float = 1.0
    left: float = 0.0
    right: float = 1.0

    @property
    def sides(self) -> tuple[float, float, float, float]:
        """Top, bottom, left and right."""
        return self.top, self.bottom, self.left, self.right

    def oriented(self, squares: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return square images [n, side, side] turned and mirrored."""
        turned = np.rot90(squares, self.turns, axes=(1, 2))
        return turned[:, :, ::-1] if self.is_mirrored else turned


def _windows() -> tuple[Window, ...]:
    cropped = [
        Window(0, mirrored, *rows, *columns)
        for mirrored, rows, columns in itertools.product((False, True), _INTERVALS, _INTERVALS)
    ]
    turned = [Window(turns, mirrored) for turns in range(1, _QUARTER_TURNS) for mirrored in (False, True)]
    return (*cropped, *turned)


WINDOWS = _windows()  # the first one is the whole image


def oriented_as(squares: npt.NDArray[Any], numbers: Integers) -> Floats:
    """Return square images [n, side, side], each turned and mirrored as the window with its number."""
    oriented = squares.astype(np.float32)
    for number in np.unique(numbers):
        chosen = numbers == number
        oriented[chosen] = WINDOWS[number].oriented(oriented[chosen])
    return oriented


def batches(count: int, size: int = BATCH) -> Iterator[slice]:
    """Return slices of at most `size` items."""
    return (slice(start, start + size) for start in range(0, count, size))


def rank(groups: Integers) -> Integers:
    """Return the rank of each item within its group; items of a group are beside each other."""
    is_first = np.ones(len(groups), np.bool_)
    is_first[1:] = groups[1:] != groups[:-1]
    places = np.arange(len(groups))
    return places - np.maximum.accumulate(np.where(is_first, places, 0))


def reduced(squares: npt.NDArray[Any], side: int) -> Floats:
    """Return the means of equal squares of pixels: [n, side, side]."""
    width = squares.shape[1] // side
    averages = np.repeat(np.eye(side, dtype=np.float32), width, axis=0) / np.float32(width)
    means: Floats = averages.T @ squares.astype(np.float32) @ averages
    return means


@dataclass(frozen=True)
class DescriptorSpace:
    """Whitened principal components of the descriptors of a set of images.

    Attributes:
        mean: Mean of the fields.
        axes: Principal components, each divided by its standard deviation.
    """

    mean: Floats
    axes: Floats

    @classmethod
    def of(cls, squares: Floats) -> DescriptorSpace:
        """Return the space of square images [n, side, side]."""
        fields = _fields(squares, WINDOWS[0])
        values, vectors = np.linalg.eigh(np.cov(fields.T.astype(np.float64), bias=True))
        values, vectors = values[::-1][:_DIMENSIONS], vectors[:, ::-1][:, :_DIMENSIONS]
        scale = np.sqrt(np.maximum(values, 0) + _RIDGE * max(float(values.mean()), 1e-12))
        return cls(fields.mean(axis=0, dtype=np.float64).astype(np.float32), (vectors / scale).astype(np.float32))

    def describe(self, squares: Floats, window: Window) -> Floats:
        """Return descriptors of unit length [n, dimensions] of a window of square images [n, side, side]."""
        components: Floats = np.matmul(_fields(squares, window) - self.mean, self.axes)
        return _unit(components)


def _fields(squares: Floats, window: Window) -> Floats:
    """Return the means of a grid of fields of a window, without mean and contrast: [n, _GRID ** 2]."""
    oriented, side = window.oriented(squares), squares.shape[1]
    rows, columns = _averages(window.top, window.bottom, side), _averages(window.left, window.right, side)
    fields: Floats = (rows @ oriented @ columns.T).reshape(len(squares), -1)
    fields -= fields.mean(axis=1, keepdims=True)
    return _unit(fields)


def _averages(begin: float, end: float, side: int) -> Floats:
    """Return the matrix [_GRID, side] that averages equal fields of the interval."""
    edges = np.linspace(begin * side, end * side, _GRID + 1)
    pixels = np.arange(side)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    overlap = np.maximum(overlap, 0)
    averages: Floats = (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)
    return averages


def _unit(vectors: Floats) -> Floats:
    units: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-6))
    return units
