"""Weights & Biases. Its variables choose where runs go: WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY, WANDB_BASE_URL.

A line of the record is a row of the history. Its step in W&B is the number of the line, because a step of the training
can have several lines, and W&B ignores a row with a step that it has. Charts are drawn over `step`, the step of the
training.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import wandb

from headstart.storage.schemas.result import RunResult, RunState
from headstart.telemetry.trackers.tracker import Row, TrackedRun, summary

PROJECT = "headstart"  # unless WANDB_PROJECT names another
# 255 is what W&B itself uses for Ctrl-C: the run is shown as killed
EXIT_CODES = {RunState.FINISHED: 0, RunState.DIVERGED: 1, RunState.UNFINISHED: 255}


class WandbTracker:
    """Runs in one project of Weights & Biases."""

    def __init__(self) -> None:
        """Read the settings of the environment; connect to nothing."""
        self._project = os.environ.get("WANDB_PROJECT") or PROJECT
        self._settings = wandb.Settings(
            console="off",
            disable_git=True,
            reinit="create_new",
            save_code=False,
            silent=True,
            x_disable_machine_info=True,  # it would describe the process that sends the record
            x_disable_meta=True,
            x_disable_stats=True,
        )
        effective = wandb.setup().settings
        self._is_offline = effective.mode != "online"
        place = effective.mode if self._is_offline else f"{effective.base_url}/{effective.entity or ''}"
        self.target = f"{place}/{self._project}"

    def open(self, run: TrackedRun) -> WandbRun:
        """Return a run, whose id is that of the record."""
        opened = wandb.init(
            project=self._project,
            id=run.id,
            name=run.name,
            group=run.group,
            job_type=run.stage,
            config={**run.hyperparameters, "arm": run.arm},
            resume="allow",
            settings=self._settings,
        )
        opened.define_metric("*", step_metric="step")
        # offline, each opening makes a file of its own, and a later synchronization keeps only one of a run
        return WandbRun(opened, is_new=self._is_offline or not opened.resumed)


class WandbRun:
    """One run of Weights & Biases."""

    def __init__(self, run: wandb.Run, *, is_new: bool) -> None:
        """Wrap an open run."""
        self._run, self.is_new = run, is_new

    def log(self, rows: Sequence[Row]) -> None:
        """Add one row of the history for each line."""
        for row in rows:
            self._run.log({**row.scalars, "step": row.step, "_timestamp": row.time}, step=row.line)

    def end(self, state: RunState, result: RunResult | None) -> None:
        """Add the result to the summary, and wait until all is sent."""
        self._run.summary.update(summary(state, result))
        self._run.finish(exit_code=EXIT_CODES[state])


def create() -> WandbTracker:
    """Return the tracker of the settings in the environment."""
    return WandbTracker()
