"""The life of one run, top to bottom: prepare, train, record, choose, judge. Stop it anywhere, go on where it was."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from headstart.artifacts import gallery, predictions
from headstart.artifacts.model_folder import epoch_of, write_model
from headstart.config.duration import Duration
from headstart.config.run_config import ResolvedFacts, RunConfig, differences, read_plan, with_absolute_paths
from headstart.diagnostics import checks
from headstart.diagnostics.history import History
from headstart.errors import DataError, DivergedError, InterruptedRunError, UsageError
from headstart.hardware import calibration, devices, environment, precision
from headstart.models import freezing, structure
from headstart.reporter import Reporter
from headstart.runs import result as result_module
from headstart.signals import SignalGuard
from headstart.storage import files, folders, journal, locks
from headstart.storage.cache import remove_stale
from headstart.telemetry import tensorboard
from headstart.telemetry.observer import Observer, epoch_sentence
from headstart.telemetry.probe import Probe
from headstart.telemetry.run_logger import RunLogger, called, settings_of
from headstart.training import checkpoint, events, loop, scoring, setup
from headstart.training.setup import TrainingSetup
from headstart.training.state import State

SAVING_SHARE = 0.01  # of the time may go into checkpoints between epochs


def start(
    draft: RunConfig,
    runs: Path,
    reporter: Reporter,
    *,
    save_every: Duration | None = None,
    until: int | None = None,
    about: dict[str, Any] | None = None,
) -> Path:
    """Carry out a plan in a new folder under `runs`; returns the folder.

    `about` is what a study wants written beside the plan; its `cell` also names the folder. `save_every` sets how often
    a checkpoint is written (default: as often as costs 1 % of the time). With `until` the run pauses after that epoch,
    with a checkpoint and no result; `resume` goes on. Raises DivergedError, InterruptedRunError (the run can be
    resumed) and every error that a bad plan or bad data meets.
    """
    folders.require_writable(runs)
    draft = calibration.resolve_machine(with_absolute_paths(draft))
    with precision.deterministic(torch.device(draft.machine.device), draft.machine.threads):
        prepared = replace(setup.prepare(draft, reporter), blind=is_blind(about))
        folder = make_folder(prepared.plan, runs, about)
        _live(folder, prepared, reporter, save_every, until)
        if about is None:  # a study draws the run whose model it exports
            gallery.illustrate(folder, reporter)
    return folder


def is_blind(about: dict[str, Any] | None) -> bool:
    """Whether a run is there to choose only, so that its test split stays closed."""
    return bool(about and about.get("blind"))


def make_folder(plan: RunConfig, runs: Path, about: dict[str, Any] | None) -> Path:
    """A new run folder under `runs` with its plan.json."""
    folder = folders.create_run(runs, called(plan, about), plan.seeding.seed)
    content = {"schema": files.SCHEMA, "hash": plan.hash, "plan": plan.model_dump(mode="json")}
    content |= {"environment": environment.environment(plan.machine.device)} | ({"study": about} if about else {})
    files.write_json(folder / "plan.json", content)
    return folder


def resume(folder: Path, reporter: Reporter, *, save_every: Duration | None = None, until: int | None = None) -> Path:
    """Go on with a run that was stopped; `save_every` and `until` as in `start`.

    Raises UsageError or DataError, with the difference, when its plan, its data or its weights have changed.
    """
    plan, content = _unchanged_plan(folder)
    if (folder / "result.json").exists():
        ended = "is finished" if files.read_json(folder / "result.json")["state"] == "finished" else "has diverged"
        raise UsageError(f"The run {folder} {ended}.", "Look at it with `headstart board`, or train a new one.")
    calibration.resolve_machine(plan)  # the device must still be there
    with precision.deterministic(torch.device(plan.machine.device), plan.machine.threads):
        prepared = replace(setup.prepare(plan, reporter), blind=is_blind(content.get("study")))
        changes = differences(plan.identity(), prepared.plan.identity())
        if changes:
            raise DataError(
                f"The data or the weights are not those the run began with: {'; '.join(changes)}.",
                "Put them back, or start a new run with --force-new.",
            )
        if content["environment"] != environment.environment(plan.machine.device):
            changes = differences(content["environment"], environment.environment(plan.machine.device))
            reporter.say(f"Not comparable bit for bit with the run's beginning: {'; '.join(changes)}.")
            _require_its_best(folder)
        _live(folder, prepared, reporter, save_every, until)
        if "study" not in content:
            gallery.illustrate(folder, reporter)
    return folder


def _require_its_best(folder: Path) -> None:
    """Raise UsageError where the best model came after the checkpoint: with other bits it may not come again."""
    epoch = epoch_of(folder / "model")
    if epoch > checkpoint.newest_extra(folder / "checkpoints").get("best_epoch", epoch):
        raise UsageError(
            f"The best model in {folder} is of epoch {epoch}, after the checkpoint, and with other versions or another "
            "machine that epoch may not come out the same.",
            "Go on where it began, or start a new run with --force-new.",
        )


def _unchanged_plan(folder: Path) -> tuple[RunConfig, dict[str, Any]]:
    """The plan of a run and the content of its plan.json. Raises UsageError, with the difference, for a changed one."""
    content = files.read_json(folder / "plan.json")
    began = checkpoint.newest_extra(folder / "checkpoints").get("plan", {})
    told = "; ".join(differences(began, content.get("plan", {}))) if began else "there is no checkpoint to compare with"
    try:
        plan = read_plan(folder)
        changed = bool(plan.open_fields) or plan.hash != content["hash"]
    except DataError:
        if not began:
            raise
        changed = True
    if changed:
        raise UsageError(
            f"The plan in {folder} was changed by hand ({told}).", "Undo that, or start a new run with --force-new."
        )
    return plan, content


def plan_of(folder: Path) -> RunConfig:
    """The plan of a run folder as a draft: what was found out is to be found out again."""
    return read_plan(folder).changed("facts", **ResolvedFacts().model_dump())


def repair(folder: Path) -> Path:
    """Make a run's TensorBoard files anew from its record; returns the folder."""
    plan = read_plan(folder)
    with locks.locked(folder):
        tensorboard.rebuild(folder, settings_of(plan)).close()
    return folder


def _live(
    folder: Path, prepared: TrainingSetup, reporter: Reporter, save_every: Duration | None, until: int | None
) -> None:
    parts, state = prepared.parts, loop.begin(prepared.parts)
    probe = Probe(parts)  # before a checkpoint is loaded: it measures how far the weights come
    with locks.locked(folder), SignalGuard() as guard:
        for part in (folder, folder / "model", folder / "artifacts"):
            remove_stale(part)  # what a crash left half-written
        known, warnings = checkpoint.load_state(folder / "checkpoints", parts, state)
        for warning in warnings:
            reporter.say(warning)
        if not known:  # on a full disk it would end with its first checkpoint
            folders.require_space(folder, checkpoint.room(state))
        how = f"at step {state.progress.step} of {parts.steps}" if known else f"{parts.steps} steps"
        reporter.say(f"Run {folder}, {how}. Safe to press Ctrl-C: go on with `headstart resume {folder}`.")
        with RunLogger(folder, prepared.plan, known["bytes"] if known else 0) as run_logger:
            life = RunSession(prepared, state, run_logger, reporter, guard, probe)
            if known:
                life.seconds = known["seconds"]
                life.remember()
            else:
                run_logger.write({"kind": "begin", "step": 0, "time": time.time()})
                picture = predictions.write_samples(folder, predictions.samples(parts))
                run_logger.write({"kind": "image", "step": 0, "tag": "samples/train", "file": picture})
            try:
                if not known:
                    life.initial_probe()
                if life.train(_save_steps(prepared, save_every), until):
                    life.notice("finished")
                    life.conclude({"state": "finished", **life.judge()})
            except DivergedError as error:
                life.notice("diverged")
                life.conclude({"state": "diverged", "reason": error.message, **life.evaluate_remaining()})
                raise
            finally:
                if (folder / "result.json").exists():
                    checkpoint.remove_all(folder / "checkpoints")
                    guard.complete()


class RunSession:
    """What a run in progress has in its hands."""

    def __init__(
        self,
        prepared: TrainingSetup,
        state: State,
        run_logger: RunLogger,
        reporter: Reporter,
        guard: SignalGuard,
        probe: Probe,
    ) -> None:
        self.prepared, self.state, self.run_logger, self.reporter, self.guard = (
            prepared,
            state,
            run_logger,
            reporter,
            guard,
        )
        self.folder, self.probe = run_logger.folder, probe
        self.history = History(prepared.plan.model_dump(mode="json"))
        self.noticed: set[str] = set()  # names of findings that have been told
        self.seconds = {"training": 0.0, "logging": 0.0}
        self.saved, self.saving = 0.0, 0.0  # when the last checkpoint was written (0: not yet) and how long it took
        self.saved_at: tuple[int, int] | None = None  # its step and epoch

    def initial_probe(self) -> None:
        """Probe the network as it starts: some ailments are there before the first step."""
        clock = time.perf_counter()
        tuning = self.prepared.parts.phases[0].tuning  # as the loop will have it when it begins
        freezing.freeze(self.state.network, freezing.trainable(self.state.network, tuning))
        freezing.train_mode(self.state.network, tuning)
        self.write(self.probe.line(0, 0))
        self.notice()
        self.seconds["logging"] += time.perf_counter() - clock

    def write(self, line: dict[str, Any]) -> None:
        """A line for the record, and for what is known of the run's health."""
        self.run_logger.write(line)
        self.history.take(line)

    def remember(self) -> None:
        """Take up what the record of a resumed run says of its health."""
        for line in journal.read_lines(self.folder / "metrics.jsonl"):
            self.history.take(line)
            if line["kind"] == "finding":
                (self.noticed.discard if line.get("withdrawn") else self.noticed.add)(line["name"])

    def notice(self, state: str = "") -> None:
        """Tell a finding when it first appears: in the terminal, in the record, and so in TensorBoard.

        `state` is `finished` or `diverged` at the end, when it is also told what has gone.
        """
        self.history.state = state
        for line in checks.new_findings(self.history, self.noticed):
            self.run_logger.write({**line, "step": self.state.progress.step})
            self.reporter.say(f"{line['name'].capitalize()}: {line['sentence']}")

    def train(self, save_steps: int, until: int | None) -> bool:
        """Consume the loop's events: write lines, save the best model and checkpoints, stop when asked.

        Returns whether the run has come to its end, which it has not where it paused after epoch `until`.
        """
        parts = self.prepared.parts
        epochs = -(-parts.steps // parts.batches.steps_per_epoch)
        observer = Observer(
            structure.layer_names(self.state.network),
            labels=parts.val.labels,
            steps_per_epoch=parts.batches.steps_per_epoch,
            total=parts.steps,
            flops=self.prepared.flops,
            peak=self.prepared.peak,
            batch_size=parts.batches.batch_size,
            probe=self.probe.line if self.prepared.plan.arm.tuning != "frozen" else None,  # it would see no change
        )
        for event in loop.train(parts, self.state):
            clock = time.perf_counter()
            for line in observer.lines(event):
                self.write(line)
                if line["kind"] in SENTENCES:
                    self.reporter.say(SENTENCES[line["kind"]](line, epochs))
                if line["kind"] == "epoch":
                    self.notice()
            self.seconds["logging"] += time.perf_counter() - clock
            if isinstance(event, events.Backward):  # in the middle of a step: nothing to save, no moment to stop
                continue
            if isinstance(event, events.Step):
                self.reporter.progress("training", event.step, parts.steps)
            elif isinstance(event, events.Epoch):
                self.seconds["training"] += event.train_seconds + event.val_seconds
                if event.best:
                    write_model(self.folder / "model", self.state.judged.state_dict(), self.prepared, event)
            asked = self.guard.heard()  # once: a signal that comes while a checkpoint is not written waits for the next
            if asked is not None:
                self.reporter.say("Stopping with a checkpoint; asked once more, the run ends at once and without one.")
            if asked is not None or self._is_time(event, save_steps):
                self.save()
            if asked is not None:
                self.raise_if_stop_requested()
            if (
                isinstance(event, events.Epoch)
                and event.epoch == until
                and not loop.finished(parts, self.state.progress)
            ):
                self.save()
                return False
        return True

    def _is_time(self, event: events.Event, save_steps: int) -> bool:
        if isinstance(event, events.Epoch) and (save_steps or loop.finished(self.prepared.parts, self.state.progress)):
            return True
        if save_steps:
            return isinstance(event, events.Step) and event.step % save_steps == 0
        return not self.saved or time.perf_counter() - self.saved >= self.saving / SAVING_SHARE

    def save(self) -> None:
        """Write a checkpoint that knows how long the record was, unless this very state is saved already."""
        here = (self.state.progress.step, self.state.progress.epoch)
        if here == self.saved_at:
            return
        self.saved_at = here
        clock = time.perf_counter()
        plan = self.prepared.plan.model_dump(mode="json")
        extra = {"bytes": self.run_logger.sync(), "seconds": self.seconds, "plan": plan}
        extra["best_epoch"] = self.state.progress.best_epoch
        checkpoint.save_state(self.folder / "checkpoints", self.state, extra)
        self.saved = time.perf_counter()
        self.saving = self.saved - clock

    def raise_if_stop_requested(self) -> None:
        """Stop when the user or the system has asked for it; the checkpoint is written."""
        if (number := self.guard.heard()) is not None:
            self.run_logger.write({"kind": "stopped", "step": self.state.progress.step, "signal": number.name})
            self.run_logger.sync()
            raise InterruptedRunError(number, f"Go on with `headstart resume {self.folder}`.")

    def judge(self) -> dict[str, Any]:
        """Open the best model, score it on val once more and, for the first and only time, on test."""
        prepared, parts = self.prepared, self.prepared.parts
        network = setup.make_network(prepared.plan.network, prepared.plan.arm.head, len(prepared.listing.classes), 0)
        network.load_state_dict(load_file(self.folder / "model" / "model.safetensors"))
        devices.place(network, parts.device)
        scores: dict[str, scoring.Score] = {}
        for name, split in prepared.judging.items():
            for found in predictions.judge(network, split, parts):
                if found is None:
                    self.raise_if_stop_requested()
                elif not math.isfinite(found.loss):
                    raise DivergedError(f"The best model's {name} loss is {found.loss}.", "Try a lower learning rate.")
                else:
                    scores[name] = found
        return self._judged(scores)

    def evaluate_remaining(self) -> dict[str, Any]:
        """As `judge`, of a diverged run: its best model before that, else logits of 0, which are the first class."""
        try:
            if self.state.progress.best_epoch:
                return self.judge()
        except DivergedError:
            pass
        return self._judged(result_module.zero_logit_scores(self.prepared))

    def _judged(self, scores: dict[str, scoring.Score]) -> dict[str, Any]:
        progress = self.state.progress
        where = (progress.step, progress.epoch, progress.best_epoch)
        return result_module.judged(self.run_logger, self.prepared, scores, *where)

    def conclude(self, result: dict[str, Any]) -> None:
        """Write result.json, once."""
        result_module.conclude(self.run_logger, self.prepared.plan, result, self.state.progress.epoch, self.seconds)


SENTENCES = {"epoch": epoch_sentence, "proof": lambda line, epochs: line["sentence"]}


def _save_steps(prepared: TrainingSetup, every: Duration | None) -> int:
    if every is None:
        return 0
    return max(1, every.steps(prepared.parts.batches.steps_per_epoch, whole=prepared.parts.steps))
