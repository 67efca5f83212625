"""Read which images each run classified correctly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError


@dataclass(frozen=True)
class Correctness:
    """What a model said about the images of one split, in their order: `right` [m] of 0 and 1, and the true labels."""

    images: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    right: npt.NDArray[np.int8]


@dataclass(frozen=True)
class Predictions:
    """What a run's best model said of one split: image ids [m], true labels [m], and logits [m, classes].

    Raises ValueError where they do not fit each other.
    """

    images: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        same = len(self.images) == len(self.labels) == len(self.logits)
        if not same or self.logits.ndim != 2 or not self.logits.shape[1]:
            raise ValueError("its parts do not fit each other")

    @property
    def said(self) -> npt.NDArray[np.int64]:
        """The class with the largest logit, [m]."""
        said: npt.NDArray[np.int64] = self.logits.argmax(axis=1)
        return said


def predictions(run: Path, split: str) -> Predictions:
    """Those of a run's folder on `split`. Raises DataError where there are none that can be read."""
    path = run / "artifacts" / "predictions.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            here = arrays["split"] == split
            images, labels, logits = (arrays[name][here] for name in ("image", "label", "logits"))
            return Predictions(tuple(map(str, images)), labels.astype(np.int64), logits.astype(np.float32))
    except Exception as error:  # what numpy raises depends on the byte that has changed: a TokenError, a zlib.error
        raise DataError(f"{path} cannot be read ({error}).", "Delete the run's folder and resume the study.") from None
