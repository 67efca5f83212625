"""What a run does at its end, when it is saved and when it stops is independent of how it is trained."""

import dataclasses
import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

from headstart.config.plan_file import PlanFile, write_plan_file
from headstart.errors import DivergedError, InterruptedRunError
from headstart.reporter import NullReporter
from headstart.runs import checkpoint_policy, lifecycle
from headstart.runs.checkpoints import RunCheckpoints
from headstart.runs.session import RunSession
from headstart.storage.journal import read_lines
from headstart.storage.schemas.metrics import BeginLine, EndLine, EpochLine, StepLine, StoppedLine
from headstart.storage.schemas.result import RESULT_FILE, RunResult, RunState
from headstart.telemetry.observer import Observer
from headstart.training import checkpoint, events, loop, scoring
from headstart.training.setup import TrainingSetup
from tests.handmade import run_role
from tests.messages import fields_of
from tests.short_runs import prepared

ROLE = run_role("full", budget="2ep")


class StubTrainer:
    """Gives the events of the loop, or made-up ones, and scores that a test decides."""

    resume_hint = "Continue."

    def __init__(self, setup: TrainingSetup, folder: Path, *, has_checkpoints: bool, loss: float = 0.5) -> None:
        write_plan_file(folder, PlanFile(hash=setup.plan.hash, plan=setup.plan, environment={}, study=ROLE))
        self.setup, self.loss, self.models = setup, loss, 0
        self.state = loop.initial_state(setup.context)
        self.session = RunSession(setup, ROLE, Observer(setup), NullReporter())
        self.sessions = [self.session]
        self.checkpoints = RunCheckpoints(folder, setup.context, self.state, None) if has_checkpoints else None
        self._folder = folder
        self.signal_at: int | None = None
        self.signal_in_evaluation = False

    def folder(self, session: RunSession) -> Path:
        return self._folder

    def train(self) -> Iterator[events.Event]:
        for event in loop.train(self.setup.context, self.state):
            self.session.observe(event)
            if isinstance(event, events.Step) and event.step == self.signal_at:
                os.kill(os.getpid(), signal.SIGINT)
            if not isinstance(event, events.Backward):
                yield event

    def evaluate(self, session: RunSession) -> Iterator[tuple[str, scoring.Score | None]]:
        for name, images in session.setup.evaluation_images.items():
            if self.signal_in_evaluation:
                os.kill(os.getpid(), signal.SIGINT)
            yield name, None
            logits = np.zeros((len(images), len(session.setup.dataset.images.classes)), dtype=np.float32)
            logits[np.arange(len(images)), images.labels] = 9  # all are right
            scorer = scoring.Scorer(images.labels, keep=True)
            scorer.add(logits)
            yield name, dataclasses.replace(scorer.score(), loss=self.loss)

    def write_model(self, session: RunSession) -> None:
        self.models += 1


@pytest.fixture(scope="module")
def setup() -> TrainingSetup:
    return prepared(source="digits:0-1", batch_size=64, epochs="2ep", network="timm:test_resnet")


def lines(folder: Path) -> list:
    return list(read_lines(folder / "metrics.jsonl"))


@pytest.mark.parametrize("has_checkpoints", [True, False])
def test_runs_with_and_without_checkpoints_have_one_record_and_one_end(
    setup: TrainingSetup, tmp_path: Path, has_checkpoints: bool
) -> None:
    trainer = StubTrainer(setup, tmp_path, has_checkpoints=has_checkpoints)
    lifecycle.run(trainer, NullReporter())
    record = lines(tmp_path)
    assert isinstance(record[0], BeginLine) and isinstance(record[-1], EndLine)
    assert [line.step for line in record if isinstance(line, StepLine)] == list(range(1, setup.context.steps + 1))
    epochs = [line for line in record if isinstance(line, EpochLine)]
    progress, session = trainer.state.progress, trainer.session
    assert (session.step, session.epoch, session.best_epoch) == (progress.step, progress.epoch, progress.best_epoch)
    result = RunResult.read(tmp_path / RESULT_FILE)
    assert (result.state, result.epochs, result.best_epoch) == (RunState.FINISHED, len(epochs), progress.best_epoch)
    assert result.val.accuracy == 1.0 and result.val.n == len(setup.context.val)
    assert trainer.models == 1 and not (tmp_path / "checkpoints").exists()


def test_run_whose_best_model_is_not_finite_has_diverged_with_equal_probabilities(
    setup: TrainingSetup, tmp_path: Path
) -> None:
    trainer = StubTrainer(setup, tmp_path, has_checkpoints=False, loss=math.nan)
    lifecycle.run(trainer, NullReporter())
    assert isinstance(trainer.session.diverged, DivergedError)
    assert fields_of(trainer.session.diverged.message) == {
        "split": "val", "loss": pytest.approx(math.nan, nan_ok=True)
    }  # fmt: skip
    result = RunResult.read(tmp_path / RESULT_FILE)
    assert result.state is RunState.DIVERGED and result.reason == trainer.session.diverged.message
    labels = setup.context.val.labels
    assert result.val.loss == pytest.approx(log_loss(labels, np.full((len(labels), 2), 0.5)))
    assert result.val.accuracy == pytest.approx(accuracy_score(labels, np.zeros_like(labels)))


@pytest.mark.parametrize("has_checkpoints", [True, False])
def test_signal_stops_at_the_next_event_and_writes_no_result(tmp_path: Path, has_checkpoints: bool) -> None:
    trainer = StubTrainer(prepared(epochs="20st"), tmp_path, has_checkpoints=has_checkpoints)
    trainer.signal_at = 3
    with pytest.raises(InterruptedRunError):
        lifecycle.run(trainer, NullReporter())
    assert trainer.state.progress.step == 3 and not (tmp_path / RESULT_FILE).exists()
    if not has_checkpoints:
        assert not (tmp_path / "metrics.jsonl").exists()  # nothing is written before the end
        return
    last = lines(tmp_path)[-1]
    assert isinstance(last, StoppedLine) and (last.step, last.signal) == (3, "SIGINT")
    assert (tmp_path / "checkpoints" / "step-00000003-0000").is_dir()


def test_paused_run_continues_from_its_checkpoint_with_the_record_of_an_unbroken_one(tmp_path: Path) -> None:
    settings = {"source": "digits:0-1", "batch_size": 64, "epochs": "3ep", "network": "timm:test_resnet"}
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = StubTrainer(prepared(**settings), tmp_path / "whole", has_checkpoints=True)
    lifecycle.run(whole, NullReporter())
    first = StubTrainer(prepared(**settings), tmp_path / "parts", has_checkpoints=True)
    lifecycle.run(first, NullReporter(), until=1)
    assert first.state.progress.epoch == 1 and not (tmp_path / "parts" / RESULT_FILE).exists()
    saved = checkpoint.newest_position(tmp_path / "parts")
    assert saved is not None and saved.bytes == (tmp_path / "parts" / "metrics.jsonl").stat().st_size
    second = StubTrainer(prepared(**settings), tmp_path / "parts", has_checkpoints=True)
    lifecycle.run(second, NullReporter())
    assert second.session.is_resumed and second.session.best_epoch == second.state.progress.best_epoch
    expected, actual = whole.state.network.state_dict(), second.state.network.state_dict()
    assert all(torch.equal(expected[key], actual[key]) for key in expected)
    steps = [
        [(x.step, x.loss) for x in lines(tmp_path / name) if isinstance(x, StepLine)] for name in ("whole", "parts")
    ]
    assert steps[0] == steps[1]


def test_signal_during_the_evaluation_saves_the_end_of_the_training(
    setup: TrainingSetup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short run has no checkpoint by then."""
    monkeypatch.setattr(checkpoint_policy, "ASSUMED_BYTES_PER_SECOND", 1.0)
    trainer = StubTrainer(setup, tmp_path, has_checkpoints=True)
    trainer.signal_in_evaluation = True
    with pytest.raises(InterruptedRunError):
        lifecycle.run(trainer, NullReporter())
    (saved,) = (
        path for path in (tmp_path / "checkpoints").iterdir() if checkpoint.find_damage(tmp_path, path.name) is None
    )
    assert int(saved.name.split("-")[1]) == setup.context.steps
    assert isinstance(lines(tmp_path)[-1], StoppedLine) and not (tmp_path / RESULT_FILE).exists()
