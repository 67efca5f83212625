"""Learning-rate schedules: pure functions from step to factor, in [0, 1] of the peak rate.

A schedule is a value that is asked, never a state that is stepped: resume needs only the step number. The shapes are
those of torch.optim.lr_scheduler; warm-up joins any of them (optax's `join_schedules` is the model).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[int], float]


def constant() -> Schedule:
    return lambda step: 1.0


def step_decay(every: int, gamma: float, offset: int = 0) -> Schedule:
    """Multiply by `gamma` every `every` steps, counted from `offset` steps before the first."""
    return lambda step: gamma ** ((step + offset) // max(every, 1))


def multistep(milestones: Sequence[int], gamma: float) -> Schedule:
    """Multiply by `gamma` at each milestone (step numbers)."""
    return lambda step: gamma ** sum(step >= milestone for milestone in milestones)


def cosine(total: int) -> Schedule:
    """Half a cosine from 1 at step 0 towards 0 at step `total` (Loshchilov & Hutter 2017, eq. 5, one cycle)."""
    return lambda step: 0.5 * (1 + math.cos(math.pi * min(step / max(total, 1), 1.0)))


def linear(total: int) -> Schedule:
    """A straight line from 1 at step 0 towards 0 at step `total`."""
    return lambda step: max(0.0, 1.0 - step / max(total, 1))


def one_cycle(total: int, rise: float = 0.3, start: float = 1 / 25, end: float = 1 / 250_000) -> Schedule:
    """Cosine up from `start` over the share `rise`, cosine down to `end` (Smith & Topin 2018; torch's OneCycleLR)."""
    peak = rise * total - 1
    last = total - 1

    def factor(step: int) -> float:
        if step <= peak:
            low, high, share = start, 1.0, step / max(peak, 1e-12)
        else:
            low, high, share = 1.0, end, min((step - peak) / max(last - peak, 1e-12), 1.0)
        return high + (low - high) / 2 * (1 + math.cos(math.pi * share))

    return factor


def warm_up(steps: int, then: Schedule) -> Schedule:
    """A straight line up over `steps` steps to the factor that `then` starts with; `then` counts from there.

    The first step already moves: its factor is 1/(steps + 1), not 0.
    """
    if steps == 0:
        return then
    return lambda step: then(0) * (step + 1) / (steps + 1) if step < steps else then(step - steps)
