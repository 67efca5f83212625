"""Read the predictions of runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError
from headstart.i18n import _
from headstart.metrics.top_logits import ARRAYS, TOP_PREFIX, Logits, TopLogits, predicted_classes
from headstart.text import message_of


@dataclass(frozen=True)
class Predictions:
    """Predictions of a run's best model on one split: image ids [m], true labels [m], logits, and copies [m].

    The logits are [m, classes] or, of many classes, the largest ones. `copies` is True for an image of which the run
    has a copy in another split.

    Raises:
        ValueError: The shapes do not match.
    """

    images: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    logits: Logits
    copies: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        same_length = len(self.images) == len(self.labels) == len(self.logits) == len(self.copies)
        full = isinstance(self.logits, TopLogits) or (self.logits.ndim == 2 and self.logits.shape[1])
        if not same_length or not full:
            raise ValueError(_("the shapes of its arrays do not match"))

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
    path = run / "artifacts" / "predictions.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            rows = arrays["split"] == split
            images, labels, copies = (arrays[name][rows] for name in ("image", "label", "copy"))
            logits: Logits
            if "logits" in arrays:
                logits = arrays["logits"][rows].astype(np.float32)
            else:
                logits = TopLogits(len(arrays["classes"]), *(arrays[TOP_PREFIX + name][rows] for name in ARRAYS))
            return Predictions(tuple(map(str, images)), labels.astype(np.int64), logits, copies.astype(np.bool_))
    except Exception as error:  # numpy's error type depends on the damaged byte: a TokenError, a zlib.error
        raise DataError(
            _("{path} cannot be read ({reason}).", path=path, reason=message_of(error)),
            _("Delete the run's folder and resume the study."),
        ) from None
