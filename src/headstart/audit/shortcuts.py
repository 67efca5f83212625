"""Shortcuts: properties beside the content of an image that give its class away.

A linear probe predicts the class from the border, the corners, a thumbnail of 8 x 8 cells, the range of the colors, or
the file's size and format alone. A class that it separates from all others so well is probably marked by how its images
were made or saved (Torralba and Efros 2011,
"Unbiased look at dataset bias"; Geirhos et al. 2020, "Shortcut learning in deep neural networks").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from headstart.audit.cross_validation import Features, Floats, Labels, log_probabilities
from headstart.data.pixels import Pixels


class Property(StrEnum):
    """What a probe sees of an image."""

    BORDER = "border"
    CORNERS = "corners"
    THUMBNAIL = "thumbnail"
    COLORS = "colors"
    FILE = "file"


# F1 of a class from which on it counts as given away. In 3,781 photos of clothing (10 classes, and 4 of them) a class
# reached at most 0.66 from border, corners or colors, 0.85 from the thumbnail (trousers) and 0.62 from the file; the
# margins of enlarged digits, which belong to the content, 0.84. Planted were a border of 3 px of 192 (0.96 to 1), a
# transparent mark in a corner (0.88 to 0.95), a tint of 12 to 15 % (0.78), another format or other sizes (1).
MIN_F1 = {
    Property.BORDER: 0.9,
    Property.CORNERS: 0.85,
    Property.THUMBNAIL: 0.92,
    Property.COLORS: 0.75,
    Property.FILE: 0.8,
}
MIN_GAIN = 0.6  # share of the way from the F1 of a guess to 1, which matters if one class is most of the images
# Shorter side in px of images from which on the property is not the whole content: 8 x 8 digits are their thumbnail.
MIN_SIDE = {Property.BORDER: 16, Property.CORNERS: 32, Property.THUMBNAIL: 32, Property.COLORS: 16}
MIN_CLASSES = 2
MIN_IMAGES = 10  # of a class: with fewer, a recall has an interval of more than ±0.25

_FRAME, _EDGE, _CORNER = 0.04, 0.01, 0.2  # shares of the shorter side
_ALONG = 64  # places along a side, and pixels along the shorter side of a thumbnail: a larger image is sampled in steps
_CELLS = 8  # cells of a thumbnail and of a corner, per side
_COLOR_PIXELS = 500  # pixels of an image whose colors are taken, about
_DARK = 0.1  # added to colors before their ratio, which is noise for dark pixels
_QUANTILES = np.array([0.0, 0.02, 0.25, 0.5, 0.75, 0.98, 1.0])
_MAX_SIZES = 32  # frequent sizes of files that are features of their own


@dataclass(frozen=True)
class GivenAway:
    """A class that a property separates from all others.

    Attributes:
        label: The class.
        recall: Share of its images that are found.
        precision: Share of the images found that are of the class.
        images: Number of its images.
    """

    label: int
    recall: float
    precision: float
    images: int


@dataclass(frozen=True)
class ProbeResult:
    """How well a property predicts the class, cross-validated.

    Attributes:
        accuracy: Share of the images whose class is predicted.
        chance: Share of the images in the largest class.
        recall: Recall of each class at the threshold with its largest F1, [k]; NaN for one of fewer than MIN_IMAGES.
        precision: Precision at the same threshold, [k].
        given_away: Classes that are separated from all others, the clearest first.
    """

    accuracy: float
    chance: float
    recall: tuple[float, ...]
    precision: tuple[float, ...]
    given_away: tuple[GivenAway, ...]


def is_checkable(kind: Property, sizes: npt.NDArray[np.int32]) -> bool:
    """Return True if images of these `sizes` (h, w) [n, 2] are large enough for the property to be a small part."""
    return len(sizes) > 0 and float(np.median(sizes.min(1))) >= MIN_SIDE.get(kind, 0)


def border_features(image: Pixels) -> Features:
    """Return the colors along the four sides of an image uint8 [h, w, 3]: float32 [72].

    Of the outermost 1 % of the shorter side they are the mean, its square and the standard deviation; of the outer 4 %
    the mean, and its absolute difference to the strip further inside. The squares separate a color between others, and
    a plain border has no deviation.
    """
    side = min(image.shape[:2])
    frame, edge = max(1, round(_FRAME * side)), max(1, round(_EDGE * side))
    values: list[Features] = []
    for turned in (image, image[::-1], image.swapaxes(0, 1), image.swapaxes(0, 1)[::-1]):
        rows = turned[: 2 * frame, :: _step(turned.shape[1])].astype(np.float32, order="C")
        rows = rows if len(rows) > frame else np.repeat(rows, 2, axis=0)  # of an image with one row
        means = _mean_rows(rows)  # of each row, [2 frame, 3]
        mean, outer_frame, inner = (_mean_rows(part) for part in (means[:edge], means[:frame], means[frame:]))
        outer = rows[:edge].reshape(-1, 3) - mean
        deviation = np.sqrt(_mean_rows(outer * outer))
        step = _mean_rows(np.abs(rows[edge - 1] - rows[frame]))
        values += [mean, mean * mean / np.float32(255), deviation, outer_frame, np.abs(outer_frame - inner), step]
    return np.concatenate(values) / np.float32(255)


def _step(length: int) -> int:
    return max(1, length // _ALONG)


def _mean_rows(rows: Features) -> Features:
    """Return the mean of [..., n, c] over n; a product is faster than `mean` for short rows."""
    count = rows.shape[-2]
    return np.asarray(np.full(count, 1 / count, dtype=np.float32) @ rows)


def thumbnail_features(image: Pixels) -> Features:
    """Return the mean colors of 8 x 8 cells of an image uint8 [h, w, 3], and their squares: float32 [384]."""
    step = _step(min(image.shape[:2]))
    cells = _cells(image[::step, ::step]).reshape(-1)
    return np.concatenate([cells, cells * cells])


def corner_features(image: Pixels) -> Features:
    """Return the brightness of 8 x 8 cells of the four corners of an image uint8 [h, w, 3]: float32 [256].

    A corner is a fifth of the shorter side wide, and distances are measured from it: a mark has the same cells in
    images of all shapes.
    """
    side = max(_CELLS, round(_CORNER * min(image.shape[:2])))
    corners = [image[rows, columns] for rows in _ends(side) for columns in _ends(side)]
    gray = np.stack([corner.sum(2, dtype=np.uint16) for corner in corners], axis=2)  # equal shapes
    return (_cells(gray) / np.float32(3)).transpose(2, 0, 1).reshape(-1)


def _ends(side: int) -> tuple[slice, slice]:
    return slice(None, side), slice(-side, None)


def _cells(image: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> Features:
    """Return the means of 8 x 8 cells of [h, w, c] over 255, float32 [8, 8, c]."""
    height, width, channels = image.shape
    rows = _cell_weights(height) @ image.astype(np.float32).reshape(height, -1)
    cells: Features = _cell_weights(width) @ rows.reshape(_CELLS, width, channels)
    return cells / np.float32(255)


@lru_cache(maxsize=256)
def _cell_weights(length: int) -> Features:
    """Return the weights of `length` pixels in the mean of each cell, [8, length]; an empty cell is its first pixel."""
    starts = np.arange(_CELLS) * length // _CELLS
    ends = np.maximum(np.append(starts[1:], length), starts + 1)
    place = np.arange(length)
    inside = (place >= starts[:, None]) & (place < ends[:, None])
    weights: Features = (inside / (ends - starts)[:, None]).astype(np.float32)
    return weights


def color_features(image: Pixels) -> Features:
    """Return the ranges of the colors of an image uint8 [h, w, 3], without where they are: float32 [86].

    They are quantiles of each channel and of the ratios of red and blue to green, of about 500 pixels, and the means
    and deviations of the ratios of the grayest and the brightest tenth of them. A tint shifts all of them, and moves
    the top of a channel.
    """
    step = max(1, round((image.shape[0] * image.shape[1] / _COLOR_PIXELS) ** 0.5))
    pixels = image[::step, ::step].reshape(-1, 3).astype(np.float32) / 255
    ratios = np.log((pixels[:, (0, 2)] + _DARK) / (pixels[:, 1:2] + _DARK))
    spread, darkness = pixels.max(1) - pixels.min(1), -pixels.min(1)
    tenth = max(1, len(pixels) // 10)
    grayest, brightest = (ratios[np.argpartition(order, tenth - 1)[:tenth]] for order in (spread, darkness))
    ranked = np.sort(np.vstack([pixels.T, ratios.T]), axis=1)
    quantiles = ranked[:, np.rint(_QUANTILES * (len(pixels) - 1)).astype(int)].reshape(-1)
    ranges = [value for part in (grayest, brightest) for value in _mean_and_deviation(part)]
    flat = np.concatenate([quantiles, *ranges])
    return np.concatenate([flat, flat * flat])


def _mean_and_deviation(rows: Features) -> tuple[Features, Features]:
    mean = _mean_rows(rows)
    centered = rows - mean
    return mean, np.sqrt(_mean_rows(centered * centered)).astype(np.float32)


def file_features(sizes: Sequence[int] | Labels, widths: Labels, heights: Labels, formats: Sequence[str]) -> Features:
    """Return features of n files: float32 [n, d].

    Args:
        sizes: Bytes of each file, [n].
        widths: Widths in px, [n].
        heights: Heights in px, [n].
        formats: Format of each file with all that is said with it, such as its mode or suffix, [n].

    Returns:
        Logarithms of bytes, width, height, aspect ratio and bytes per pixel, with their squares, and indicators of the
        formats and of the most frequent widths, heights and both together.
    """
    count, width, height = (np.maximum(np.asarray(v, dtype=np.float64), 1) for v in (sizes, widths, heights))
    logs = np.log([count, width, height, width / height, count / (width * height)]).T
    logs -= logs.mean(0)
    both = [f"{w}x{h}" for w, h in zip(widths, heights, strict=True)]
    names = [np.asarray(column) for column in (formats, list(map(str, widths)), list(map(str, heights)), both)]
    return np.hstack([logs, logs**2, *map(_indicators, names)]).astype(np.float32)


def _indicators(names: npt.NDArray[np.str_]) -> Floats:
    """Return one column for each of the most frequent names, [n, up to 32]."""
    values, counts = np.unique(names, return_counts=True)
    frequent = values[np.argsort(-counts, kind="stable")[:_MAX_SIZES]]
    columns: Floats = (names[:, None] == frequent).astype(np.float64)
    return columns


def probe(
    kind: Property, features: Features, labels: Labels, groups: Labels, *, classes: int, seed: int = 0
) -> ProbeResult:
    """Return how well `features` of a property predict the class, cross-validated with whole groups in each fold.

    Classes of fewer than MIN_IMAGES images are one class together. Nothing is checked unless two classes have images.

    Args:
        kind: The property, which decides the threshold.
        features: Features, float32 [n, d].
        labels: Classes, int64 [n].
        groups: Numbers of the groups, int64 [n].
        classes: Number of classes, k.
        seed: Seed of the folds.
    """
    large = np.flatnonzero(np.bincount(labels, minlength=classes) >= MIN_IMAGES)
    recall, precision = np.full(classes, np.nan), np.full(classes, np.nan)
    own = _numbered(labels, large)
    logs, covered = log_probabilities(features, own, groups, classes=len(large) + 1, seed=seed)
    logs, own = logs[covered], own[covered]
    counts = np.bincount(own, minlength=len(large) + 1)
    if np.count_nonzero(counts) < MIN_CLASSES:
        return ProbeResult(float("nan"), float("nan"), tuple(recall.tolist()), tuple(precision.tolist()), ())
    given = []
    for number, k in enumerate(large.tolist()):
        recall[k], precision[k] = _best_cut(_log_odds(logs[:, number]), own == number)
        enough = counts[number] >= MIN_IMAGES
        if enough and _is_given_away(kind, recall[k], precision[k], counts[number] / len(own)):
            given.append(GivenAway(k, float(recall[k]), float(precision[k]), int(counts[number])))
    given.sort(key=lambda one: -_f1(one.recall, one.precision))
    accuracy = float(np.mean(logs.argmax(1) == own))
    chance = float(counts.max() / len(own))
    return ProbeResult(accuracy, chance, tuple(recall.tolist()), tuple(precision.tolist()), tuple(given))


def _numbered(labels: Labels, large: Labels) -> Labels:
    """Return the position of each label in `large`, and len(large) for all others: they are one class."""
    place = np.searchsorted(large, labels)
    known = place < len(large)
    known[known] = large[place[known]] == labels[known]
    return np.where(known, place, len(large))


def _log_odds(logs: Floats) -> Floats:
    return logs - np.log(np.maximum(-np.expm1(np.minimum(logs, 0)), 1e-300))


def _f1(recall: float, precision: float) -> float:
    return 2 * recall * precision / (recall + precision) if recall + precision > 0 else 0.0


def _is_given_away(kind: Property, recall: float, precision: float, share: float) -> bool:
    f1, guess = _f1(recall, precision), 2 * share / (1 + share)  # a guess names every image
    return f1 >= max(MIN_F1[kind], guess + MIN_GAIN * (1 - guess))


def _best_cut(scores: Floats, members: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return recall and precision of "score at least t" for the threshold t with the largest F1."""
    positives = int(members.sum())
    if not positives:
        return float("nan"), float("nan")
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    hits = np.cumsum(members[order])
    named = np.arange(1, len(scores) + 1)
    last = np.append(ordered[1:] < ordered[:-1], True)  # equal scores are on one side of a threshold
    f1 = np.where(last, 2 * hits / (named + positives), -1.0)
    best = int(np.argmax(f1))
    return float(hits[best] / positives), float(hits[best] / named[best])
