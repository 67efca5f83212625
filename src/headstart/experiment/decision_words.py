"""Word what a planned study can decide: the levels of its contrasts, and the images that equivalence needs."""

from __future__ import annotations

from dataclasses import replace

from scipy import stats

from headstart.analysis.looks import Looks
from headstart.analysis.sample_size import equivalence_units
from headstart.analysis.statistics import LEVEL
from headstart.analysis.verdict import contrast_levels
from headstart.analysis.wording import in_groups
from headstart.config.study_config import MIN_DECISIVE_SEEDS, MIN_DECISIVE_UNITS, StudyConfig
from headstart.config.study_file import StudySpec
from headstart.i18n import Message, _, ngettext
from headstart.text import format_level


def decision_words(spec: StudySpec, images: int, units: int) -> list[Message]:
    """Return the levels of the contrasts and the images that equivalence needs, or why nothing can be decided.

    Args:
        spec: The study.
        images: Number of evaluation images.
        units: Number of their units.
    """
    protocol = spec.protocol
    if protocol.seeds < MIN_DECISIVE_SEEDS:
        return [_("The verdict will be undecided: fewer than {seeds} seeds.", seeds=MIN_DECISIVE_SEEDS)]
    counted = in_groups(ngettext("{count} image", "{count} images", images), images, units)
    if units < MIN_DECISIVE_UNITS:
        return [
            _(
                "The verdict will be undecided: the evaluation is on {images}, and a decision needs at least {least} "
                "independent images or groups.",
                images=counted,
                least=MIN_DECISIVE_UNITS,
            )
        ]
    primary, *others = contrast_levels(spec)
    texts = [_level_words(protocol, primary, _("the primary contrast"))]
    if others:
        words = ngettext("the other contrast", "each of the {count} other contrasts", len(others))
        texts.append(_level_words(protocol, others[0], words))
    texts += _reserve_words(protocol)
    needed = equivalence_units(protocol.seeds, protocol.margin_width, primary)
    if needed is None or needed > units:
        texts.append(
            _(
                "No two arms can be found equivalent: the evaluation is on {images} only. Add images, or use a wider "
                "--margin.",
                images=counted,
            )
        )
    return texts


def _reserve_words(protocol: StudyConfig) -> list[Message]:
    """Return what the reserve for added seeds costs in width, if there is one."""
    if not protocol.max_seeds or protocol.further:
        return []
    looks = Looks.of(protocol)
    whole, kept = (one.level_after(protocol.seeds, LEVEL) for one in (replace(looks, max_seeds=0), looks))
    ratio = stats.norm.isf((1 - kept) / 2) / stats.norm.isf((1 - whole) / 2)
    return [
        _(
            "Up to {limit} seeds can be used: {share:.0f} % of the error is for the analyses up to {seeds} seeds, "
            "which makes their intervals about {wider:.0f} % wider.",
            limit=protocol.max_seeds,
            share=100 * protocol.first_share,
            seeds=protocol.seeds,
            wider=100 * (ratio - 1),
        )
    ]


def _level_words(protocol: StudyConfig, level: float, contrast: Message) -> Message:
    """Return the level of a contrast's interval, and the images with which it can show equivalence."""
    needed = equivalence_units(protocol.seeds, protocol.margin_width, level)
    if needed is None:
        return _("The interval of {contrast} has the level {level}.", contrast=contrast, level=format_level(level))
    return _(
        "The interval of {contrast} has the level {level}; equivalence within ±{margin:.3g} percentage points needs at "
        "least {needed:,} independent test images.",
        contrast=contrast,
        level=format_level(level),
        margin=100 * protocol.margin_width,
        needed=needed,
    )
