"""The lifecycle of one run: prepare, train, record, select the best model, evaluate. A run can be resumed."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from headstart.artifacts import gallery, predictions
from headstart.artifacts.model_folder import write_model
from headstart.config.duration import Duration
from headstart.config.plan_file import read_plan_file
from headstart.config.run_config import ResolvedFacts, RunConfig, differences, with_absolute_paths
from headstart.diagnostics import checks
from headstart.diagnostics.history import History
from headstart.errors import DivergedError, InterruptedRunError, UsageError
from headstart.hardware import calibration, devices, environment, precision
from headstart.models import freezing, structure
from headstart.reporter import Reporter
from headstart.runs.checkpoint_policy import CheckpointPolicy
from headstart.runs.result import RunEvaluation, evaluation_result, write_result, zero_logit_scores
from headstart.runs.resume_checks import require_reproducible_best, require_unchanged_inputs, unchanged_plan
from headstart.runs.run_folder import begin_record, is_blind, make_folder
from headstart.signals import SignalGuard
from headstart.storage import folders, journal, locks
from headstart.storage.cache import remove_stale
from headstart.storage.schemas.metrics import EpochLine, FindingLine, FreezeCheckLine, Line, StoppedLine, WithdrawnLine
from headstart.storage.schemas.result import RESULT_FILE, RunResult, RunSeconds, RunState
from headstart.storage.schemas.study import RunRole
from headstart.telemetry import tensorboard
from headstart.telemetry.observer import Observer, epoch_sentence
from headstart.telemetry.probe import Probe
from headstart.telemetry.run_logger import RunLogger, hyperparameters
from headstart.training import checkpoint, events, loop, scoring
from headstart.training.setup import TrainingSetup, make_network, prepare
from headstart.training.state import State


def run_new(
    draft: RunConfig,
    runs: Path,
    reporter: Reporter,
    *,
    save_every: Duration | None = None,
    until: int | None = None,
    role: RunRole | None = None,
) -> Path:
    """Run a plan in a new folder.

    Args:
        draft: The plan; open fields are resolved.
        runs: The parent of the new folder.
        reporter: Receives progress.
        save_every: Interval between checkpoints (default: as often as costs 1 % of the time).
        until: Epoch after which the run pauses, with a checkpoint and no result; `resume` continues it.
        role: The role of the run in a study, written beside the plan; its variant also names the folder.

    Returns:
        The folder of the run.

    Raises:
        DivergedError: The loss became NaN or infinite.
        InterruptedRunError: A signal stopped the run; it can be resumed.
        HeadstartError: The plan or the data are invalid.
    """
    folders.require_writable(runs)
    draft = calibration.resolve_machine(with_absolute_paths(draft))
    with precision.deterministic(torch.device(draft.machine.device), draft.machine.threads):
        setup = replace(prepare(draft, reporter), blind=is_blind(role))
        folder = make_folder(setup.plan, runs, role)
        _run(folder, setup, reporter, save_every, until)
        if role is None:  # a study makes a gallery only for the run whose model it exports
            gallery.write_if_possible(folder, reporter)
    return folder


def resume(folder: Path, reporter: Reporter, *, save_every: Duration | None = None, until: int | None = None) -> Path:
    """Continue a stopped run, and return its folder; `save_every` and `until` as in `run_new`.

    Raises:
        UsageError: The run has ended, or its plan was changed by hand.
        DataError: The data or the weights have changed.
    """
    content = unchanged_plan(folder)
    plan = content.plan
    if (folder / RESULT_FILE).exists():
        is_finished = RunResult.read(folder / RESULT_FILE).state is RunState.FINISHED
        state = "is finished" if is_finished else "has diverged"
        raise UsageError(f"The run {folder} {state}.", "View it with `headstart board`, or start a new run.")
    calibration.resolve_machine(plan)  # raises if the device is no longer available
    with precision.deterministic(torch.device(plan.machine.device), plan.machine.threads):
        setup = replace(prepare(plan, reporter), blind=is_blind(content.study))
        require_unchanged_inputs(plan, setup.plan)
        if changes := differences(content.environment, environment.environment(plan.machine.device)):
            reporter.say(f"Not comparable bit for bit with the start of the run: {'; '.join(changes)}.")
            require_reproducible_best(folder)
        _run(folder, setup, reporter, save_every, until)
        if content.study is None:
            gallery.write_if_possible(folder, reporter)
    return folder


def draft_from_run(folder: Path) -> RunConfig:
    """Return the plan of a run folder as a draft, without its resolved facts."""
    return read_plan_file(folder).plan.changed("facts", **ResolvedFacts().model_dump())


def repair(folder: Path) -> Path:
    """Rebuild a run's TensorBoard files from its record, and return the folder."""
    plan = read_plan_file(folder).plan
    with locks.locked(folder):
        tensorboard.rebuild_event_file(folder, hyperparameters(plan)).close()
    return folder


def _run(
    folder: Path, setup: TrainingSetup, reporter: Reporter, save_every: Duration | None, until: int | None
) -> None:
    """Train from the newest checkpoint, or from the start, and evaluate the best model."""
    context, state = setup.context, loop.initial_state(setup.context)
    probe = Probe(context)  # before a checkpoint is loaded: it measures the distance from the initial weights
    with locks.locked(folder), SignalGuard() as guard:
        for parent in (folder, folder / "model", folder / "artifacts"):
            remove_stale(parent)  # incomplete files of a crash
        saved, warnings = checkpoint.load_state(folder / "checkpoints", context, state)
        for warning in warnings:
            reporter.say(warning)
        if not saved:  # fail before training, not at the first checkpoint
            folders.require_space(folder, checkpoint.max_checkpoint_bytes(state))
        position = f"at step {state.progress.step} of {context.steps}" if saved else f"{context.steps} steps"
        reporter.say(f"Run {folder}, {position}. Ctrl-C is safe: resume with `headstart resume {folder}`.")
        with RunLogger(folder, setup.plan, saved.bytes if saved else 0) as run_logger:
            session = RunSession(
                setup, state, run_logger, reporter, guard, probe, CheckpointPolicy(save_every, context)
            )
            if saved:
                session.training_seconds, session.logging_seconds = saved.seconds.training, saved.seconds.logging
                session.restore_history()
            else:
                session.begin()
            try:
                if not saved:
                    session.initial_probe()
                if session.train(until):
                    session.report_findings(RunState.FINISHED)
                    session.conclude(session.evaluate())
            except DivergedError as error:
                session.report_findings(RunState.DIVERGED)
                session.conclude(session.evaluate_diverged(), diverged=error.message)
                raise
            finally:
                if (folder / RESULT_FILE).exists():
                    checkpoint.remove_all(folder / "checkpoints")
                    guard.complete()


class RunSession:
    """Mutable state of an active run."""

    def __init__(
        self,
        setup: TrainingSetup,
        state: State,
        run_logger: RunLogger,
        reporter: Reporter,
        guard: SignalGuard,
        probe: Probe,
        policy: CheckpointPolicy,
    ) -> None:
        self.setup, self.state, self.run_logger = setup, state, run_logger
        self.reporter, self.guard, self.probe, self.policy = reporter, guard, probe, policy
        self.folder = run_logger.folder
        self.history = History(setup.plan)
        self.reported: set[str] = set()  # names of reported findings
        self.training_seconds = self.logging_seconds = 0.0
        self.saved_at: tuple[int, int] | None = None  # step and epoch of the last checkpoint

    def begin(self) -> None:
        """Write the first lines of the record: the time, and a picture of training samples."""
        begin_record(self.run_logger, predictions.render_samples(self.setup.context))

    def initial_probe(self) -> None:
        """Probe the network at initialization: some findings exist before the first step."""
        clock = time.perf_counter()
        tuning = self.setup.context.phases[0].tuning  # as the loop sets it when it begins
        freezing.freeze(self.state.network, freezing.trainable(self.state.network, tuning))
        freezing.train_mode(self.state.network, tuning)
        self.write(self.probe.line(0, 0))
        self.report_findings()
        self.logging_seconds += time.perf_counter() - clock

    @property
    def seconds(self) -> RunSeconds:
        """Duration of the run so far."""
        return RunSeconds(training=self.training_seconds, logging=self.logging_seconds)

    def write(self, line: Line) -> None:
        """Write a line to the record, and update the history for the health checks."""
        self.run_logger.write(line)
        self.history.add(line)

    def restore_history(self) -> None:
        """Restore the history and the reported findings of a resumed run from its record."""
        for line in journal.read_lines(self.folder / "metrics.jsonl"):
            self.history.add(line)
            if isinstance(line, FindingLine):
                self.reported.add(line.code)
            elif isinstance(line, WithdrawnLine):
                self.reported.discard(line.code)

    def report_findings(self, state: RunState = RunState.UNFINISHED) -> None:
        """Report new findings in the terminal and in the record, and so in TensorBoard.

        Args:
            state: The state of the run; when it has ended, findings that no longer hold are withdrawn.
        """
        self.history.state = state
        for line in checks.finding_lines(self.history, self.reported, self.state.progress.step):
            self.run_logger.write(line)
            self.reporter.say(f"{line.name.capitalize()}: {line.sentence}")

    def train(self, until: int | None) -> bool:
        """Consume the loop's events: write lines, save the best model and checkpoints, stop on request.

        Args:
            until: Epoch after which the run pauses.

        Returns:
            Whether the run has ended; False if it paused.
        """
        context = self.setup.context
        epochs = -(-context.steps // context.batches.steps_per_epoch)
        observer = self._observer()
        for event in loop.train(context, self.state):
            clock = time.perf_counter()
            for line in observer.lines(event):
                self.write(line)
                if isinstance(line, FreezeCheckLine):
                    self.reporter.say(line.sentence)
                elif isinstance(line, EpochLine):
                    self.reporter.say(epoch_sentence(line, epochs))
                    self.report_findings()
            self.logging_seconds += time.perf_counter() - clock
            if isinstance(event, events.Backward):  # within a step: the state cannot be saved
                continue
            if isinstance(event, events.Step):
                self.reporter.progress("training", event.step, context.steps)
            elif isinstance(event, events.Epoch):
                self.training_seconds += event.train_seconds + event.val_seconds
                if event.best:
                    write_model(self.folder / "model", self.state.evaluated_network.state_dict(), self.setup, event)
            # read once: a signal that arrives after this line is handled at the next event
            stop = self.guard.pending()
            if stop is not None:
                self.reporter.say("Stopping with a checkpoint. A second signal stops at once, without a checkpoint.")
            if stop is not None or self.policy.is_due(event, self.state.progress):
                self.save()
            if stop is not None:
                self.raise_if_stop_requested()
            is_pause = isinstance(event, events.Epoch) and event.epoch == until
            if is_pause and not loop.is_finished(context, self.state.progress):
                self.save()
                return False
        return True

    def _observer(self) -> Observer:
        context, plan = self.setup.context, self.setup.plan
        return Observer(
            structure.layer_names(self.state.network),
            labels=context.val.labels,
            steps_per_epoch=context.batches.steps_per_epoch,
            total=context.steps,
            flops=self.setup.flops,
            peak=self.setup.peak,
            batch_size=context.batches.batch_size,
            probe=self.probe.line if plan.arm.tuning != "frozen" else None,  # a frozen backbone does not change
        )

    def save(self) -> None:
        """Write a checkpoint with the present length of the record, unless this state is saved already."""
        position = (self.state.progress.step, self.state.progress.epoch)
        if position == self.saved_at:
            return
        self.saved_at = position
        clock = time.perf_counter()
        run_position = checkpoint.RunPosition(
            bytes=self.run_logger.sync(),
            seconds=self.seconds,
            plan=self.setup.plan,
            best_epoch=self.state.progress.best_epoch,
        )
        checkpoint.save_state(self.folder / "checkpoints", self.state, run_position)
        self.policy.record_save(clock)

    def raise_if_stop_requested(self) -> None:
        """Raise InterruptedRunError after a stop request. A checkpoint must have been written."""
        if (number := self.guard.pending()) is not None:
            self.run_logger.write(StoppedLine(step=self.state.progress.step, signal=number.name))
            self.run_logger.sync()
            raise InterruptedRunError(number, f"Continue with `headstart resume {self.folder}`.")

    def evaluate(self) -> RunEvaluation:
        """Evaluate the best model on val, and on test for the first and only time.

        Raises:
            DivergedError: The loss of the best model is not finite.
        """
        setup, context = self.setup, self.setup.context
        network = make_network(setup.plan.network, setup.plan.arm.head, len(setup.index.classes), 0)
        network.load_state_dict(load_file(self.folder / "model" / "model.safetensors"))
        devices.place(network, context.device)
        scores: dict[str, scoring.Score] = {}
        for name, images in setup.evaluation_images.items():
            for score in predictions.score_split(network, images, context):
                if score is None:
                    self.raise_if_stop_requested()
                elif not math.isfinite(score.loss):
                    raise DivergedError(f"The best model's {name} loss is {score.loss}.", "Use a ten times lower --lr.")
                else:
                    scores[name] = score
        return self._write_evaluation(scores)

    def evaluate_diverged(self) -> RunEvaluation:
        """Evaluate a diverged run by its best model before that, else by logits of 0, which predict the first class."""
        if self.state.progress.best_epoch:
            with suppress(DivergedError):
                return self.evaluate()
        return self._write_evaluation(zero_logit_scores(self.setup))

    def _write_evaluation(self, scores: dict[str, scoring.Score]) -> RunEvaluation:
        progress = self.state.progress
        return evaluation_result(
            self.run_logger, self.setup, scores, progress.step, progress.epoch, progress.best_epoch
        )

    def conclude(self, evaluation: RunEvaluation, diverged: str | None = None) -> None:
        """Write result.json; `diverged` is the reason why the run diverged."""
        write_result(self.run_logger, self.setup.plan, evaluation, self.seconds, diverged)
