"""Confusion counts: how many images of each true class got each prediction, without the cells that are zero.

The matrix of k classes has k² cells, and at most as many of them as there are images are not zero. Only these are kept,
in memory and in files, for every number of classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from headstart.i18n import _

MAX_CLASSES = 1_000_000  # of a matrix whose totals are made; ImageNet-21k has 21,841
MAX_COUNT = 1 << 53  # images in a cell: integers up to here are exact in every reader of JSON


class ConfusionCounts(BaseModel):
    """The cells of a confusion matrix that are not zero, row by row: ascending true class, then predicted class."""

    # settings of storage.schemas.schema.Schema, which is in a higher layer: the counts are written to files
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, json_schema_serialization_defaults_required=True
    )

    classes: int = Field(ge=0, le=MAX_CLASSES, description="number of classes")
    true: list[int] = Field(description="index of the true class of each cell that is not zero")
    predicted: list[int] = Field(description="index of the predicted class of each of these cells")
    counts: list[int] = Field(description="number of images in each of these cells")

    @model_validator(mode="after")
    def _require_cells_in_order(self) -> Self:
        """Raise ValueError unless the lists are cells of a matrix of this size, each once and in order."""
        if not len(self.true) == len(self.predicted) == len(self.counts):
            raise ValueError(_("the lists have different lengths"))
        if not self.counts:
            return self
        if min(self.counts) < 1:
            raise ValueError(_("a count is below 1"))
        if sum(self.counts) > MAX_COUNT:
            raise ValueError(_("the counts are too large"))
        if min(*self.true, *self.predicted) < 0 or max(*self.true, *self.predicted) >= self.classes:
            raise ValueError(_("a class is not below the number of classes"))
        cells = list(zip(self.true, self.predicted, strict=True))
        if any(first >= second for first, second in itertools.pairwise(cells)):
            raise ValueError(_("the cells are not in row-major order"))
        return self

    @classmethod
    def of_labels(cls, labels: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> Self:
        """Count images.

        Args:
            labels: True classes, [m].
            predicted: Predicted classes, [m].
            classes: Number of classes.
        """
        cells, counts = np.unique(np.asarray(labels, np.int64) * classes + np.asarray(predicted), return_counts=True)
        true, guesses = np.divmod(cells, max(classes, 1))
        return cls(classes=classes, true=true.tolist(), predicted=guesses.tolist(), counts=counts.tolist())

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(self.counts)

    @property
    def correct(self) -> int:
        """Number of images whose prediction is their class."""
        cells = zip(self.true, self.predicted, self.counts, strict=True)
        return sum(count for true, predicted, count in cells if true == predicted)

    @property
    def true_totals(self) -> npt.NDArray[np.int64]:
        """Number of images of each class, [classes]."""
        return self._totals(self.true)

    @property
    def predicted_totals(self) -> npt.NDArray[np.int64]:
        """Number of predictions of each class, [classes]."""
        return self._totals(self.predicted)

    def errors(self) -> list[tuple[int, int, int]]:
        """Return (count, true, predicted) of the cells of wrong predictions, the most frequent first."""
        cells = zip(self.counts, self.true, self.predicted, strict=True)
        wrong = [(count, true, predicted) for count, true, predicted in cells if true != predicted]
        return sorted(wrong, key=lambda cell: -cell[0])

    def block(self, classes: Sequence[int]) -> npt.NDArray[np.int64]:
        """Return the counts [true, predicted] of chosen classes, in their order, zeros included."""
        position = {label: index for index, label in enumerate(classes)}
        table = np.zeros((len(classes), len(classes)), dtype=np.int64)
        for true, predicted, count in zip(self.true, self.predicted, self.counts, strict=True):
            if true in position and predicted in position:
                table[position[true], position[predicted]] = count
        return table

    def _totals(self, labels: Sequence[int]) -> npt.NDArray[np.int64]:
        totals = np.zeros(self.classes, dtype=np.int64)
        np.add.at(totals, np.asarray(labels, dtype=np.int64), np.asarray(self.counts, dtype=np.int64))
        return totals
