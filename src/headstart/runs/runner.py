"""Train the network of one run, in a new folder or from its checkpoint."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from headstart.analysis.run_records import read_run
from headstart.analysis.set_uses import training_note
from headstart.artifacts import predictions
from headstart.artifacts.model_folder import write_model
from headstart.audit.quick import say_quick_lines
from headstart.config.new_place import NewPlace
from headstart.config.plan_file import differences, read_plan_file
from headstart.config.resolve import SaveInterval
from headstart.config.run_config import ResolvedFacts, RunConfig, with_absolute_paths
from headstart.config.sealed_run import read_result
from headstart.config.stored_code import network_in, stored_code
from headstart.data.dataset import Dataset
from headstart.data.splits import Split
from headstart.errors import DivergedError, UsageError
from headstart.hardware import calibration, devices, environment, precision
from headstart.i18n import _, ngettext
from headstart.models import freezing, structure, user_code
from headstart.models.user_code import CODE_FOLDER
from headstart.reporter import Reporter
from headstart.runs import lifecycle
from headstart.runs.checkpoints import RunCheckpoints
from headstart.runs.relocation import relocate_run, suggesting_new_place
from headstart.runs.resume_checks import require_reproducible_best, require_unchanged_inputs, unchanged_plan
from headstart.runs.run_folder import make_run_folder
from headstart.runs.session import RunSession
from headstart.storage import folders, locks, seals
from headstart.storage.ledger import digest_of
from headstart.storage.run_files import MODEL_FOLDER
from headstart.storage.schemas.arm import TuningKind
from headstart.storage.schemas.metrics import EndLine
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.study import RunRole
from headstart.telemetry import tensorboard
from headstart.telemetry.hyperparameters import hyperparameters
from headstart.telemetry.observer import Observer
from headstart.telemetry.probe import Probe
from headstart.telemetry.trackers.tracking import tracked
from headstart.training import events, loop
from headstart.training.scoring import Score
from headstart.training.setup import TrainingSetup, check_plan, prepare
from headstart.weights.model_weights import model_weights


@user_code.pinned()
def run_new(
    draft: RunConfig,
    runs: Path,
    reporter: Reporter,
    *,
    save_every: SaveInterval = None,
    until: int | None = None,
    role: RunRole | None = None,
    trackers: Sequence[str] = (),
) -> Path:
    """Run a plan in a new folder.

    Args:
        draft: The plan; open fields are resolved.
        runs: The parent of the new folder.
        reporter: Receives progress.
        save_every: Interval between checkpoints.
        until: Epoch after which the run pauses, with a checkpoint and no result; `resume` continues it.
        role: The role of the run in a study, written beside the plan; its variant also names the folder.
        trackers: Names of trackers to which the record is sent meanwhile.

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
        setup = prepare(draft, reporter)
        if role is None:  # a study has said it once
            say_quick_lines(setup.plan, setup.dataset, setup.split, reporter)
            _say_uses(setup.dataset, setup.split, reporter)
        folder = make_run_folder(setup.plan, runs, role)
        with tracked(folder, trackers, reporter):
            _run(folder, setup, role, reporter, save_every, until)
    return folder


@user_code.pinned()
def check(draft: RunConfig, reporter: Reporter) -> None:
    """Raise the error that `run_new` would raise before the first step. Measure and train nothing.

    Args:
        draft: The plan.
        reporter: Receives notes about data and start, the number of steps, and their duration if it is known.

    Raises:
        HeadstartError: The plan or the data are invalid.
    """
    draft = calibration.resolve_machine(with_absolute_paths(draft))
    with precision.deterministic(torch.device(draft.machine.device), draft.machine.threads):
        run = check_plan(draft, reporter)
        say_quick_lines(run.plan, run.dataset, run.split, reporter)
        _say_uses(run.dataset, run.split, reporter)


def resume(
    folder: Path,
    reporter: Reporter,
    *,
    save_every: SaveInterval = None,
    until: int | None = None,
    trackers: Sequence[str] = (),
    place: NewPlace | None = None,
) -> Path:
    """Continue a stopped run, and return its folder.

    Args:
        folder: The folder of the run.
        reporter: Receives progress.
        save_every: As in `run_new`.
        until: As in `run_new`.
        trackers: As in `run_new`.
        place: The place to which the images of the run were moved; it is written to plan.json.

    Raises:
        UsageError: The run has ended, or its plan was changed by hand.
        BrokenSealError: The run has ended, and was changed afterwards.
        DataError: plan.json is damaged, or the data or the weights have changed.
    """
    content = unchanged_plan(folder)
    if (result := read_result(folder, content)) is not None:
        seals.require_kept(folder, result.seal)
        is_finished = result.state is RunState.FINISHED
        raise UsageError(
            _("The run {folder} is finished.", folder=folder)
            if is_finished
            else _("The run {folder} has diverged.", folder=folder),
            _("View it with `headstart tensorboard`, or start a new run."),
        )
    if place is not None:
        content = relocate_run(folder, place, reporter)
    plan = content.plan
    calibration.resolve_machine(plan)  # raises if the device is no longer available
    code = stored_code(folder, CODE_FOLDER, plan.network.network, plan.facts.network_sha256)
    with user_code.pinned(code), precision.deterministic(torch.device(plan.machine.device), plan.machine.threads):
        with suggesting_new_place(folder):
            setup = prepare(plan, reporter)
        require_unchanged_inputs(plan, setup.plan)
        if changes := differences(content.environment, environment.environment(plan.machine.device)):
            reporter.say(
                _("Not comparable bit for bit with the start of the run: {changes}.", changes="; ".join(changes))
            )
            require_reproducible_best(folder, setup.context)
        with tracked(folder, trackers, reporter):
            _run(folder, setup, content.study, reporter, save_every, until)
    return folder


def _say_uses(dataset: Dataset, split: Split, reporter: Reporter) -> None:
    """Report that studies used the test images of a run, by the ledger of test sets."""
    contents = [dataset.content_hashes[int(i)] for i in split.test]
    if contents and (note := training_note(digest_of(contents))):
        reporter.say(note)


def draft_from_run(folder: Path, place: NewPlace | None = None) -> RunConfig:
    """Return the plan of a run folder as a draft, without its resolved facts; a user's own network is its copy.

    With a place, the draft reads the images there, whatever they are.
    """
    plan = read_plan_file(folder).plan
    if place is not None:
        plan = plan.changed(source=place.source, allow_outside=plan.data.allow_outside or place.allow_outside)
    network = network_in(folder, CODE_FOLDER, plan.network.network, plan.facts.network_sha256)
    return plan.changed(network=network).with_facts(ResolvedFacts())


def rebuild(folder: Path) -> Path:
    """Rebuild a run's TensorBoard files from its record, and return the folder.

    Raises:
        BrokenSealError: The run was changed after it ended.
        DataError: The record is damaged.
    """
    run = read_run(folder)
    has_test_file = run.role is not None and run.role.awaits_verdict
    lines = (line.without_test if has_test_file and isinstance(line, EndLine) else line for line in run.lines())
    with locks.locked(folder):
        tensorboard.rebuild_event_file(folder, hyperparameters(run.plan), lines).close()
        if has_test_file:
            tensorboard.add_test(folder, run.lines())
    return folder


def _run(
    folder: Path,
    setup: TrainingSetup,
    role: RunRole | None,
    reporter: Reporter,
    save_every: SaveInterval,
    until: int | None,
) -> None:
    """Train from the newest checkpoint, or from the start, and evaluate the best model."""
    trainer = NetworkTrainer(folder, setup, role, reporter, save_every)
    lifecycle.run(trainer, reporter, until=until)
    if trainer.session.diverged is not None:
        raise trainer.session.diverged


class NetworkTrainer:
    """Trains the network of one run, with checkpoints."""

    def __init__(
        self,
        folder: Path,
        setup: TrainingSetup,
        role: RunRole | None,
        reporter: Reporter,
        save_every: SaveInterval,
    ) -> None:
        context = setup.context
        self._folder, self._reporter, self._context = folder, reporter, context
        self._state = loop.initial_state(context)
        self._probe = Probe(context)  # before a checkpoint is loaded: it measures the distance from the initial weights
        # a frozen backbone does not change
        probe = None if setup.plan.arm.tuning.kind is TuningKind.FROZEN else self._probe.line
        observer = Observer(setup, structure.layer_names(context.network), probe)
        self.session = RunSession(setup, role, observer, reporter)
        self._step_seconds = math.inf  # mean of a step in the fastest epoch
        self.sessions = (self.session,)
        self.checkpoints = RunCheckpoints(folder, context, self._state, save_every)
        self.resume_hint = _("Continue with `headstart resume {folder:shell}`.", folder=folder)

    def folder(self, session: RunSession) -> Path:
        """Return the folder of the run."""
        return self._folder

    def train(self) -> Iterator[events.Event]:
        """Train the network; see `Trainer`."""
        session, steps = self.session, self._context.steps
        if session.is_resumed:
            self._reporter.say(
                _(
                    "Run {folder}, at step {step} of {steps}. Ctrl-C is safe: resume with "
                    "`headstart resume {folder:shell}`.",
                    folder=self._folder,
                    step=session.step,
                    steps=steps,
                )
            )
        else:
            self._reporter.say(
                ngettext(
                    "Run {folder}, {count} step. Ctrl-C is safe: resume with `headstart resume {folder:shell}`.",
                    "Run {folder}, {count} steps. Ctrl-C is safe: resume with `headstart resume {folder:shell}`.",
                    steps,
                    folder=self._folder,
                )
            )
            self._initial_probe()
        try:
            for event in loop.train(self._context, self._state):
                session.observe(event)
                if isinstance(event, events.Backward):  # within a step: the state cannot be saved
                    continue
                if isinstance(event, events.Step):
                    self._reporter.progress(_("training"), event.step, steps)
                elif isinstance(event, events.Epoch):
                    self._note_speed(event)
                    if event.best:
                        weights = self._state.evaluated_network.state_dict()
                        write_model(self._folder, weights, session.setup, event)
                yield event
        except DivergedError as error:
            session.diverged = error
        if session.setup.plan.arm.tuning.kind is TuningKind.FULL:
            calibration.record_step_seconds(session.setup.plan, self._step_seconds)

    def _note_speed(self, event: events.Epoch) -> None:
        """Keep the duration of a step if the epoch was the fastest; a resumed epoch counts from where it continued."""
        if images := sum(event.images.values()):
            seconds = event.train_seconds * self._context.batches.batch_size / images
            self._step_seconds = min(self._step_seconds, seconds)

    def _initial_probe(self) -> None:
        """Probe the network at initialization: some findings exist before the first step."""
        with self.session.logging_time():
            network = self._state.network
            stages = self._context.phases[0].tuning.trained_stages  # as the loop sets it when it begins
            freezing.freeze(network, freezing.trainable(network, stages))
            freezing.train_mode(network, stages)
            self.session.write(self._probe.line(0, 0))
            self.session.report_findings()

    def evaluate(self, session: RunSession) -> Iterator[tuple[str, Score | None]]:
        """Evaluate the best model in fp32; see `Trainer`."""
        setup = session.setup
        network = copy.deepcopy(self._state.network)
        network.load_state_dict(model_weights(self._folder, MODEL_FOLDER).state)
        devices.place(network, self._context.device)
        for name, images in setup.evaluation_images.items():
            for score in predictions.score_split(network, images, self._context):
                yield name, score

    def write_model(self, session: RunSession) -> None:
        """Do nothing: `train` writes the model after each epoch that is the best so far."""
