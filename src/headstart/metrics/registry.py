"""The metrics, one row each. The rows need no package for numbers; factories are import paths.

Two kinds of functions compute a metric. A function of the confusion counts works on the record of an epoch, which has
the counts and no logits. A function of the labels [m] and the logits [m, classes] returns a value for each image, whose
weighted mean is the metric.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headstart.i18n import Message, _, join


@dataclass(frozen=True)
class MetricSpec:
    """One metric. It has `of_counts`, `of_images` or both.

    Both a study and the best-epoch rule need `of_counts` and a metric of which higher values are better, because they
    order epochs. They also show it in per cent, so that it must be a share; its values may be as low as -1.

    A study also needs `of_images`. Its interval is over seeds and images, crossed, and exists only for a mean over
    images. A metric such as macro-F1 or Cohen's kappa is not one, and a study that declares it is refused. It can still
    select the best epoch.

    Args:
        label: Name in texts.
        description: What it measures, for help and reports.
        of_counts: Import path of a function from `ConfusionCounts` to the metric; "" if the counts do not determine it.
        of_images: Import path of a function from labels [m] and logits [m, classes] to a value for each image [m]; ""
            if the metric is not a mean over images. The values of a metric of a study lie between 0 and 1.
        of_top_logits: Import path of a function from labels [m] and `TopLogits` to the same values, for predictions
            that do not keep the logits of all classes; "" if the metric needs these.
        weights: Import path of a function from labels [m] to the weights [m] of that mean, which have a mean of 1; ""
            for equal weights.
        higher_is_better: Higher values are better.
    """

    label: Message
    description: Message
    of_counts: str = ""
    of_images: str = ""
    of_top_logits: str = ""
    weights: str = ""
    higher_is_better: bool = True


METRICS = {
    "accuracy": MetricSpec(
        _("accuracy"),
        _("share of the images that are classified correctly"),
        of_counts="headstart.metrics.accuracy:accuracy",
        of_images="headstart.metrics.accuracy:correct",
        of_top_logits="headstart.metrics.accuracy:correct",
    ),
    "balanced": MetricSpec(
        _("balanced accuracy"),
        _("mean accuracy of the classes"),
        of_counts="headstart.metrics.confusion:balanced_accuracy",
        of_images="headstart.metrics.accuracy:correct",
        of_top_logits="headstart.metrics.accuracy:correct",
        weights="headstart.metrics.confusion:balanced_weights",
    ),
    "macro-f1": MetricSpec(
        _("macro-F1"), _("mean F1 score of the classes"), of_counts="headstart.metrics.confusion:macro_f1"
    ),
    "log-loss": MetricSpec(
        _("log loss"),
        _("mean of -log p of the true class"),
        of_images="headstart.metrics.probabilities:log_loss",
        of_top_logits="headstart.metrics.probabilities:log_loss_of_top",
        higher_is_better=False,
    ),
    "brier": MetricSpec(
        _("Brier score"),
        _("mean squared error of the probabilities, summed over the classes"),
        of_images="headstart.metrics.probabilities:brier",
        of_top_logits="headstart.metrics.probabilities:brier_of_top",
        higher_is_better=False,
    ),
}
DEFAULT_METRIC = "accuracy"


def selects_epochs(spec: MetricSpec) -> bool:
    """Return whether a metric can select the best epoch."""
    return bool(spec.of_counts) and spec.higher_is_better


def is_study_metric(spec: MetricSpec) -> bool:
    """Return whether a study can use a metric: it selects epochs and is a mean over images."""
    return selects_epochs(spec) and bool(spec.of_images)


def describe_metrics(accepts: Callable[[MetricSpec], bool]) -> Message:
    """Return the names and descriptions of the accepted metrics: "accuracy: share of …; balanced: …"."""
    accepted = {name: spec.description for name, spec in METRICS.items() if accepts(spec)}
    return join((_("{name}: {description}", name=name, description=text) for name, text in accepted.items()), "; ")
