"""The checkpoints of one run: load the newest, write them when they are due, and remove them at the end."""

from __future__ import annotations

import time
from pathlib import Path

from headstart.config.resolve import SaveInterval
from headstart.reporter import Reporter
from headstart.runs.checkpoint_policy import CheckpointPolicy
from headstart.runs.session import RunSession
from headstart.storage import folders
from headstart.training import checkpoint, events, loop
from headstart.training.state import State, TrainingContext


class RunCheckpoints:
    """The checkpoints of a training state in the folder of its run."""

    def __init__(self, folder: Path, context: TrainingContext, state: State, save_every: SaveInterval) -> None:
        """Start without a checkpoint.

        Args:
            folder: The folder of the run.
            context: The context of the training.
            state: The state that is saved, and restored in place.
            save_every: Interval between checkpoints.
        """
        self._folder, self._context, self._state = folder, context, state
        self._policy = CheckpointPolicy(save_every, context, checkpoint.checkpoint_bytes(context, state))
        self._saved_at: tuple[int, int] | None = None  # step and epoch of the last checkpoint

    @property
    def is_finished(self) -> bool:
        """True if the training has come to its end."""
        return loop.is_finished(self._context, self._state.progress)

    def load(self, reporter: Reporter) -> checkpoint.RunPosition | None:
        """Restore the state from the newest intact checkpoint; return its position, or None if there is none.

        Raises:
            ResourceError: There is no checkpoint, and no space for one.
        """
        saved, warnings = checkpoint.load_state(self._folder, self._context, self._state)
        for warning in warnings:
            reporter.say(warning)
        if saved is None:  # fail before training, not at the first checkpoint
            needed = (checkpoint.MAX_CHECKPOINTS + 1) * checkpoint.checkpoint_bytes(self._context, self._state)
            folders.require_space(self._folder, needed)
        return saved

    def is_due(self, event: events.Event) -> bool:
        """Return whether a checkpoint is due after `event`."""
        return self._policy.is_due(event)

    def save(self, session: RunSession) -> None:
        """Write a checkpoint with the present length of the record, unless this state is saved already."""
        progress = self._state.progress
        if (progress.step, progress.epoch) == self._saved_at:
            return
        self._saved_at = progress.step, progress.epoch
        clock = time.perf_counter()
        position = checkpoint.RunPosition(
            bytes=session.run_logger.sync(),
            seconds=session.seconds,
            plan=session.setup.plan,
            best_epoch=progress.best_epoch,
        )
        checkpoint.save_state(self._folder, self._state, position)
        self._policy.record_save(clock)

    def remove(self) -> None:
        """Remove the checkpoints of a run that has ended."""
        checkpoint.remove_all(self._folder)
