"""Decide when a run writes a checkpoint.

With `--save-every` a checkpoint is written every so many steps and after each epoch. Without it, checkpoints are
written so often that they take at most 1 % of the time. A run always writes one after its last epoch.
"""

from __future__ import annotations

import time

from headstart.config.resolve import SaveInterval
from headstart.storage.schemas.checkpoint import TrainingProgress
from headstart.training import events, loop
from headstart.training.state import TrainingContext

MAX_SAVING_SHARE = 0.01  # of the time, for checkpoints without --save-every


class CheckpointPolicy:
    """Decide after each event of the training loop whether a checkpoint is due."""

    def __init__(self, save_every: SaveInterval, context: TrainingContext) -> None:
        """Start without a checkpoint.

        Args:
            save_every: Interval between checkpoints.
            context: The context of the training, which converts the interval to steps.
        """
        self._context = context
        self._interval = _interval_steps(save_every, context)
        self._saved_at: float | None = None  # clock after the last checkpoint
        self._save_seconds = 0.0  # duration of the last checkpoint

    def is_due(self, event: events.Event, progress: TrainingProgress) -> bool:
        """Return whether a checkpoint is due after `event`."""
        if isinstance(event, events.Epoch) and (self._interval or loop.is_finished(self._context, progress)):
            return True
        if self._interval:
            return isinstance(event, events.Step) and event.step % self._interval == 0
        if self._saved_at is None:
            return True
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
