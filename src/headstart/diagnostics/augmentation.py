"""Check on the augmentation: the accuracy on augmented training images, compared with that on val."""

from __future__ import annotations

from collections.abc import Sequence

from headstart.config.recipe_config import RecipeConfig
from headstart.diagnostics.finding import CheckResult
from headstart.diagnostics.history import History
from headstart.i18n import Message, _
from headstart.storage.schemas.metrics import EpochLine
from headstart.text import format_percent, format_points

LAST_EPOCHS = 3  # that are compared: in earlier ones the weights change much while train is measured
MIN_EPOCHS = 5  # shorter runs have no other epochs than early ones
MIN_VAL_IMAGES = 100  # with fewer the accuracy on val is too uncertain: 85 % of 100 is known to ±7 percentage points
MAX_TRAIN_GAP = 0.07  # of val above train in each of the last epochs; docs/health.md has the gaps of healthy runs


def train_gap(recipe: RecipeConfig, epochs: Sequence[EpochLine]) -> float | None:
    """Return the smallest difference of the accuracies on val and on train over the last epochs.

    None for a run that is too short or has too few val images, and where train and val are not comparable: mixed images
    have two labels, and a moving average of the weights is only evaluated on val.
    """
    if len(epochs) < MIN_EPOCHS or epochs[-1].val.n < MIN_VAL_IMAGES or recipe.mixup or recipe.cutmix or recipe.ema:
        return None
    return min(line.val.accuracy - line.train.accuracy for line in epochs[-LAST_EPOCHS:])


def is_too_strong(recipe: RecipeConfig, epochs: Sequence[EpochLine]) -> bool:
    """Return whether train stays far below val, and the images are cropped or their colors are changed."""
    gap = train_gap(recipe, epochs)
    return gap is not None and gap >= MAX_TRAIN_GAP and (recipe.crop != 1 or recipe.jitter > 0)


def too_strong(history: History) -> CheckResult | None:
    """Return a finding if train stays so far below val that the network does not learn the augmented images."""
    recipe, epochs = history.plan.recipe, history.epochs
    gap = train_gap(recipe, epochs)
    if gap is None or not is_too_strong(recipe, epochs):
        return None
    last = epochs[-1]
    evidence = _(
        "Accuracy on the augmented training images stayed at least {points} percentage points below val in the last "
        "{count} epochs ({train} and {val} at the end).",
        points=format_points(gap),
        count=LAST_EPOCHS,
        train=format_percent(last.train.accuracy),
        val=format_percent(last.val.accuracy),
    )
    return CheckResult(
        "", last.epoch, gap, MAX_TRAIN_GAP, evidence,
        _("The augmentation may be too strong for this number of epochs."),
        _advice(recipe),
    )  # fmt: skip


def _advice(recipe: RecipeConfig) -> Message:
    """Return flags of a weaker augmentation than that of a resolved recipe."""
    if recipe.crop == 1:
        return _("Try --jitter {strength:.2g}, or more --epochs.", strength=recipe.jitter / 2)
    crop = min(1.0, max(0.35, round(2 * recipe.smallest_crop, 2)))
    if recipe.jitter:
        return _(
            "Try --crop {share:g}, --jitter {strength:.2g}, or more --epochs.", share=crop, strength=recipe.jitter / 2
        )
    return _("Try --crop {share:g}, or more --epochs.", share=crop)
