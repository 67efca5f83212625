"""The check of the evaluation split: how well its size allows to know an accuracy."""

from __future__ import annotations

import math

import numpy as np

from headstart.audit.audit_data import LoadedData
from headstart.audit.finding import AuditOutcome
from headstart.i18n import _, ngettext
from headstart.storage.schemas.audit import CheckStatus
from headstart.text import format_percent, format_points

ACCURACY = 0.85  # for which the interval is given
MAX_HALF_WIDTH = 0.075
_Z = 1.959964  # 95 %


def half_width(accuracy: float, count: int) -> float:
    """Return half the width of the 95 % interval of an accuracy on `count` images (Wilson 1927).

    z / (1 + z² / n) * sqrt(p (1 - p) / n + z² / (4 n²))
    """
    spread = accuracy * (1 - accuracy) / count + _Z**2 / (4 * count**2)
    return _Z / (1 + _Z**2 / count) * math.sqrt(spread)


def evaluation_size(data: LoadedData) -> AuditOutcome:
    """Return the interval that the evaluation split allows; images of a group or cluster count once."""
    places = data.members(data.evaluation)
    if data.split_error is not None or not len(places):
        return AuditOutcome(CheckStatus.NOT_CHECKED, _("There are no splits."))
    count = len(np.unique(data.units[places]))  # what is alike counts once
    half = half_width(ACCURACY, count)
    values = {"split": data.evaluation, "accuracy": format_percent(ACCURACY), "half": format_points(half)}
    sentence = ngettext(
        "{count:,} independent {split} image: an accuracy of {accuracy} would be known to ±{half} points.",
        "{count:,} independent {split} images: an accuracy of {accuracy} would be known to ±{half} points.",
        count,
        **values,
    )
    if half <= MAX_HALF_WIDTH:
        return AuditOutcome(CheckStatus.PASS, sentence)
    hint = _(
        "A single accuracy is not known better than that. Two runs are compared image by image on the same images, "
        "which shows smaller differences. Add {split} images.",
        split=data.evaluation,
    )
    return AuditOutcome(CheckStatus.WARN, sentence, hint, count)
