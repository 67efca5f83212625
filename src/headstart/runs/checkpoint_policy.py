"""Decide when a run writes a checkpoint.

With `--save-every` a checkpoint is written every so many steps and after each epoch. Without it, checkpoints are
written so often that they take at most about 1 % of the time.
"""

from __future__ import annotations

import time

from headstart.config.resolve import SaveInterval
from headstart.training import events
from headstart.training.state import TrainingContext

MAX_SAVING_SHARE = 0.01  # of the time, for checkpoints without --save-every
ASSUMED_BYTES_PER_SECOND = 5e8  # of a checkpoint, before the first one is timed


class CheckpointPolicy:
    """Decide after each event of the training loop whether a checkpoint is due."""

    def __init__(self, save_every: SaveInterval, context: TrainingContext, checkpoint_bytes: int) -> None:
        """Start without a checkpoint.

        Args:
            save_every: Interval between checkpoints.
            context: The context of the training, which converts the interval to steps.
            checkpoint_bytes: Size of a checkpoint, which predicts the duration of the first one.
        """
        self._interval = _interval_steps(save_every, context)
        self._saved_at = time.perf_counter()  # after the last checkpoint, or at the start
        self._save_seconds = checkpoint_bytes / ASSUMED_BYTES_PER_SECOND  # of the last checkpoint

    def is_due(self, event: events.Event) -> bool:
        """Return whether a checkpoint is due after `event`."""
        if self._interval:
            return isinstance(event, events.Epoch) or (
                isinstance(event, events.Step) and event.step % self._interval == 0
            )
        return time.perf_counter() - self._saved_at >= self._save_seconds / MAX_SAVING_SHARE

    def record_save(self, begin: float) -> None:
        """Note that a checkpoint has been written.

        Args:
            begin: Value of `time.perf_counter` before it was written.
        """
        self._saved_at = time.perf_counter()
        self._save_seconds = self._saved_at - begin


def _interval_steps(save_every: SaveInterval, context: TrainingContext) -> int:
    """Return the interval between checkpoints in steps, or 0 for none."""
    if save_every is None:
        return 0
    return max(1, save_every.steps(context.batches.steps_per_epoch, whole=context.steps))
