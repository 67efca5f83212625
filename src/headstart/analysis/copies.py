"""Results on the evaluation images that have no copy in another split.

A copy is an equal image or a near-duplicate. Copies in declared splits stay where they are: the results with and
without them show what they change.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from headstart.analysis.contrasts import compute_contrasts
from headstart.analysis.correctness import Predictions
from headstart.analysis.image_sample import ImageSample
from headstart.analysis.statistics import LEVEL
from headstart.analysis.wording import evaluation_images, interval, named_words
from headstart.i18n import Message, _, join, ngettext
from headstart.storage.schemas.contrast import WithoutCopies
from headstart.storage.schemas.verdict import VerdictNumbers
from headstart.text import format_percent, format_points


def result_without_copies(
    tables: Mapping[str, npt.NDArray[np.float64]],
    images: Predictions,
    primary: tuple[str, str],
    *,
    metric: str,
    margin: float,
    level: float | None = None,
) -> WithoutCopies | None:
    """Return the result without images that have a copy; None if there are no such images.

    Args:
        tables: For each arm the values of the images in the metric, [seeds, images].
        images: The images, in the order of the tables.
        primary: Names of the two arms of the primary contrast.
        metric: Name of the metric.
        margin: Equivalence margin, in accuracy.
        level: Confidence level, that of the primary contrast; None without contrasts.
    """
    kept = ~images.copies
    copies, count = int(images.copies.sum()), int(kept.sum())
    if not copies:
        return None
    if not count:
        return WithoutCopies(copies=copies, images=0, scores={}, contrast=None)
    parts = {name: table[:, kept] for name, table in tables.items()}
    sample = ImageSample.of_metric(metric, images.labels[kept], images.units[kept])
    contrast = None
    if sample.count > 1 and len(parts[primary[0]]) > 1:
        contrast = compute_contrasts(parts, [primary], margin=margin, sample=sample, level=level or LEVEL)[0]
        adjusted = min(1.0, contrast.p * (1 - LEVEL) / (1 - contrast.level))  # as that of the primary contrast
        contrast = contrast.model_copy(update={"p_adjusted": adjusted})
    scores = {name: float((part * sample.weights).mean()) for name, part in parts.items()}
    return WithoutCopies(copies=copies, images=count, scores=scores, contrast=contrast)


def copies_note(verdict: VerdictNumbers) -> Message | None:
    """Return how many evaluation images have a copy, and the result without them; None if there are none."""
    result = verdict.without_copies
    if result is None:
        return None
    count = ngettext(
        "{count:,} of the {all:,} {images} has a copy in another split, equal or nearly so.",
        "{count:,} of the {all:,} {images} have a copy in another split, equal or nearly so.",
        result.copies,
        all=verdict.evaluation.images,
        images=evaluation_images(verdict),
    )
    if not result.scores:
        return count
    first, second = verdict.primary
    values = {
        "first": named_words(verdict, first),
        "first_score": format_percent(result.scores[first]),
        "second": named_words(verdict, second),
        "second_score": format_percent(result.scores[second]),
    }
    if result.contrast is None:
        without = _("Without these {first} has {first_score} and {second} {second_score}.", **values)
    else:
        without = _(
            "Without these {first} has {first_score} and {second} {second_score}: {difference} percentage points "
            "({interval}).",
            difference=format_points(result.contrast.mean, signed=True),
            interval=interval(result.contrast),
            **values,
        )
    return join([count, without])
