"""Checks on the learning rate: the size of the updates relative to the weights, and the progress of training."""

from __future__ import annotations

import math
from statistics import median

from headstart.config.recipe_config import RecipeConfig
from headstart.diagnostics.finding import CheckResult, restoring_flags
from headstart.diagnostics.gradients import dead, first_to_last_ratio
from headstart.diagnostics.history import History
from headstart.i18n import Message, _, ngettext
from headstart.optim.registry import OPTIMIZERS
from headstart.storage.schemas.arm import TuningKind
from headstart.storage.schemas.result import RunState

TYPICAL_UPDATE_RATIO = 1e-3  # |Δw|/|w| per step, median over layers: a rule of thumb for SGD; Adam has more
MIN_UPDATE_RATIO = 3e-5
MAX_UPDATE_RATIO = 3e-2
HEAD_UPDATE_FACTOR = 10  # updates of a head that is trained alone may be larger by this factor
MAX_DISTANCE_RATIO = 1.0  # |w - w₀|/|w₀|, median over layers
MAX_FIRST_EPOCH_LOSS_RATIO = 1.1  # of the uniform loss: mean loss of a first epoch that does no harm
MAX_EPOCH_LOSS_RATIO = 2.0  # of the uniform loss: a whole epoch above it shows that steps are too large
MAX_STUCK_LOSS_RATIO = 0.8  # of the prior entropy: a run that is not below it has learned next to nothing
MIN_GRADIENT_RATIO = 0.1  # first block over last: below it, small updates are not due to the learning rate
LR_STEP_TOLERANCE_DECADES = 0.25  # excess that is not corrected: a tenth of the rate is tried before a hundredth


def too_high(history: History) -> CheckResult | None:
    """Return a finding if steps make the loss infinite, or are large and make little progress."""
    diverged = history.state is RunState.DIVERGED
    updates = history.updates()
    epoch, layer, largest = max(updates, key=lambda update: update[2], default=(0, "", 0.0))
    if history.plan.arm.tuning.kind is TuningKind.FROZEN:
        # its initial weights are small, so that large updates are usual, and little progress has other causes
        is_harmed = (
            largest >= HEAD_UPDATE_FACTOR * MAX_UPDATE_RATIO
            and not history.has_learned
            and history.last_loss > MAX_EPOCH_LOSS_RATIO * history.uniform_loss
        )
    else:
        large = largest >= MAX_UPDATE_RATIO or history.distance() >= MAX_DISTANCE_RATIO
        is_harmed = _does_harm(history, large=large)
    if not diverged and not is_harmed:
        return None
    recipe = history.plan.recipe
    decades = math.log10(max(largest, TYPICAL_UPDATE_RATIO) / TYPICAL_UPDATE_RATIO)
    divisor = max(10.0, 10.0 ** round(decades - LR_STEP_TOLERANCE_DECADES))
    optimizer, harm = OPTIMIZERS[recipe.optimizer].label, _harm(history)
    evidence = _("{optimizer} at {learning_rate:g}: {harm}.", optimizer=optimizer, learning_rate=recipe.lr, harm=harm)
    if updates:
        evidence = _(
            "{optimizer} at {learning_rate:g}: updates are {share:.2g} % of the weights per step in epoch {epoch} "
            "(most in {layer}), {factor:.0f} times the rule of thumb, {typical_share:.2g} %; {harm}.",
            optimizer=optimizer,
            learning_rate=recipe.lr,
            share=100 * largest,
            epoch=epoch,
            layer=layer,
            factor=largest / TYPICAL_UPDATE_RATIO,
            typical_share=100 * TYPICAL_UPDATE_RATIO,
            harm=harm,
        )
    return CheckResult(
        layer, epoch, largest if updates else None, MAX_UPDATE_RATIO, evidence,
        _("Steps are so large that they undo what earlier steps have learned."),
        _("Try --lr {learning_rate:g}.", learning_rate=min(recipe.lr / divisor, _max_advised_lr(recipe))),
    )  # fmt: skip


def _harm(history: History) -> Message:
    """Return what a learning rate that is too high has done, as a clause."""
    dead_filters = dead(history, history.probes[-1]) if history.probes else None
    if history.state is RunState.DIVERGED:
        return _("the loss is no longer finite")
    if dead_filters is not None:
        share = 100 * (dead_filters.value or 0)
        return _("{share:.0f} % of the filters of {layer} are dead", share=share, layer=dead_filters.layer)
    return ngettext(
        "after {count:,} epoch the loss is {loss:.2f} (predicting the class frequencies gives {prior_loss:.2f})",
        "after {count:,} epochs the loss is {loss:.2f} (predicting the class frequencies gives {prior_loss:.2f})",
        len(history.epochs),
        loss=history.last_loss,
        prior_loss=history.prior_entropy,
    )


def _does_harm(history: History, *, large: bool) -> bool:
    """Return whether training had `large` steps, has made little progress, and no longer improves.

    A loss far above the uniform loss, on train and on val, is enough at any time. A run that has ended does not improve
    further, but a run that is only slow, and was still falling, is not harmed.
    """
    if not large or history.has_learned:
        return False
    if history.last_loss > MAX_EPOCH_LOSS_RATIO * history.uniform_loss:  # on train and on val
        return True
    if not (history.has_had_time and history.loss_is_flat):
        return False
    bad_first_epoch = history.epochs[0].train.loss > MAX_FIRST_EPOCH_LOSS_RATIO * history.uniform_loss
    dead_filters = bool(history.probes) and dead(history, history.probes[-1]) is not None
    stuck = history.last_loss >= MAX_STUCK_LOSS_RATIO * history.prior_entropy and not history.is_falling
    return bad_first_epoch or dead_filters or stuck


def too_low(history: History) -> CheckResult | None:
    """Return a finding if updates are too small to learn, unless vanishing gradients are the cause."""
    updates = history.updates()
    if not updates or history.last_loss < MAX_STUCK_LOSS_RATIO * history.prior_entropy:
        return None
    usual = median(update for _unused, _layer, update in updates)
    ratio = first_to_last_ratio(history.probes[-1]) if history.probes else None
    if usual >= MIN_UPDATE_RATIO or (ratio is not None and ratio < MIN_GRADIENT_RATIO and restoring_flags(history)):
        return None
    epoch, layer, _unused = max(updates, key=lambda update: update[2])
    recipe = history.plan.recipe
    factor = 10.0 ** round(math.log10(TYPICAL_UPDATE_RATIO / max(usual, 1e-9)))
    evidence = ngettext(
        "{optimizer} at {learning_rate:g}: updates are {share:.2g} % of the weights per step, 1/{divisor:,.0f} of the "
        "rule of thumb, {typical_share:.2g} %; the loss was {first_loss:.2f} at the first step and is {loss:.2f} after "
        "{count:,} epoch.",
        "{optimizer} at {learning_rate:g}: updates are {share:.2g} % of the weights per step, 1/{divisor:,.0f} of the "
        "rule of thumb, {typical_share:.2g} %; the loss was {first_loss:.2f} at the first step and is {loss:.2f} after "
        "{count:,} epochs.",
        len(history.epochs),
        optimizer=OPTIMIZERS[recipe.optimizer].label,
        learning_rate=recipe.lr,
        share=100 * usual,
        divisor=_one_digit(TYPICAL_UPDATE_RATIO / max(usual, 1e-12)),
        typical_share=100 * TYPICAL_UPDATE_RATIO,
        first_loss=history.first_loss,
        loss=history.last_loss,
    )
    return CheckResult(
        layer, epoch, usual, MIN_UPDATE_RATIO, evidence,
        _("The weights hardly change."), _raise_advice(recipe, min(factor, 1000)),
    )  # fmt: skip


def _max_advised_lr(recipe: RecipeConfig) -> float:
    """Return the highest learning rate that is advised with the recipe's optimizer."""
    return OPTIMIZERS[recipe.optimizer].max_advised_lr


def _raise_advice(recipe: RecipeConfig, factor: float) -> Message:
    """Return the advice to raise the learning rate by `factor`, up to the highest advised rate."""
    if recipe.lr >= _max_advised_lr(recipe):
        return _(
            "The learning rate itself is not low: check whether a schedule, a warm-up or --clip lowers it, or try "
            "other initial weights."
        )
    return _("Try --lr {learning_rate:g}.", learning_rate=min(recipe.lr * factor, _max_advised_lr(recipe)))


def _one_digit(value: float) -> float:
    """Return a number rounded to one digit."""
    return float(f"{value:.1g}")
