"""Read the predictions of runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError


@dataclass(frozen=True)
class Predictions:
    """Predictions of a run's best model on one split: image ids [m], true labels [m], and logits [m, classes].

    Raises:
        ValueError: The shapes do not match.
    """

    images: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        same_length = len(self.images) == len(self.labels) == len(self.logits)
        if not same_length or self.logits.ndim != 2 or not self.logits.shape[1]:
            raise ValueError("the shapes of its arrays do not match")

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Class with the largest logit, [m]."""
        classes: npt.NDArray[np.int64] = self.logits.argmax(axis=1)
        return classes

    @property
    def correct(self) -> npt.NDArray[np.int8]:
        """1 for each image whose predicted class is its label, else 0; [m]."""
        return np.asarray(self.predicted == self.labels, dtype=np.int8)


def read_predictions(run: Path, split: str) -> Predictions:
    """Read the predictions of the run in folder `run` on `split`.

    Raises:
        DataError: The file is missing or damaged.
    """
    path = run / "artifacts" / "predictions.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            rows = arrays["split"] == split
            images, labels, logits = (arrays[name][rows] for name in ("image", "label", "logits"))
            return Predictions(tuple(map(str, images)), labels.astype(np.int64), logits.astype(np.float32))
    except Exception as error:  # numpy's error type depends on the damaged byte: a TokenError, a zlib.error
        raise DataError(f"{path} cannot be read ({error}).", "Delete the run's folder and resume the study.") from None
