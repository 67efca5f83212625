"""Select the contrast that the headline of a verdict answers, and the arms that are not shown to be worse."""

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
        sample_sizes=contrast.sample_sizes,
    )


def headline_contrast(condition: Condition) -> Contrast | None:
    """Return the contrast that the headline answers, or None with one seed.

    The better arm is first; of equal ones the arm whose model is exported.
    """
    return better_first(condition.contrasts, condition.question, condition.selected)


def better_first(contrasts: Sequence[Contrast], pair: tuple[str, str], preferred: str = "") -> Contrast | None:
    """Return the contrast of two arms with the better one first, or None if there is none.

    Args:
        contrasts: Contrasts of a study.
        pair: Names of the two arms.
        preferred: The arm that is first if both are equal; default: the first of the pair.
    """
    contrast = next((contrast for contrast in contrasts if contrast.pair == set(pair)), None)
    if contrast is None:
        return None
    contrast = flip_contrast(contrast, preferred if preferred in pair else pair[0])
    return contrast if contrast.mean >= -ROUNDING_ERROR else flip_contrast(contrast, contrast.second)


def beaten_by(contrasts: Sequence[Contrast], arm: str) -> list[str]:
    """Return the arms that are better than `arm` on the evaluation images, by decided contrasts."""
    of_arm = [flip_contrast(contrast, arm) for contrast in contrasts if arm in contrast.pair]
    return [contrast.second for contrast in of_arm if contrast.outcome is Outcome.WORSE]


def not_worse(contrasts: Sequence[Contrast], arms: Sequence[str]) -> list[str]:
    """Return the arms that no other is better than by a decided contrast, in the given order.

    The arm with the highest mean is always among them.
    """
    return [arm for arm in arms if not beaten_by(contrasts, arm)]
