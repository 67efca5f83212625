"""Measurement schedule: log-spaced steps, where training changes fastest, and the end of each epoch."""

from __future__ import annotations

MIN_IMAGES_BETWEEN_PROBES = 2000  # training images; a gradient probe costs as much as 10 to 20 of them


def probe_is_due(step: int, steps_per_epoch: int, total: int, batch_size: int) -> bool:
    """Return True if the gradient probe runs after step `step`.

    The probe runs at the end of each epoch, at the end of every n-th epoch where epochs are short, and after the last
    step.

    Args:
        step: Number of the step, from 1.
        steps_per_epoch: Steps in one epoch.
        total: Steps in the whole run.
        batch_size: Images per step.
    """
    if step == total:
        return True
    every = -(-MIN_IMAGES_BETWEEN_PROBES // (steps_per_epoch * batch_size))
    return step % (steps_per_epoch * every) == 0


def snapshot_is_due(step: int, steps_per_epoch: int, total: int) -> bool:
    """Return True if tensors are measured at step `step`: steps 1, 2, 4, 8, …, the last of each epoch and of the run.

    Powers of two count within the first epoch only, so the cost is a few snapshots per run.

    Args:
        step: Number of the step, from 1.
        steps_per_epoch: Steps in one epoch.
        total: Steps in the whole run.
    """
    if step % steps_per_epoch == 0 or step == total:
        return True
    return step < steps_per_epoch and step & (step - 1) == 0
