"""Checks on the learning rate: the size of the updates relative to the weights, and the progress of training."""

from __future__ import annotations

import math
from statistics import median

from headstart.config.run_config import RecipeConfig
from headstart.diagnostics.finding import CheckResult, restoring_flags
from headstart.diagnostics.gradients import dead, first_to_last_ratio
from headstart.diagnostics.history import History
from headstart.optim.registry import OPTIMIZERS
from headstart.storage.schemas.result import RunState
from headstart.text import format_share, pluralize

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
    head_only = history.plan.arm.tuning == "frozen"  # its initial weights are small
    large = largest >= (HEAD_UPDATE_FACTOR if head_only else 1) * MAX_UPDATE_RATIO
    if not diverged and not _does_harm(history, large=large or history.distance() >= MAX_DISTANCE_RATIO):
        return None
    recipe = history.plan.recipe
    decades = math.log10(max(largest, TYPICAL_UPDATE_RATIO) / TYPICAL_UPDATE_RATIO)
    divisor = max(10.0, 10.0 ** round(decades - LR_STEP_TOLERANCE_DECADES))
    evidence = [f"{OPTIMIZERS[recipe.optimizer].label} at {recipe.lr:g}:"]
    if updates:
        evidence.append(
            f"updates are {format_share(largest)} of the weights per step in epoch {epoch} (most in {layer}), "
            f"{largest / TYPICAL_UPDATE_RATIO:.0f} times the rule of thumb, {format_share(TYPICAL_UPDATE_RATIO)};"
        )
    dead_filters = dead(history, history.probes[-1]) if history.probes else None
    if diverged:
        evidence.append("the loss is no longer finite.")
    elif dead_filters is not None:
        share = 100 * (dead_filters.value or 0)
        evidence.append(f"{share:.0f} % of the filters of {dead_filters.layer} are dead.")
    else:
        evidence.append(
            f"after {pluralize(len(history.epochs), 'epoch')} the loss is {history.last_loss:.2f} (predicting the "
            f"class frequencies gives {history.prior_entropy:.2f})."
        )
    return CheckResult(
        layer, epoch, largest if updates else None, MAX_UPDATE_RATIO, " ".join(evidence),
        "Steps are so large that they undo what earlier steps have learned.",
        f"Try --lr {min(recipe.lr / divisor, _max_advised_lr(recipe)):g}.",
    )  # fmt: skip


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
    usual = median(update for _, _, update in updates)
    ratio = first_to_last_ratio(history.probes[-1]) if history.probes else None
    if usual >= MIN_UPDATE_RATIO or (ratio is not None and ratio < MIN_GRADIENT_RATIO and restoring_flags(history)):
        return None
    epoch, layer, _ = max(updates, key=lambda update: update[2])
    recipe = history.plan.recipe
    factor = 10.0 ** round(math.log10(TYPICAL_UPDATE_RATIO / max(usual, 1e-9)))
    evidence = (
        f"{OPTIMIZERS[recipe.optimizer].label} at {recipe.lr:g}: updates are {format_share(usual)} of the weights per "
        f"step, 1/{_one_digit(TYPICAL_UPDATE_RATIO / max(usual, 1e-12))} of the rule of thumb, "
        f"{format_share(TYPICAL_UPDATE_RATIO)}; the loss was {history.first_loss:.2f} at the first step and is "
        f"{history.last_loss:.2f} after {pluralize(len(history.epochs), 'epoch')}."
    )
    return CheckResult(
        layer, epoch, usual, MIN_UPDATE_RATIO, evidence,
        "The weights hardly change.", _raise_advice(recipe, min(factor, 1000)),
    )  # fmt: skip


def _max_advised_lr(recipe: RecipeConfig) -> float:
    """Return the highest learning rate that is advised with the recipe's optimizer."""
    return OPTIMIZERS[recipe.optimizer].max_advised_lr


def _raise_advice(recipe: RecipeConfig, factor: float) -> str:
    """Return the advice to raise the learning rate by `factor`, up to the highest advised rate."""
    if recipe.lr >= _max_advised_lr(recipe):
        return (
            "The learning rate itself is not low: check whether a schedule, a warm-up or --clip lowers it, or try "
            "other initial weights."
        )
    return f"Try --lr {min(recipe.lr * factor, _max_advised_lr(recipe)):g}."


def _one_digit(value: float) -> str:
    """Return a large number rounded to one digit."""
    return f"{float(f'{value:.1g}'):,.0f}"
