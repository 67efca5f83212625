"""Select the contrast that the headline of a verdict rests on, and the winner."""

from __future__ import annotations

from collections.abc import Sequence

from headstart.analysis.statistics import ROUNDING_ERROR
from headstart.storage.schemas.contrast import Contrast, Outcome
from headstart.storage.schemas.verdict import Condition

OPPOSITE = {Outcome.BETTER: Outcome.WORSE, Outcome.WORSE: Outcome.BETTER}


def flip_contrast(contrast: Contrast, first: str) -> Contrast:
    """Return the contrast as `first` minus the other arm."""
    if contrast.first == first:
        return contrast
    return Contrast(
        first=contrast.second,
        second=contrast.first,
        primary=contrast.primary,
        outcome=OPPOSITE.get(contrast.outcome, contrast.outcome),
        by_less_than_margin=contrast.by_less_than_margin,
        mean=-contrast.mean,
        low=-contrast.high,
        high=-contrast.low,
        level=contrast.level,
        p=contrast.p,
        p_adjusted=contrast.p_adjusted,
        p_sign_flip=contrast.p_sign_flip,
        half_width_infinite_seeds=contrast.half_width_infinite_seeds,
        degrees_of_freedom=contrast.degrees_of_freedom,
        wins=contrast.losses,
        losses=contrast.wins,
        n=contrast.n,
        m=contrast.m,
        g=contrast.g,
        sample_size=contrast.sample_size,
    )


def headline_contrast(condition: Condition) -> Contrast | None:
    """Return the contrast of the arm selected on val with its comparator, or None with one seed.

    The better arm is first; of equal arms the one that was selected on val.
    """
    return better_first(condition.contrasts, condition.selected, condition.comparator)


def better_first(contrasts: Sequence[Contrast], selected: str, comparator: str) -> Contrast | None:
    """Return the contrast of the two arms with the better one first, or None if there is none."""
    contrast = next((contrast for contrast in contrasts if contrast.pair == {selected, comparator}), None)
    if contrast is None:
        return None
    contrast = flip_contrast(contrast, selected)
    return contrast if contrast.mean >= -ROUNDING_ERROR else flip_contrast(contrast, contrast.second)


def beaten_by(contrasts: Sequence[Contrast], arm: str) -> list[str]:
    """Return the arms that are better than `arm` on the evaluation images, by decided contrasts."""
    of_arm = [flip_contrast(contrast, arm) for contrast in contrasts if arm in contrast.pair]
    return [contrast.second for contrast in of_arm if contrast.outcome is Outcome.WORSE]


def winner_of(contrasts: Sequence[Contrast], selected: str, comparator: str) -> str | None:
    """Return the better arm of `selected` and `comparator`, or None if none is better, or a third one beats it."""
    contrast = better_first(contrasts, selected, comparator)
    if contrast is None or contrast.outcome is not Outcome.BETTER or beaten_by(contrasts, contrast.first):
        return None
    return contrast.first
