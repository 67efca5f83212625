"""What is kept of the logits of many classes: the largest of each image, and sums over all classes.

The logits of m images of m classes take m² numbers. Predictions of up to `MAX_FULL_CLASSES` classes keep them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.i18n import _

MAX_FULL_CLASSES = 1_000  # predictions of more classes do not keep all logits
KEPT_LOGITS = 20  # of each image, the largest ones


@dataclass(frozen=True)
class TopLogits:
    """The largest logits of m images.

    Args:
        class_count: Number of all classes.
        classes: Classes of the largest logits, [m, k]; the predicted class first.
        logits: Their logits, [m, k].
        label_logits: Logit of the true class, [m].
        log_sum_exp: log Σ_c exp(z_c) over all classes c, [m].
        square_sum: Σ_c p_c² over all classes, [m].

    Raises:
        ValueError: The shapes do not match.
    """

    class_count: int
    classes: npt.NDArray[np.int32]
    logits: npt.NDArray[np.float32]
    label_logits: npt.NDArray[np.float32]
    log_sum_exp: npt.NDArray[np.float64]
    square_sum: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        rows = (len(self.classes),)
        per_image = (self.label_logits, self.log_sum_exp, self.square_sum)
        if self.classes.ndim != 2 or not self.classes.shape[1] or self.classes.shape != self.logits.shape:
            raise ValueError(_("the shapes of its arrays do not match"))
        if any(values.shape != rows for values in per_image):
            raise ValueError(_("the shapes of its arrays do not match"))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.classes)

    @property
    def label_probabilities(self) -> npt.NDArray[np.float64]:
        """Probability of the true class, [m]."""
        return np.asarray(np.exp(self.label_logits - self.log_sum_exp), dtype=np.float64)

    @property
    def top_probabilities(self) -> npt.NDArray[np.float64]:
        """Probabilities of the classes of the largest logits, [m, k]."""
        return np.asarray(np.exp(self.logits - self.log_sum_exp[:, None]), dtype=np.float64)


Logits = npt.NDArray[np.float32] | TopLogits  # [m, classes], or the largest of many classes
ARRAYS = tuple(TopLogits.__dataclass_fields__)[1:]
TOP_PREFIX = "top_"  # of the names of these arrays in predictions.npz


def top_logits(labels: npt.NDArray[np.int64], logits: npt.NDArray[np.float32], kept: int = KEPT_LOGITS) -> TopLogits:
    """Return the largest logits of each image; labels [m], logits [m, classes]."""
    rows, kept = np.arange(len(labels)), min(kept, logits.shape[1])
    best = logits.argmax(axis=1)
    top = np.argpartition(-logits, kept - 1, axis=1)[:, :kept]
    # among equal logits argpartition may leave out the predicted class, the first of them
    missing = ~(top == best[:, None]).any(axis=1)
    top[missing, -1] = best[missing]
    order = np.lexsort((top, top != best[:, None], -logits[rows[:, None], top]), axis=1)
    top = np.take_along_axis(top, order, axis=1)
    largest = logits[rows, best].astype(np.float64)
    exponentials = np.exp(logits - largest[:, None])
    sums = exponentials.sum(axis=1)
    squares = ((exponentials / sums[:, None]) ** 2).sum(axis=1)
    kept_logits, of_labels = logits[rows[:, None], top], logits[rows, labels]
    classes = top.astype(np.int32)
    return TopLogits(logits.shape[1], classes, kept_logits, of_labels, largest + np.log(sums), squares)


def concatenate(parts: Sequence[TopLogits]) -> TopLogits:
    """Return the images of all parts, in order."""
    return TopLogits(
        parts[0].class_count, *(np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS)
    )


def predicted_classes(logits: Logits) -> npt.NDArray[np.int64]:
    """Return the class of the largest logit of each image, [m]."""
    return (logits.classes[:, 0] if isinstance(logits, TopLogits) else logits.argmax(axis=1)).astype(np.int64)
