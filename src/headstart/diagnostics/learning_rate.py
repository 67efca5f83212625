"""Is the learning rate too high, or too low? Updates beside the weights, and what training has to show for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Any

from headstart.diagnostics.finding import Finding, share, switches
from headstart.diagnostics.gradients import dead, flow_kept
from headstart.diagnostics.history import History
from headstart.text import pluralize

THUMB = 1e-3  # |Δw|/|w| per step, the median over layers: a rule of thumb, that of SGD; Adam has more
SMALL_UPDATE = 3e-5
LARGE_UPDATE = 3e-2
HEAD_TIMES = 10  # a head alone may have updates so many times as large
FAR = 1.0  # |w - w₀|/|w₀|, the median over layers
BLOWN_UP = 1.1  # of the loss of one who knows nothing: what a first epoch that does harm has on the mean
MAX_EPOCH_UPDATE_RATIO = (
    2.0  # of the same: what a whole epoch may have of it before it says that weights are thrown about
)
MAX_STUCK_LOSS_RATIO = 0.8  # of the loss of one who guesses: what has not come below it has learned next to nothing
MAX_ADVISED_LR = {"sgd": 0.1, "adam": 0.01}  # the highest rate that is advised, whatever was tried; others as Adam
MIN_GRADIENT_RATIO = (
    0.1  # of the gradient at the last block: with less at the first, small updates are not for want of a rate
)
LR_STEP_TOLERANCE_DECADES = (
    0.25  # powers of ten by which too long a step is left where it is: a tenth is tried before a hundredth
)


def too_high(history: History) -> Finding | None:
    """Steps that make the loss infinite, or that are wild and have little to show for it."""
    diverged = history.state == "diverged"
    updates = history.updates()
    epoch, layer, largest = max(updates, key=lambda found: found[2], default=(0, "", 0.0))
    alone = history.plan["arm"]["tuning"] == "frozen"  # a head begins small, and moves far without harm
    large = largest >= (HEAD_TIMES if alone else 1) * LARGE_UPDATE
    if not diverged and not _does_harm(history, wild=large or history.distance() >= FAR):
        return None
    recipe = history.plan["recipe"]
    times = max(10.0, 10.0 ** round(math.log10(max(largest, THUMB) / THUMB) - LR_STEP_TOLERANCE_DECADES))
    told = [f"{_optimizer(recipe['optimizer'])} at {recipe['lr']:g}:"]
    if updates:
        told.append(
            f"updates are {share(largest)} of the weights per step in epoch {epoch} ({layer} moves most), "
            f"{largest / THUMB:.0f} times the rule of thumb, {share(THUMB)};"
        )
    killed = dead(history, history.probes[-1]) if history.probes else None
    if diverged:
        told.append("the loss is no longer finite.")
    elif killed is not None:
        told.append(f"{100 * (killed.value or 0):.0f} % of the filters of {killed.layer} are dead by now.")
    else:
        told.append(
            f"after {pluralize(len(history.epochs), 'epoch')} the loss is {history.last_loss:.2f}, and one who guesses "
            f"has {history.prior_entropy:.2f}."
        )
    return Finding(
        "learning rate too high", layer, epoch, largest if updates else None, LARGE_UPDATE, " ".join(told),
        "Steps are so long that they throw away what the ones before have learned.",
        f"Try --lr {min(recipe['lr'] / times, _bold(recipe)):g}.",
    )  # fmt: skip


def _does_harm(history: History, *, wild: bool) -> bool:
    """Whether training has had `wild` steps, has little to show for them, and has stopped getting better.

    Far above the loss of one who knows nothing, on train and on val, there is no question of that. A run that has ended
    gets no better; but one that has only been slow, and was still falling, has come to no harm.
    """
    if not wild or history.has_learned:
        return False
    if (
        history.last_loss > MAX_EPOCH_UPDATE_RATIO * history.uniform_loss
    ):  # on train and on val: it need not be given time for that
        return True
    if not (history.has_had_time and history.settled):
        return False
    blown_up = history.epochs[0]["train"]["loss"] > BLOWN_UP * history.uniform_loss
    killed = bool(history.probes) and dead(history, history.probes[-1]) is not None
    return (
        blown_up
        or killed
        or (history.last_loss >= MAX_STUCK_LOSS_RATIO * history.prior_entropy and not history.is_falling)
    )


def too_low(history: History) -> Finding | None:
    """Steps too small to learn anything by, unless gradients fade on the way, which no rate mends."""
    updates = history.updates()
    if not updates or not history.has_had_time or history.last_loss < MAX_STUCK_LOSS_RATIO * history.prior_entropy:
        return None
    usual = median(update for _, _, update in updates)
    kept = flow_kept(history.probes[-1]) if history.probes else None
    if usual >= SMALL_UPDATE or (kept is not None and kept < MIN_GRADIENT_RATIO and switches(history)):
        return None
    epoch, layer, _ = max(updates, key=lambda found: found[2])
    recipe = history.plan["recipe"]
    times = 10.0 ** round(math.log10(THUMB / max(usual, 1e-9)))
    evidence = (
        f"{_optimizer(recipe['optimizer'])} at {recipe['lr']:g}: updates are {share(usual)} of the weights per step, "
        f"a {_round(THUMB / max(usual, 1e-12))}th of the rule of thumb, {share(THUMB)}; the loss was "
        f"{history.first_loss:.2f} at the first step and is {history.last_loss:.2f} after "
        f"{pluralize(len(history.epochs), 'epoch')}."
    )
    return Finding(
        "learning rate too low", layer, epoch, usual, SMALL_UPDATE, evidence,
        "The weights stay where they started.", _higher(recipe, min(times, 1000)),
    )  # fmt: skip


def _bold(recipe: Mapping[str, Any]) -> float:
    """The highest rate that is advised with an optimizer."""
    return MAX_ADVISED_LR.get(recipe["optimizer"], MAX_ADVISED_LR["adam"])


def _higher(recipe: Mapping[str, Any], times: float) -> str:
    """The advice to raise the rate so many times, as far as one dares."""
    if recipe["lr"] >= _bold(recipe):
        return (
            "The rate itself is not low: see whether a schedule, a warm-up or --clip makes it so, or try another start."
        )
    return f"Try --lr {min(recipe['lr'] * times, _bold(recipe)):g}."


def _round(value: float) -> str:
    """A large number with one digit."""
    return f"{float(f'{value:.1g}'):,.0f}"


def _optimizer(name: str) -> str:
    return {"sgd": "SGD", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW"}.get(name, name)
