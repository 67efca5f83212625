"""Compare the run of a selected learning rate: its trial is trained already, and its best model is evaluated on test.

A trial of a search is evaluated on val only. The run of the comparison has the plan of the trial of its rate, so that
it is the same training: its record and its model are copied, and the evaluation is made again with test. A run that is
trained from its first step has the same content.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from headstart.analysis.run_records import RunRecord
from headstart.config.plan_file import read_plan_file, write_plan_file
from headstart.config.run_config import RunConfig
from headstart.config.stored_code import stored_code
from headstart.errors import DivergedError
from headstart.hardware import precision
from headstart.i18n import NOTHING, verbatim
from headstart.models import user_code
from headstart.models.user_code import CODE_FOLDER
from headstart.reporter import Reporter
from headstart.runs import lifecycle
from headstart.runs.checkpoints import RunCheckpoints
from headstart.runs.resume_checks import require_unchanged_inputs
from headstart.runs.reuse import copy_files, with_origin
from headstart.runs.runner import NetworkTrainer
from headstart.storage import contained, folders, run_index
from headstart.storage.journal import RecordPosition, read_lines_from
from headstart.storage.run_files import RECORD_FILE
from headstart.storage.schemas.metrics import EndLine
from headstart.storage.schemas.result import RESULT_FILE, RunResult, RunState
from headstart.storage.schemas.study import RunRole
from headstart.storage.schemas.trackers import TRACKERS_FILE
from headstart.telemetry.run_logger import run_name
from headstart.training import events
from headstart.training.checkpoint import RunPosition
from headstart.training.setup import TrainingSetup, prepare


def evaluate_trial(trial: RunRecord, plan: RunConfig, parent: Path, role: RunRole, reporter: Reporter) -> Path:
    """Copy a finished trial to a new folder in `parent`, evaluate its best model on test, and return the folder.

    The folder of a process that stops before the end has no result; the run is then evaluated again, or trained.

    Args:
        trial: The trial, whose seal is intact.
        plan: Its plan; the images may have been moved since.
        parent: The parent of the new folder.
        role: Role of the run in its study.
        reporter: Receives progress.

    Raises:
        InterruptedRunError: A signal stopped the evaluation.
        HeadstartError: The inputs have changed, or a file of the trial is damaged.
    """
    assert trial.result is not None  # noqa: S101  (it is finished)
    code = stored_code(trial.folder, CODE_FOLDER, plan.network.network, plan.facts.network_sha256)
    machine = plan.machine
    with user_code.pinned(code), precision.deterministic(torch.device(machine.device), machine.threads):
        setup = prepare(plan, reporter)
        require_unchanged_inputs(plan, setup.plan)
        folder = folders.create_run(parent, run_name(plan, role), plan.seeding.seed)
        copy_files(trial.folder, folder)
        for name in (RESULT_FILE, TRACKERS_FILE):  # of the trial
            if contained.is_file(folder, name):
                contained.remove(folder, name)
        run_index.add(folder, plan.hash, plan.facts.network_sha256)
        content = with_origin(read_plan_file(trial.folder), role, None)
        write_plan_file(folder, content.model_copy(update={"plan": plan}))
        lifecycle.run(_TrialTrainer(folder, setup, role, reporter, trial.result), reporter)
    return folder


class _TrialTrainer(NetworkTrainer):
    """Evaluates a run whose training is done."""

    def __init__(
        self, folder: Path, setup: TrainingSetup, role: RunRole, reporter: Reporter, result: RunResult
    ) -> None:
        super().__init__(folder, setup, role, reporter, None)
        self._result = result
        self.checkpoints = _EndOfTraining(folder, setup, result)

    def train(self) -> Iterator[events.Event]:
        """Train nothing; see `Trainer`."""
        if self._result.state is RunState.DIVERGED:
            self.session.diverged = DivergedError(verbatim(self._result.reason or ""), NOTHING)
        yield from ()


class _EndOfTraining(RunCheckpoints):
    """The position at the end of the training, in the place of checkpoints."""

    def __init__(self, folder: Path, setup: TrainingSetup, result: RunResult) -> None:
        self._run, self._plan, self._result = folder, setup.plan, result

    def load(self, reporter: Reporter) -> RunPosition:
        """Return the position before the evaluation of the trial."""
        position = RecordPosition()
        for line, after in read_lines_from(self._run / RECORD_FILE, position, None):
            if isinstance(line, EndLine):
                break
            position = after
        result = self._result
        return RunPosition(bytes=position.bytes, seconds=result.seconds, plan=self._plan, best_epoch=result.best_epoch)

    def save(self, session: object) -> None:
        """Do nothing: a stopped evaluation is made again."""

    def remove(self) -> None:
        """Do nothing: there are no checkpoints."""
