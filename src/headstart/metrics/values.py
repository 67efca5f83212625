"""Compute a metric of the registry by its name."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headstart.factories import load_factory
from headstart.metrics.accuracy import confusion_counts
from headstart.metrics.registry import METRICS


def counts_value(name: str, counts: npt.ArrayLike) -> float:
    """Return the metric `name` of confusion counts [true, predicted].

    Raises:
        ValueError: The counts do not determine the metric.
    """
    if not METRICS[name].of_counts:
        raise ValueError(f"the confusion counts do not determine {name}")
    return float(load_factory(METRICS[name].of_counts)(np.asarray(counts)))


def image_values(name: str, labels: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the values of the images [m] whose mean, with the weights of `image_weights`, is the metric `name`.

    Args:
        name: Name of the metric.
        labels: True labels, [m].
        logits: Logits, [m, classes].

    Raises:
        ValueError: The metric is not a mean over images.
    """
    return np.asarray(load_factory(_mean_path(name))(labels, logits), dtype=np.float64)


def image_weights(name: str, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the weights of images with these labels [m] in the metric `name`: [m] with a mean of 1.

    Raises:
        ValueError: The metric is not a mean over images.
    """
    _mean_path(name)
    path = METRICS[name].weights
    return np.asarray(load_factory(path)(labels), dtype=np.float64) if path else np.ones(len(labels))


def metric_value(name: str, labels: npt.NDArray[np.int64], logits: npt.NDArray[np.float32]) -> float:
    """Return the metric `name` of labels [m] and logits [m, classes]."""
    if not METRICS[name].of_counts:
        return float((image_values(name, labels, logits) * image_weights(name, labels)).mean())
    return counts_value(name, confusion_counts(labels, logits.argmax(axis=1), logits.shape[1]))


def _mean_path(name: str) -> str:
    """Return the import path of the values of images."""
    if not METRICS[name].of_images:
        raise ValueError(f"{name} is not a mean over images")
    return METRICS[name].of_images
