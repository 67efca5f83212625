"""Learning-rate schedules: pure functions from the step to a factor of the peak rate, in [0, 1].

A schedule has no state, so that resume needs only the step number. The shapes are those of torch.optim.lr_scheduler. A
warm-up can precede each of them, as with optax's `join_schedules`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[int], float]


def constant() -> Schedule:
    """Return the factor 1 at every step."""
    return lambda step: 1.0


def step_decay(every: int, gamma: float, offset: int = 0) -> Schedule:
    """Multiply by `gamma` every `every` steps, counted from `offset` steps before the first."""
    return lambda step: gamma ** ((step + offset) // max(every, 1))


def multistep(milestones: Sequence[int], gamma: float) -> Schedule:
    """Multiply by `gamma` at each milestone (step numbers)."""
    return lambda step: gamma ** sum(step >= milestone for milestone in milestones)


def cosine(total: int) -> Schedule:
    """Follow half a cosine from 1 at step 0 to 0 at step `total` (Loshchilov & Hutter 2017, eq. 5, one cycle)."""
    return lambda step: 0.5 * (1 + math.cos(math.pi * min(step / max(total, 1), 1.0)))


def linear(total: int) -> Schedule:
    """Fall linearly from 1 at step 0 to 0 at step `total`."""
    return lambda step: max(0.0, 1.0 - step / max(total, 1))


def one_cycle(total: int, rise: float = 0.3, start: float = 1 / 25, end: float = 1 / 250_000) -> Schedule:
    """Rise along a cosine, then fall along a cosine (Smith & Topin 2018; torch's OneCycleLR).

    Args:
        total: Number of steps.
        rise: Share of the steps before the peak.
        start: Factor at the first step.
        end: Factor at the last step.
    """
    peak = rise * total - 1
    last = total - 1

    def factor(step: int) -> float:
        """Return the factor of the peak rate at a step."""
        if step <= peak:
            low, high, share = start, 1.0, step / max(peak, 1e-12)
        else:
            low, high, share = 1.0, end, min((step - peak) / max(last - peak, 1e-12), 1.0)
        return high + (low - high) / 2 * (1 + math.cos(math.pi * share))

    return factor


def warm_up(steps: int, then: Schedule) -> Schedule:
    """Rise linearly over `steps` steps to the first factor of `then`, which counts its steps from there.

    The factor of the first step is 1/(steps + 1), not 0, so that the first step updates the weights.
    """
    if steps == 0:
        return then
    return lambda step: then(0) * (step + 1) / (steps + 1) if step < steps else then(step - steps)
