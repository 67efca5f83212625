"""Align square images by position and size of a window, and compare their fine detail.

The windows are found by the inverse compositional Gauss-Newton method (Baker and Matthews 2004), at growing resolution.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.data.candidates import DESCRIBED_SIDE, Hits
from headstart.data.image_detail import blurred, detail
from headstart.data.image_windows import WINDOWS, DescriptorSpace, Floats, Integers, oriented_as, rank, reduced
from headstart.reporter import ProgressCallback

Doubles = npt.NDArray[np.float64]

_PAIRS = 64  # at once: their images fit in the cache of a core
_STAGES = ((16, 5, 2), (32, 3, 1))  # side, steps, and windows of a pair that are kept
_FINAL_STEPS = 2
_MIN_SCORE = 0.65  # cosine of the descriptors of aligned images
_MIN_COARSE = 0.5
_BLUR_RADIUS = 1  # px
_BLURRED_EXCESS = 0.3  # of the correlation of different photos if they are blurred, in units of Fisher's z
_MAX_STEP = 0.04  # in widths
_LOWEST = (-0.2, 0.65, -0.2, 0.65)  # top, bottom, left and right of a window
_HIGHEST = (0.35, 1.2, 0.35, 1.2)
_DAMPING = 2.5e-4  # of the trace


def similarities(
    squares: npt.NDArray[np.uint8], hits: Hits, space: DescriptorSpace, threads: int, progress: ProgressCallback
) -> tuple[Integers, Integers, Floats]:
    """Return (image, target, similarity) of the pairs of hits: the correlation of the detail of both images.

    Args:
        squares: Images [n, side, side].
        hits: Windows to begin with, sorted by pair.
        space: Descriptor space of the images. Aligned images whose descriptors differ have in common only what most
            images have, such as the layout of screenshots; their similarity is -1.
        threads: Number of threads.
        progress: Called with (hits done, all hits).
    """
    is_first = np.r_[True, np.diff(hits.pair_codes()) != 0] if len(hits) else np.empty(0, np.bool_)
    starts = np.flatnonzero(is_first)
    parts = [np.arange(begin, end) for begin, end in itertools.pairwise(np.r_[starts[::_PAIRS], len(hits)])]
    results: list[Floats] = []
    with ThreadPoolExecutor(threads) as pool:
        work = pool.map(lambda part: _similarity(squares, hits.chosen(part), space), parts)
        for part, result in zip(parts, work, strict=True):
            results.append(result)
            progress(int(part[-1]) + 1, len(hits))
    similarity = np.concatenate([np.empty(0, np.float32), *results])
    return hits.images[starts], hits.targets[starts], similarity


def _similarity(squares: npt.NDArray[np.uint8], hits: Hits, space: DescriptorSpace) -> Floats:
    """Return the similarity of each pair of the hits; -1 if it is low at half the side."""
    moving, fixed = oriented_as(squares[hits.images], hits.windows), squares[hits.targets].astype(np.float32)
    window, pairs = np.array([WINDOWS[number].sides for number in hits.windows]), hits.pair_codes()
    for side, steps, kept in _STAGES:
        small, other = reduced(moving, side), reduced(fixed, side)
        window = align(small, other, window, steps)
        coarse = detail_correlation(small, other, window)
        order = np.lexsort((-coarse, pairs))
        best = order[rank(pairs[order]) < kept]
        moving, fixed, window, pairs, coarse = moving[best], fixed[best], window[best], pairs[best], coarse[best]
    result = np.full(len(pairs), -1, np.float32)
    good = np.flatnonzero(coarse >= _MIN_COARSE)
    if len(good):
        moving, fixed = moving[good], fixed[good]
        window = align(moving, fixed, window[good], _FINAL_STEPS)
        warped = reduced(_warped(moving, window)[0], DESCRIBED_SIDE)
        first, second = (space.describe(images, WINDOWS[0]) for images in (warped, reduced(fixed, DESCRIBED_SIDE)))
        is_near = np.einsum("nd,nd->n", first, second) >= _MIN_SCORE
        result[good] = np.where(is_near, detail_similarity(moving, fixed, window), -1)
    return result


def align(moving: Floats, fixed: Floats, window: Doubles, steps: int) -> Doubles:
    """Return the windows [n, 4] (top, bottom, left, right) of `moving` that match `fixed`.

    Args:
        moving: Images [n, side, side] whose windows are sought.
        fixed: Images [n, side, side] that the windows are to match.
        window: Windows to begin with.
        steps: Gauss-Newton steps.
    """
    target = _standardized(fixed)
    slopes = _Slopes.of(target)
    for _ in range(steps):
        warped, inside = _warped(moving, window)
        step = slopes.steps((_standardized(warped) - target) * inside)
        window = np.clip(_without_step(window, np.clip(step, -_MAX_STEP, _MAX_STEP)), _LOWEST, _HIGHEST)
    return window


def _without_step(window: Doubles, step: Doubles) -> Doubles:
    """Return the windows after the inverse of a change of `step` to the sides of the whole image."""
    begin, end = window[:, ::2], window[:, 1::2]
    begin_step, end_step = step[:, ::2], step[:, 1::2]
    scale = (end - begin) / (1 + end_step - begin_step)
    moved = np.empty_like(window)
    moved[:, ::2], moved[:, 1::2] = begin - begin_step * scale, begin + (1 - begin_step) * scale
    return moved


@dataclass(frozen=True)
class _Slopes:
    """Derivatives of images by the four sides of their windows: those by rows and columns, times two ramps.

    Neither a change of brightness nor one of contrast moves a window: both are projected out.

    Attributes:
        rows: Derivatives by the row [n, side, side], per height.
        columns: Derivatives by the column, per width.
        ramps: Share of a move of the begin and of the end that a row or column follows, [side, 2].
        target: The images, standardized.
        inverse: Inverse of the damped normal matrices [n, 4, 4].
    """

    rows: Floats
    columns: Floats
    ramps: Floats
    target: Floats
    inverse: Doubles

    @classmethod
    def of(cls, target: Floats) -> _Slopes:
        count, side = target.shape[:2]
        rows, columns = np.empty_like(target), np.empty_like(target)
        rows[:, 1:-1], columns[:, :, 1:-1] = target[:, 2:] - target[:, :-2], target[:, :, 2:] - target[:, :, :-2]
        rows[:, 0], rows[:, -1] = 2 * (target[:, 1] - target[:, 0]), 2 * (target[:, -1] - target[:, -2])
        columns[:, :, 0] = 2 * (target[:, :, 1] - target[:, :, 0])
        columns[:, :, -1] = 2 * (target[:, :, -1] - target[:, :, -2])
        rows *= np.float32(side / 2)
        columns *= np.float32(side / 2)
        share = ((np.arange(side) + 0.5) / side).astype(np.float32)
        ramps: Floats = np.stack([1 - share, share], axis=1)
        squares = (ramps[:, :, None] * ramps[:, None, :]).reshape(side, 4)
        normal = np.empty((count, 4, 4))
        normal[:, :2, :2] = (np.einsum("nij,nij->ni", rows, rows) @ squares).reshape(count, 2, 2)
        normal[:, 2:, 2:] = (np.einsum("nij,nij->nj", columns, columns) @ squares).reshape(count, 2, 2)
        normal[:, :2, 2:] = ramps.T @ (rows * columns) @ ramps
        normal[:, 2:, :2] = normal[:, :2, 2:].transpose(0, 2, 1)
        for weights in (np.ones_like(target), target):
            shift = _products(rows, columns, weights, ramps)
            normal -= shift[:, :, None] * shift[:, None, :] / side**2
        normal += np.eye(4) * (_DAMPING * np.trace(normal, axis1=1, axis2=2) + 1e-6)[:, None, None]
        inverse = np.linalg.inv(normal).astype(np.float64, copy=False)
        return cls(rows, columns, ramps, target, inverse)

    def steps(self, residual: Floats) -> Doubles:
        """Return the changes [n, 4] of the sides that lower the residual [n, side, side]."""
        size = self.target[0].size
        residual = residual - residual.mean(axis=(1, 2), keepdims=True)
        contrast = np.einsum("nij,nij->n", residual, self.target) / np.float32(size)
        residual -= contrast[:, None, None] * self.target
        products = _products(self.rows, self.columns, residual, self.ramps)
        changes: Doubles = (self.inverse @ products[:, :, None])[:, :, 0]
        return changes


def _products(rows: Floats, columns: Floats, weights: Floats, ramps: Floats) -> Doubles:
    """Return the sums [n, 4] of the derivatives by the sides, times weights."""
    by_row, by_column = np.einsum("nij,nij->ni", rows, weights), np.einsum("nij,nij->nj", columns, weights)
    return np.concatenate([by_row @ ramps, by_column @ ramps], axis=1).astype(np.float64)


def _standardized(images: Floats) -> Floats:
    """Return images with mean 0 and standard deviation 1."""
    centered = images - images.mean(axis=(1, 2), keepdims=True)
    deviation = np.sqrt(np.einsum("nij,nij->n", centered, centered) / centered[0].size)
    standardized: Floats = centered / (deviation[:, None, None] + np.float32(1e-3))
    return standardized


def _warped(images: Floats, window: Doubles) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return windows of images, and which of their pixels lie inside of the images."""
    rows, row_inside = _samplers(window[:, 0], window[:, 1], images.shape[1])
    columns, column_inside = _samplers(window[:, 2], window[:, 3], images.shape[1])
    warped: Floats = np.matmul(rows @ images, columns.transpose(0, 2, 1))
    return warped, row_inside[:, :, None] & column_inside[:, None, :]


def _samplers(begin: Doubles, end: Doubles, side: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return matrices [n, side, side] that sample intervals linearly, and which samples lie inside."""
    centers = (np.arange(side) + 0.5) / side
    place = (begin[:, None] + (end - begin)[:, None] * centers) * side - 0.5
    inside = (place > -0.5) & (place < side - 0.5)
    place = np.clip(place, 0, side - 1)
    left = np.clip(place.astype(np.int64), 0, side - 2)
    share = (place - left).astype(np.float32)
    matrices = np.zeros((len(begin), side, side), np.float32)
    image, row = np.arange(len(begin))[:, None], np.arange(side)[None, :]
    matrices[image, row, left] = 1 - share
    matrices[image, row, left + 1] += share
    return matrices, inside


def detail_similarity(moving: Floats, fixed: Floats, window: Doubles) -> Floats:
    """Return the larger of two correlations [n] of detail: that of the images, and a lowered one of blurred images.

    The finest detail of two thumbnails of one photo differs if the photo has stripes or fabric near the sampling limit:
    it depends on the exact crop. That of blurred images does not, but different photos have more of it in common.
    """
    coarser = detail_correlation(blurred(moving, _BLUR_RADIUS), blurred(fixed, _BLUR_RADIUS), window)
    lowered = np.tanh(np.arctanh(np.minimum(coarser, np.float32(0.999))) - np.float32(_BLURRED_EXCESS))
    return np.maximum(detail_correlation(moving, fixed, window), lowered)


def detail_correlation(moving: Floats, fixed: Floats, window: Doubles) -> Floats:
    """Return the correlation [n] of the detail of windows of `moving` with that of `fixed`, where both have pixels."""
    warped, inside = _warped(moving, window)
    first = _masked(detail(warped), inside)
    second = _masked(detail(fixed), inside)
    products = (first * second).sum(axis=(1, 2))
    norms = np.sqrt((first**2).sum(axis=(1, 2)) * (second**2).sum(axis=(1, 2)))
    correlation: Floats = products / (norms + np.float32(1e-6))
    return correlation


def _masked(images: Floats, inside: npt.NDArray[np.bool_]) -> Floats:
    """Return images without their mean over the pixels inside, and zero elsewhere."""
    count = np.maximum(np.count_nonzero(inside, axis=(1, 2), keepdims=True), 1).astype(np.float32)
    mean = (images * inside).sum(axis=(1, 2), keepdims=True) / count
    masked: Floats = (images - mean) * inside
    return masked
