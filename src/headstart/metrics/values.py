"""Compute a metric of the registry by its name."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headstart.errors import UsageError
from headstart.factories import load_factory
from headstart.i18n import _
from headstart.metrics.confusion_counts import ConfusionCounts
from headstart.metrics.registry import METRICS
from headstart.metrics.top_logits import MAX_FULL_CLASSES, Logits, TopLogits, predicted_classes


def counts_value(name: str, counts: ConfusionCounts) -> float:
    """Return the metric `name` of confusion counts.

    Raises:
        ValueError: The counts do not determine the metric.
    """
    if not METRICS[name].of_counts:
        raise ValueError(f"the confusion counts do not determine {name}")
    return float(load_factory(METRICS[name].of_counts)(counts))


def image_values(name: str, labels: npt.NDArray[np.int64], logits: Logits) -> npt.NDArray[np.float64]:
    """Return the values of the images [m] whose mean, with the weights of `image_weights`, is the metric `name`.

    Args:
        name: Name of the metric.
        labels: True labels, [m].
        logits: Logits, [m, classes], or the largest of many classes.

    Raises:
        ValueError: The metric is not a mean over images.
        UsageError: The metric needs the logits of all classes, and not all were kept.
    """
    path = _mean_path(name)
    if isinstance(logits, TopLogits):
        require_kept_logits(name, logits.class_count)
        path = METRICS[name].of_top_logits
    return np.asarray(load_factory(path)(labels, logits), dtype=np.float64)


def require_kept_logits(name: str, classes: int) -> None:
    """Raise UsageError if the metric `name` needs logits that predictions of this number of classes do not keep."""
    if classes > MAX_FULL_CLASSES and not METRICS[name].of_top_logits:
        raise UsageError(
            _(
                "{name} needs all logits, which are kept of up to {limit:,} classes, not of {classes:,}.",
                name=name,
                limit=MAX_FULL_CLASSES,
                classes=classes,
            ),
            _("Use another metric, or give its row in the registry `of_top_logits`."),
        )


def image_weights(name: str, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the weights of images with these labels [m] in the metric `name`: [m] with a mean of 1.

    Raises:
        ValueError: The metric is not a mean over images.
    """
    _mean_path(name)
    path = METRICS[name].weights
    return np.asarray(load_factory(path)(labels), dtype=np.float64) if path else np.ones(len(labels))


def metric_value(name: str, labels: npt.NDArray[np.int64], logits: Logits) -> float:
    """Return the metric `name` of labels [m] and logits, as `image_values`."""
    if not METRICS[name].of_counts:
        return float((image_values(name, labels, logits) * image_weights(name, labels)).mean())
    classes = logits.class_count if isinstance(logits, TopLogits) else logits.shape[1]
    return counts_value(name, ConfusionCounts.of_labels(labels, predicted_classes(logits), classes))


def _mean_path(name: str) -> str:
    """Return the import path of the values of images."""
    if not METRICS[name].of_images:
        raise ValueError(f"{name} is not a mean over images")
    return METRICS[name].of_images
