"""Learning-rate schedules: pure functions from a step to a factor of the peak rate, in [0, 1].

A schedule has no state. It depends on the step, and `plateau` on the validation losses so far, so that resume needs
nothing else. The shapes are those of torch.optim.lr_scheduler. A warm-up can precede each of them, as with optax's
`join_schedules`.

Each function makes a schedule from `total` and `warm_up`, the steps after and in the warm-up, and its own parameters.
The rows in `optim/registry.py` name them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

# (step, validation losses of the epochs of this phase) -> factor
Schedule = Callable[[int, Sequence[float]], float]

MIN_RELATIVE_IMPROVEMENT = 1e-4  # of the validation loss, as the threshold of torch's ReduceLROnPlateau


def constant(total: int, warm_up: int = 0) -> Schedule:
    """Return the factor 1 at every step."""
    return lambda step, losses: 1.0


def step_decay(total: int, warm_up: int = 0, *, step_every: int, gamma: float) -> Schedule:
    """Multiply by `gamma` every `step_every` steps, counted from the beginning of the warm-up."""
    return lambda step, losses: gamma ** ((step + warm_up) // max(step_every, 1))


def multistep(total: int, warm_up: int = 0, *, milestones: Sequence[int], gamma: float) -> Schedule:
    """Multiply by `gamma` at each milestone, a number of steps counted from the beginning of the warm-up."""
    return lambda step, losses: gamma ** sum(step + warm_up >= milestone for milestone in milestones)


def cosine(total: int, warm_up: int = 0) -> Schedule:
    """Follow half a cosine from 1 at step 0 to 0 at step `total` (Loshchilov & Hutter 2017, eq. 5, one cycle)."""
    return lambda step, losses: 0.5 * (1 + math.cos(math.pi * min(step / max(total, 1), 1.0)))


def linear(total: int, warm_up: int = 0) -> Schedule:
    """Fall linearly from 1 at step 0 to 0 at step `total`."""
    return lambda step, losses: max(0.0, 1.0 - step / max(total, 1))


def one_cycle(
    total: int, warm_up: int = 0, *, rise: float = 0.3, start: float = 1 / 25, end: float = 1 / 250_000
) -> Schedule:
    """Rise along a cosine, then fall along a cosine (Smith & Topin 2018; torch's OneCycleLR).

    Args:
        total: Number of steps.
        warm_up: Number of steps before them.
        rise: Share of the steps before the peak.
        start: Factor at the first step.
        end: Factor at the last step.
    """
    peak = rise * total - 1
    last = total - 1

    def factor(step: int, losses: Sequence[float]) -> float:
        """Return the factor of the peak rate at a step."""
        if step <= peak:
            low, high, share = start, 1.0, step / max(peak, 1e-12)
        else:
            low, high, share = 1.0, end, min((step - peak) / max(last - peak, 1e-12), 1.0)
        return high + (low - high) / 2 * (1 + math.cos(math.pi * share))

    return factor


def plateau(total: int, warm_up: int = 0, *, gamma: float, plateau_epochs: int) -> Schedule:
    """Multiply by `gamma` when the validation loss has not improved for more than `plateau_epochs` epochs.

    The rule is that of torch's ReduceLROnPlateau: an improvement is a loss below the best one by more than
    `MIN_RELATIVE_IMPROVEMENT` of it, and the count of epochs begins again after each multiplication.
    """

    def factor(step: int, losses: Sequence[float]) -> float:
        """Return the factor of the peak rate after the epochs with these validation losses."""
        best, waiting, value = math.inf, 0, 1.0
        for loss in losses:
            if loss < best * (1 - MIN_RELATIVE_IMPROVEMENT):
                best, waiting = loss, 0
            else:
                waiting += 1
            if waiting > plateau_epochs:
                value, waiting = value * gamma, 0
        return value

    return factor


def without_history(then: Schedule) -> Schedule:
    """Return the schedule without the validation losses, so that it depends on the step alone."""
    return lambda step, losses: then(step, ())


def with_warm_up(steps: int, then: Schedule) -> Schedule:
    """Rise linearly over `steps` steps to the first factor of `then`, which counts its steps from there.

    The factor of the first step is 1/(steps + 1), not 0, so that the first step updates the weights.
    """
    if steps == 0:
        return then
    return lambda step, losses: (
        then(0, losses) * (step + 1) / (steps + 1) if step < steps else then(step - steps, losses)
    )
