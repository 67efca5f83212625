"""When to look: at log-spaced steps, where training changes fastest, and at the end of each epoch."""

from __future__ import annotations

PHOTOS_BETWEEN = 2000  # trained on between two probes, at least: a probe costs what ten to twenty of them cost


def probe_is_due(step: int, steps_per_epoch: int, total: int, batch_size: int) -> bool:
    """Whether the network is probed after step `step` (from 1): at the end of each epoch, or of each n-th short one."""
    if step == total:
        return True
    every = -(-PHOTOS_BETWEEN // (steps_per_epoch * batch_size))
    return step % (steps_per_epoch * every) == 0


def is_due(step: int, steps_per_epoch: int, total: int) -> bool:
    """Whether the observers look at step `step` (from 1): steps 1, 2, 4, 8, …, each epoch's last and the very last.

    Powers of two are looked at within the first epoch, so the price is that of a few looks for each run.
    """
    if step % steps_per_epoch == 0 or step == total:
        return True
    return step < steps_per_epoch and step & (step - 1) == 0
