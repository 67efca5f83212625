"""Read the predictions of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError, HeadstartError
from headstart.i18n import _
from headstart.metrics.top_logits import ARRAYS, TOP_PREFIX, Logits, TopLogits, predicted_classes
from headstart.storage.arrays import read_npz
from headstart.storage.run_files import PREDICTIONS_FILE
from headstart.text import message_of

MAX_BYTES = 4_000_000_000  # a million images of a thousand classes, all of whose logits are kept


@dataclass(frozen=True)
class Predictions:
    """Predictions of a run's best model on one split: image ids [m], true labels [m], logits, copies [m] and units [m].

    `contents` are the hashes of the images' content [m]; empty in predictions that do not have them.
    The logits are [m, classes] or, of many classes, the largest ones. `copies` is True for an image of which the run
    has a copy in another split. `units` has the number of each image's unit, in order of appearance: images of one
    group and near-duplicates are one unit.

    Raises:
        ValueError: The shapes do not match, or a label is the index of no class.
    """

    images: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    logits: Logits
    copies: npt.NDArray[np.bool_]
    units: npt.NDArray[np.int64]
    contents: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        arrays = (self.labels, self.logits, self.copies, self.units)
        same_length = {len(self.images)} == {len(array) for array in arrays}
        same_length &= not self.contents or len(self.contents) == len(self.images)
        full = isinstance(self.logits, TopLogits) or (self.logits.ndim == 2 and self.logits.shape[1])
        if not same_length or not full:
            raise ValueError(_("the shapes of its arrays do not match"))
        count = self.logits.class_count if isinstance(self.logits, TopLogits) else self.logits.shape[1]
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < count:
            raise ValueError(_("a label is the index of no class"))

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Class with the largest logit, [m]."""
        return predicted_classes(self.logits)

    @property
    def correct(self) -> npt.NDArray[np.int8]:
        """1 for each image whose predicted class is its label, else 0; [m]."""
        return np.asarray(self.predicted == self.labels, dtype=np.int8)


def read_predictions(run: Path, split: str) -> Predictions:
    """Read the predictions of the run in folder `run` on `split`.

    Raises:
        DataError: The file is missing or damaged.
    """
    path = run / PREDICTIONS_FILE
    try:
        return _of_split(read_npz(run, PREDICTIONS_FILE, MAX_BYTES), split)
    except (HeadstartError, OSError, ValueError, KeyError, IndexError, TypeError) as error:  # of arrays of other shapes
        reason = error.message if isinstance(error, HeadstartError) else message_of(error)
        raise DataError(
            _("{path} cannot be read ({reason}).", path=path, reason=reason),
            _("Delete the run's folder and resume the study."),
        ) from None


def _of_split(arrays: Mapping[str, npt.NDArray[Any]], split: str) -> Predictions:
    """Return the predictions on one split. Raises KeyError, ValueError, IndexError and TypeError."""
    rows = arrays["split"] == split
    images, labels, copies, units = (arrays[name][rows] for name in ("image", "label", "copy", "unit"))
    logits: Logits
    if "logits" in arrays:
        logits = arrays["logits"][rows].astype(np.float32)
    else:
        logits = TopLogits(len(arrays["classes"]), *(arrays[TOP_PREFIX + name][rows] for name in ARRAYS))
    return Predictions(
        tuple(map(str, images)),
        labels.astype(np.int64),
        logits,
        copies.astype(np.bool_),
        _in_order_of_appearance(units),
        tuple(map(str, arrays["content"][rows])) if "content" in arrays else (),
    )


def _in_order_of_appearance(numbers: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return numbers [m] renumbered from 0 in the order in which they first occur."""
    _unused, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)
