"""Phrases that several sections of the page share."""

from __future__ import annotations

from headstart.analysis.wording import splits
from headstart.i18n import Message, _, ngettext
from headstart.storage.schemas.verdict import Condition


def evaluated_images(condition: Condition) -> Message:
    """Return the number of images of the evaluation split: "360 test images"."""
    count, split = condition.evaluation.images, splits(condition)[1]
    return ngettext("{count} {split} image", "{count} {split} images", count, split=split)


def metric_percent(metric: Message) -> Message:
    """Return a metric with its unit, as the name of an axis or column: "accuracy, %"."""
    return _("{metric}, %", metric=metric)


def metric_over(metric: Message, axis: Message) -> Message:
    """Return the description of a chart of a metric: "Accuracy over epochs"."""
    return _("{metric:cap} over {axis}", metric=metric, axis=axis)


def run_count(count: int) -> Message:
    """Return a number of runs: "12 runs"."""
    return ngettext("{count:,} run", "{count:,} runs", count)


def time_span(seconds: float) -> Message:
    """Return a duration in seconds, minutes or hours."""
    if seconds < 10:
        return _("{seconds:.2g} s", seconds=seconds)
    if seconds < 120:
        return _("{seconds:.0f} s", seconds=seconds)
    if seconds < 7200:
        return _("{minutes:.0f} min", minutes=seconds / 60)
    return _("{hours:.1f} h", hours=seconds / 3600)
