"""Heads trained in a batch equal the heads trained alone and write the same records."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from headstart.analysis.run_records import read_run
from headstart.artifacts.model_folder import merge_weight_files
from headstart.config.plan_file import read_plan_file
from headstart.config.recipe_config import RecipeConfig
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import RunConfig
from headstart.diagnostics.checks import missing_probe_reason
from headstart.hardware import calibration, precision
from headstart.inference.predictor import Predictor
from headstart.optim.registry import OPTIMIZERS, SCHEDULES, OptimizerSpec, ScheduleSpec
from headstart.report import health, series
from headstart.report.inputs import PageInputs
from headstart.reporter import NullReporter
from headstart.results import diagnosis
from headstart.runs import execute, heads_runner, job_protocol, lifecycle, runner
from headstart.runs.job_protocol import RunRequest
from headstart.storage import seals
from headstart.storage.journal import read_lines
from headstart.storage.schemas.metrics import FindingLine, SnapshotLine
from headstart.storage.schemas.schema import StoredFile
from headstart.training import setup
from headstart.weights.model_weights import model_weights
from tests.files import read_json
from tests.handmade import run_role
from tests.messages import values_of
from tests.tensorboard_server import points
from tests.trained import SETTINGS, train

ROLE = run_role("frozen", budget="2ep")
BACKBONE = {**SETTINGS, "network": "resnet20", "image_size": 16}  # its steps and files take little time
FROZEN = {**BACKBONE, "source": "digits:4-7", "tuning": "frozen", "augmented_views": 2}
RECIPES = [
    {"optimizer": "sgd", "lr": 0.05},
    {"optimizer": "adam", "lr": 0.001, "label_smoothing": 0.1, "class_weights": "balanced"},
    {"optimizer": "rmsprop", "lr": 0.0001, "clip": 0.5, "schedule": "constant", "warmup": "10st"},
    {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1, "schedule": "one-cycle"},
]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"run:{train(tmp_path_factory.mktemp('backbone'), **BACKBONE)}"


def plan(**settings: object) -> RunConfig:
    """Return a resolved plan of a head on the shared backbone."""
    draft = calibration.resolve_machine(resolve_settings({**FROZEN, **settings}).plan)
    return setup.resolve_run(draft, NullReporter()).plan


def plans(start: str, head: str = "linear") -> list[RunConfig]:
    """Return plans of two seeds for each recipe except the last, which has one."""
    pairs = [plan(start=start, head=head, seed=seed, **r) for r in RECIPES for seed in (1, 2)]
    return pairs[:-1]


def train_batched(heads: list[RunConfig], parent: Path) -> list[Path]:
    """Train heads in one batch and return the folders of their runs."""
    parent.mkdir(exist_ok=True)
    (bundle,) = execute.group_into_jobs([RunRequest(plan=plan, role=ROLE) for plan in heads])
    return job_protocol.decode_answer(execute.answer_job(job_protocol.encode_job(parent, bundle), NullReporter()))


@pytest.mark.parametrize("head", ["linear", "mlp:8"])
def test_each_head_equals_the_head_trained_alone(
    head: str, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    heads = plans(start, head)
    folders = train_batched(heads, tmp_path / "batched")
    for config, folder in zip(heads, folders, strict=True):
        alone = runner.run_new(config, tmp_path / "alone", NullReporter(), role=ROLE)
        assert read_plan_file(folder).hash == read_plan_file(alone).hash == config.hash
        actual, expected = model_weights(folder / "model").state, model_weights(alone / "model").state
        assert actual.keys() == expected.keys()
        for key, tensor in expected.items():
            assert torch.allclose(actual[key], tensor, atol=1e-4, rtol=1e-4), (key, config.recipe)
        first, second = (list(read_lines(path / "metrics.jsonl")) for path in (folder, alone))
        second = [line for line in second if line.kind != "probe"]  # a head in a batch has no gradient probe
        assert [line.kind for line in first] == [line.kind for line in second]
        for line, other in zip(first, second, strict=True):
            if line.kind == "step":
                assert line.lr == other.lr and line.loss == pytest.approx(other.loss, abs=1e-4)
            elif line.kind == "epoch":
                assert (line.epoch, line.step, line.best) == (other.epoch, other.step, other.best)
                for score, other_score in ((line.train, other.train), (line.val, other.val)):
                    assert score.to_json() == pytest.approx(other_score.to_json(), abs=1e-3)
            elif line.kind == "snapshot":
                assert line.gradients.keys() == other.gradients.keys()
                assert line.update_ratio == pytest.approx(other.update_ratio, rel=1e-2)
            elif line.kind == "freeze_check":
                assert line == other
            elif line.kind == "finding":
                assert (line.code, line.step, line.epoch) == (other.code, other.step, other.epoch)
        with (
            np.load(folder / "artifacts" / "predictions.npz") as actual_file,
            np.load(alone / "artifacts" / "predictions.npz") as expected_file,
        ):
            assert (actual_file["image"] == expected_file["image"]).all() and (
                actual_file["split"] == expected_file["split"]
            ).all()
            assert np.allclose(actual_file["logits"], expected_file["logits"], atol=1e-3)


def test_batched_heads_have_the_findings_of_diagnose(start: str, tmp_path: Path) -> None:
    unhealthy = {"lr": 1e-7}, {"lr": 1e30}
    heads = [plan(start=start, **recipe) for recipe in ({"lr": 0.05}, *unhealthy)]
    folders = train_batched(heads, tmp_path)
    records = [read_lines(folder / "metrics.jsonl") for folder in folders]
    findings = [[line for line in lines if isinstance(line, FindingLine)] for lines in records]
    assert [[line.code for line in lines] for lines in findings] == [
        [],
        ["learning-rate-too-low"],
        ["learning-rate-too-high"],
    ]
    # the end of the second epoch, the first with a check of the rate
    assert [line.step for line in findings[1]] == [32]
    for folder, lines in zip(folders, findings, strict=True):
        (diagnosed,) = diagnosis.diagnose(folder)
        expected = [finding.to_json() for finding in diagnosed.findings if finding.unhealthy]
        assert [{name: getattr(line, name) for name in expected[0]} for line in lines if expected] == expected
        texts = [(tag, step) for tag, step, _, plugin, _ in points(folder) if plugin == "text" and "finding" in tag]
        assert texts == [(f"finding/{line.code}/text_summary", line.step) for line in lines]


def test_diagnosis_of_a_head_explains_missing_block_gradients(start: str, tmp_path: Path) -> None:
    (folder,) = train_batched([plan(start=start, lr=0.05)], tmp_path)
    snapshots = [line for line in read_lines(folder / "metrics.jsonl") if isinstance(line, SnapshotLine)]
    first, last = snapshots[0].gradient_norm["fc"], snapshots[-1].gradient_norm["fc"]
    plotted = series.load_run(read_run(folder))
    reason = missing_probe_reason(plotted.history)
    assert values_of(reason) == ["fc", f"{first:.2g}", 1, f"{last:.2g}", snapshots[-1].step]
    assert reason in "\n".join(diagnosis.describe_diagnoses(diagnosis.diagnose(folder)))
    section = health.health_section(PageInputs(folder, [plotted], {}))
    assert not section.figures and [dict(note.values) for note in section.notes] == [
        {"run": plotted.name, "reason": reason}
    ]


def test_backbone_is_stored_once_and_the_model_is_usable(start: str, tmp_path: Path) -> None:
    first, second = train_batched([plan(start=start, seed=seed) for seed in (1, 2)], tmp_path)
    shared = [folder / "model" / "backbone.safetensors" for folder in (first, second)]
    assert shared[0].stat().st_ino == shared[1].stat().st_ino
    before = Predictor(first).model.network.state_dict()
    model = shutil.copytree(first / "model", tmp_path / "model")
    merge_weight_files(model)
    assert sorted(path.name for path in model.glob("*.safetensors")) == ["model.safetensors"]
    whole = Predictor(model).model.network.state_dict()
    assert all(torch.equal(before[key], whole[key]) for key in whole)
    assert plan(start=f"run:{second}").facts.weights_sha256  # the model is also a valid start


def test_resume_keeps_finished_heads_and_trains_the_rest_bit_identically(
    start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "first"))
    heads = [plan(start=start, seed=seed) for seed in (1, 2, 3)]
    uninterrupted = train_batched(heads, tmp_path / "whole")
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))  # no finished run to reuse
    monkeypatch.setattr(lifecycle, "write_result", _interrupt_after(lifecycle.write_result, 1))
    with pytest.raises(KeyboardInterrupt):
        train_batched(heads, tmp_path / "killed")
    monkeypatch.undo()
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    (done,) = [path.parent for path in (tmp_path / "killed").glob("*/result.json")]
    before = (done / "metrics.jsonl").stat().st_mtime_ns
    resumed = train_batched(heads, tmp_path / "killed")
    assert resumed[0] == done and (done / "metrics.jsonl").stat().st_mtime_ns == before
    assert len(list((tmp_path / "killed").glob("*/plan.json"))) == 3
    for expected, actual in zip(uninterrupted, resumed, strict=True):
        assert read_run(expected).hash == read_run(actual).hash
        for name in ("model/head.safetensors", "artifacts/predictions.npz"):
            assert (expected / name).read_bytes() == (actual / name).read_bytes()


def _interrupt_after(function, times):
    """Return `function` with a KeyboardInterrupt after so many calls."""
    remaining = [times]

    def interrupted(*args):
        if not remaining[0]:
            raise KeyboardInterrupt
        remaining[0] -= 1
        return function(*args)

    return interrupted


def test_diverged_head_does_not_stop_the_others(start: str, tmp_path: Path) -> None:
    heads = [plan(start=start, seed=seed, lr=lr) for lr in (0.01, 1e30) for seed in (1, 2)]
    states = [read_json(folder / "result.json") for folder in train_batched(heads, tmp_path)]
    assert [state["state"] for state in states] == ["finished", "finished", "diverged", "diverged"]
    alone = heads_runner.run_heads(
        [RunRequest(plan=heads[0], role=ROLE)], tmp_path / "alone", NullReporter(), unfinished={}
    )
    lines = list(read_lines(alone[heads[0].hash] / "metrics.jsonl"))
    assert lines[-1].val.accuracy == states[0]["val"]["accuracy"]


def test_only_frozen_heads_on_one_backbone_are_grouped(start: str) -> None:
    base = plan(start=start)
    key = heads_runner.stack_key(base)
    assert key is not None
    assert heads_runner.stack_key(base.changed(lr=0.5, optimizer="adam")) == key
    assert heads_runner.stack_key(base.changed(seed=9)) == key
    assert heads_runner.stack_key(base.changed(batch_size=16)) != key
    assert heads_runner.stack_key(base.changed(test_seed=9)) != key
    for other in ({"mixup": 0.2}, {"cutmix": 1.0}, {"ema": 0.9}, {"patience": 2}, {"schedule": "plateau"}):
        assert heads_runner.stack_key(base.changed(**other)) is None
    assert heads_runner.stack_key(base.changed(tuning="full")) is None
    random = base.changed(start="scratch")
    assert heads_runner.stack_key(random) != heads_runner.stack_key(random.changed(seed=9))


def test_threads_of_the_plan_are_used(start: str, tmp_path: Path) -> None:
    head = plan(start=start)
    requests = [RunRequest(plan=head, role=ROLE)]
    with precision.deterministic(torch.device("cpu"), 1):
        first = heads_runner.run_heads(requests, tmp_path / "a", NullReporter(), unfinished={})[head.hash]
    second = heads_runner.run_heads(requests, tmp_path / "b", NullReporter(), unfinished={})[head.hash]
    assert (first / "model/head.safetensors").read_bytes() == (second / "model/head.safetensors").read_bytes()


def test_heads_may_differ_in_the_options_of_optimizers_and_schedules(start: str, monkeypatch) -> None:
    fields = heads_runner.head_fields()
    assert fields <= RecipeConfig.model_fields.keys()
    assert {"momentum", "nesterov", "step_every", "milestones", "gamma"} <= fields
    assert "plateau_epochs" not in fields and "head_epochs" not in fields
    base = plan(start=start)
    other = base.changed(head_epochs="40%")
    assert heads_runner.stack_key(base) != heads_runner.stack_key(other)
    polynomial = ScheduleSpec("tests:unused", ("head_epochs",))  # a schedule with a parameter of its own
    monkeypatch.setitem(SCHEDULES, "polynomial", polynomial)
    assert heads_runner.stack_key(base) == heads_runner.stack_key(other)


def test_heads_of_an_optimizer_that_is_not_elementwise_are_trained_alone(
    start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Adafactor the update of a weight depends on the other weights in its tensor."""
    monkeypatch.setitem(OPTIMIZERS, "adafactor", OptimizerSpec("torch.optim:Adafactor", "Adafactor", 0.01, 0.0, 0.1))
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    heads = [plan(start=start, seed=seed, optimizer="adafactor") for seed in (1, 2)]
    assert [heads_runner.stack_key(head) for head in heads] == [None, None]
    jobs = execute.group_into_jobs([job_protocol.RunRequest(plan=head, role=ROLE) for head in heads])
    assert [len(job) for job in jobs] == [1, 1]
    (tmp_path / "study").mkdir()
    answers = [execute.answer_job(job_protocol.encode_job(tmp_path / "study", job), NullReporter()) for job in jobs]
    ((folder,), _second) = map(job_protocol.decode_answer, answers)
    alone = runner.run_new(heads[0], tmp_path / "alone", NullReporter(), role=ROLE)
    actual, expected = model_weights(folder / "model").state, model_weights(alone / "model").state
    assert expected and all(torch.equal(actual[key], expected[key]) for key in expected)


def test_backbone_is_serialized_and_hashed_once_for_all_heads(
    start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    serialized, hashed = [], []
    real_bytes, real_hash = heads_runner.tensor_bytes, seals._hash
    monkeypatch.setattr(heads_runner, "tensor_bytes", lambda state: serialized.append(state) or real_bytes(state))
    monkeypatch.setattr(seals, "_hash", lambda file: hashed.append(os.fstat(file.fileno()).st_ino) or real_hash(file))
    folders = train_batched([plan(start=start, seed=seed) for seed in (1, 2, 3)], tmp_path / "runs")
    (shared,) = {(folder / "model" / "backbone.safetensors").stat().st_ino for folder in folders}
    assert len(serialized) == 1 and hashed.count(shared) == 1
    stored = StoredFile.of((folders[0] / "model" / "backbone.safetensors").read_bytes())
    for folder in folders:
        named = read_json(folder / "model" / "config.json")["headstart"]["weights"]["backbone.safetensors"]
        assert StoredFile(**named) == stored == read_run(folder).result.seal.files["model/backbone.safetensors"]
