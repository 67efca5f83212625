"""The run of a selected learning rate is the trial of the search, and equals a run that is trained for itself."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from headstart.analysis.run_records import RunRecord, runs_in
from headstart.config.resolve import resolve_settings
from headstart.errors import InterruptedRunError
from headstart.hardware import calibration
from headstart.reporter import NullReporter
from headstart.runs import execute, runner, trial_evaluation
from headstart.runs.job_protocol import Job, RunRequest
from headstart.storage.journal import read_lines
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.study import RunRole, Stage
from headstart.training.setup import resolve_run
from tests.short_runs import SGD

TIMES = {"time", "speed", "seconds", "seal"}


def role_of(stage: Stage) -> RunRole:
    return RunRole(arm=ArmSpec(start="scratch", label="scratch"), stage=stage, budget="2ep", fraction=1.0)


def run_stage(parent: Path, settings: dict[str, object], stage: Stage) -> RunRecord:
    """Run a plan as a job of a study, below `search` for a trial, and return its record."""
    draft = resolve_settings({"source": "digits:0-3", "network": "timm:test_resnet", "threads": 1, "precision": "fp32",
                              "epochs": "2ep", **SGD, **settings}).plan  # fmt: skip
    request = RunRequest(plan=resolve_run(calibration.resolve_machine(draft), NullReporter()).plan, role=role_of(stage))
    folder = parent / "search" if stage is Stage.SEARCH else parent
    (made,) = execute.run_job(Job(parent=folder, runs=[request]), NullReporter())
    return next(run for run in runs_in(folder) if run.folder == made)


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def content_of(run: RunRecord) -> tuple[object, ...]:
    """Return what a run has, without times: record, result, predictions and model."""
    model = run.folder / "model" / "model.safetensors"
    with np.load(run.folder / "artifacts" / "predictions.npz") as file:
        predictions = {name: file[name].tolist() for name in file.files}
    lines = [without_times(line.to_json()) for line in read_lines(run.folder / "metrics.jsonl")]
    assert run.result is not None
    return lines, without_times(run.result.to_json()), predictions, model.exists() and model.read_bytes()


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_new(*_args: object, **_options: object) -> Path:
        raise AssertionError("the run is trained")

    monkeypatch.setattr(runner, "run_new", run_new)
    monkeypatch.setattr(runner, "resume", run_new)


@pytest.mark.parametrize(("settings", "state"), [({}, "finished"), ({"lr": 1e12, "clip": 0}, "diverged")])
def test_evaluated_trial_equals_a_run_of_its_own(
    settings: dict[str, object], state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "other"))
    alone = run_stage(tmp_path / "alone", settings, Stage.MAIN)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    trial = run_stage(tmp_path / "study", settings, Stage.SEARCH)
    assert trial.lacks_test and trial.state is RunState(state) and not alone.lacks_test
    request.getfixturevalue("no_training")
    run = run_stage(tmp_path / "study", settings, Stage.MAIN)
    assert content_of(run) == content_of(alone)
    assert (run.role, run.reused_from, run.hash) == (role_of(Stage.MAIN), None, trial.hash)
    kept = next(runs_in(tmp_path / "study" / "search"))
    assert kept.lacks_test and content_of(kept) == content_of(trial)


def test_stopped_evaluation_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = run_stage(tmp_path, {}, Stage.SEARCH)
    evaluate = trial_evaluation.NetworkTrainer.evaluate

    def stopped(self: object, session: object) -> Iterator[object]:
        signal.raise_signal(signal.SIGINT)
        yield "val", None

    monkeypatch.setattr(trial_evaluation.NetworkTrainer, "evaluate", stopped)
    with pytest.raises(InterruptedRunError):
        run_stage(tmp_path, {}, Stage.MAIN)
    (unfinished,) = runs_in(tmp_path)
    assert not unfinished.done
    monkeypatch.setattr(trial_evaluation.NetworkTrainer, "evaluate", evaluate)
    run = run_stage(tmp_path, {}, Stage.MAIN)
    assert [other.folder for other in runs_in(tmp_path)] == [run.folder] and run.hash == trial.hash
    assert run.result is not None and run.result.test is not None


def test_damaged_trial_is_trained_again(tmp_path: Path) -> None:
    trial = run_stage(tmp_path, {}, Stage.SEARCH)
    with (trial.folder / "artifacts" / "predictions.npz").open("ab") as file:
        file.write(b"x")
    run = run_stage(tmp_path, {}, Stage.MAIN)
    assert run.result is not None and run.result.test is not None and run.result.state is RunState.FINISHED
