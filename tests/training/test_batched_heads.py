"""Many heads trained at once are the heads trained alone, and leave the same records."""

from pathlib import Path

import numpy as np
import pytest
import torch

from headstart.analysis.run_records import read_run
from headstart.artifacts.model_folder import make_whole
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import RunConfig
from headstart.hardware import calibration, precision
from headstart.inference.predictor import Predictor
from headstart.report import health, series
from headstart.reporter import NullReporter
from headstart.results import diagnosis
from headstart.runs import execute, heads_runner, job_protocol, result, runner
from headstart.storage.files import read_json
from headstart.storage.journal import read_lines
from headstart.training import batched_heads, setup
from headstart.weights.files import model_weights
from tests.boards import points
from tests.trained import SETTINGS, trained

ABOUT = {"variant": "frozen", "stage": "main", "budget": "2ep", "fraction": 1.0}
FROZEN = {**SETTINGS, "source": "digits:4-7", "tuning": "frozen", "augmented_views": 2}
RECIPES = [
    {"optimizer": "sgd", "lr": 0.05},
    {"optimizer": "adam", "lr": 0.001, "label_smoothing": 0.1, "class_weights": "balanced"},
    {"optimizer": "rmsprop", "lr": 0.0001, "clip": 0.5, "schedule": "constant", "warmup": "10st"},
    {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1, "schedule": "one-cycle"},
]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"run:{trained(tmp_path_factory)}"


def plan(**settings: object) -> RunConfig:
    """A complete plan of a head on the shared trunk."""
    draft = calibration.resolve_machine(resolve_settings({**FROZEN, **settings}).plan)
    return setup.complete(draft, NullReporter()).plan


def plans(start: str, head: str = "linear") -> list[RunConfig]:
    """Two seeds of each recipe, but one of the last."""
    first = [plan(start=start, head=head, seed=seed, **r) for r in RECIPES for seed in (1, 2)]
    return first[:-1]


def together(asked: list[RunConfig], parent: Path) -> list[Path]:
    parent.mkdir(exist_ok=True)
    (bundle,) = execute.bundles([(plan, ABOUT) for plan in asked])
    return job_protocol.folders(execute.work(job_protocol.text(parent, bundle), NullReporter()))


@pytest.mark.parametrize("head", ["linear", "mlp:8"])
def test_each_head_is_the_head_trained_alone(
    head: str, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    asked = plans(start, head)
    found = together(asked, tmp_path / "together")
    for wanted, folder in zip(asked, found, strict=True):
        alone = runner.start(wanted, tmp_path / "alone", NullReporter(), about=ABOUT)
        assert read_json(folder / "plan.json")["hash"] == read_json(alone / "plan.json")["hash"] == wanted.hash
        mine, its = model_weights(folder / "model").state, model_weights(alone / "model").state
        assert mine.keys() == its.keys()
        for key, tensor in its.items():
            assert torch.allclose(mine[key], tensor, atol=1e-4, rtol=1e-4), (key, wanted.recipe)
        first, second = (list(read_lines(path / "metrics.jsonl")) for path in (folder, alone))
        second = [line for line in second if line["kind"] != "probe"]  # heads have no network of their own to probe
        assert [line["kind"] for line in first] == [line["kind"] for line in second]
        for one, other in zip(first, second, strict=True):
            if one["kind"] == "step":
                assert one["lr"] == other["lr"] and one["loss"] == pytest.approx(other["loss"], abs=1e-4)
            elif one["kind"] == "epoch":
                assert (one["epoch"], one["step"], one["best"]) == (other["epoch"], other["step"], other["best"])
                for split in ("train", "val"):
                    assert one[split] == pytest.approx(other[split], abs=1e-3)
            elif one["kind"] == "snapshot":
                assert one["gradients"].keys() == other["gradients"].keys()
                assert one["ratio"] == pytest.approx(other["ratio"], rel=1e-2)
            elif one["kind"] == "proof":
                assert one == other
            elif one["kind"] == "finding":
                assert (one["name"], one["step"], one["epoch"]) == (other["name"], other["step"], other["epoch"])
        with (
            np.load(folder / "artifacts" / "predictions.npz") as one,
            np.load(alone / "artifacts" / "predictions.npz") as other,
        ):
            assert (one["image"] == other["image"]).all() and (one["split"] == other["split"]).all()
            assert np.allclose(one["logits"], other["logits"], atol=1e-3)


def test_heads_trained_together_have_the_findings_that_diagnose_has(start: str, tmp_path: Path) -> None:
    ill = {"lr": 1e-7}, {"lr": 1e30}
    asked = [plan(start=start, **recipe) for recipe in ({"lr": 0.05}, *ill)]
    folders = together(asked, tmp_path)
    records = [read_lines(folder / "metrics.jsonl") for folder in folders]
    told = [[line for line in lines if line["kind"] == "finding"] for lines in records]
    assert [[line["name"] for line in one] for one in told] == [
        [],
        ["learning rate too low"],
        ["learning rate too high"],
    ]
    assert [line["step"] for line in told[1]] == [32]  # the second epoch's end: from then on rates are judged
    for folder, lines in zip(folders, told, strict=True):
        (diagnosed,) = diagnosis.diagnose(folder)
        wanted = [found.to_json() for found in diagnosed.findings if found.unhealthy]
        assert [{name: line[name] for name in wanted[0]} for line in lines if wanted] == wanted
        texts = [(tag, step) for tag, step, _, plugin, _ in points(folder) if plugin == "text" and "finding" in tag]
        assert texts == [(f"finding/{line['name']}/text_summary", line["step"]) for line in lines]


def test_heads_say_why_no_gradients_at_blocks_are_known(start: str, tmp_path: Path) -> None:
    (folder,) = together([plan(start=start, lr=0.05)], tmp_path)
    looks = [line for line in read_lines(folder / "metrics.jsonl") if line["kind"] == "snapshot"]
    first, last = looks[0]["gradient_norm"]["fc"], looks[-1]["gradient_norm"]["fc"]
    told = (
        f"gradients at the blocks were not probed, since all blocks are frozen; |∂L/∂w| of fc is {first:.2g} at step 1 "
        f"and {last:.2g} at step {looks[-1]['step']}"
    )
    assert told in "\n".join(diagnosis.sentences(diagnosis.diagnose(folder)))
    section = health.health([series.read(read_run(folder))])
    assert not section.figures and [note.partition(", seed 0: ")[2] for note in section.notes] == [f"{told}."]


def test_the_trunk_is_stored_once_and_the_model_is_used_like_any_other(start: str, tmp_path: Path) -> None:
    first, second = together([plan(start=start, seed=seed) for seed in (1, 2)], tmp_path)
    shared = [folder / "model" / "backbone.safetensors" for folder in (first, second)]
    assert shared[0].stat().st_ino == shared[1].stat().st_ino
    split = Predictor(first).model.network.state_dict()
    make_whole(first / "model")
    assert sorted(path.name for path in (first / "model").glob("*.safetensors")) == ["model.safetensors"]
    whole = Predictor(first).model.network.state_dict()
    assert all(torch.equal(split[key], whole[key]) for key in whole)
    assert plan(start=f"run:{second}").facts.weights_sha256  # also as a start


def test_what_is_done_is_kept_and_what_is_missing_is_made_to_the_same_bits(
    start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "first"))
    asked = [plan(start=start, seed=seed) for seed in (1, 2, 3)]
    whole = together(asked, tmp_path / "whole")
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))  # nothing to adopt
    monkeypatch.setattr(result, "conclude", _dies_after(result.conclude, 1))
    with pytest.raises(KeyboardInterrupt):
        together(asked, tmp_path / "killed")
    monkeypatch.undo()
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    (done,) = [path.parent for path in (tmp_path / "killed").glob("*/result.json")]
    before = (done / "metrics.jsonl").stat().st_mtime_ns
    found = together(asked, tmp_path / "killed")
    assert found[0] == done and (done / "metrics.jsonl").stat().st_mtime_ns == before
    assert len(list((tmp_path / "killed").glob("*/plan.json"))) == 3
    for one, other in zip(whole, found, strict=True):
        assert read_run(one).hash == read_run(other).hash
        for name in ("model/head.safetensors", "evidence/predictions.npz"):
            assert (one / name).read_bytes() == (other / name).read_bytes()


def _dies_after(function, times):
    left = [times]

    def mortal(*args):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return function(*args)

    return mortal


def test_a_head_that_diverges_ends_alone(start: str, tmp_path: Path) -> None:
    asked = [plan(start=start, seed=seed, lr=lr) for lr in (0.01, 1e30) for seed in (1, 2)]
    states = [read_json(folder / "result.json") for folder in together(asked, tmp_path)]
    assert [state["state"] for state in states] == ["finished", "finished", "diverged", "diverged"]
    alone = heads_runner.run_heads([(asked[0], ABOUT)], tmp_path / "alone", NullReporter(), left={})
    lines = list(read_lines(alone[asked[0].hash] / "metrics.jsonl"))
    assert lines[-1]["val"]["accuracy"] == states[0]["val"]["accuracy"]


def test_only_frozen_heads_on_one_trunk_are_put_together(start: str) -> None:
    base = plan(start=start)
    key = heads_runner.group(base)
    assert key is not None
    assert heads_runner.group(base.changed("recipe", lr=0.5, optimizer="adam")) == key
    assert heads_runner.group(base.changed("seeding", seed=9)) == key
    assert heads_runner.group(base.changed("recipe", batch_size=16)) != key
    assert heads_runner.group(base.changed("seeding", test_seed=9)) != key
    for other in ({"mixup": 0.2}, {"ema": 0.9}, {"patience": 2}):
        assert heads_runner.group(base.changed("recipe", **other)) is None
    assert heads_runner.group(base.changed("arm", tuning="full")) is None
    random = base.changed("arm", start="scratch")
    assert heads_runner.group(random) != heads_runner.group(random.changed("seeding", seed=9))


@pytest.mark.parametrize(("weights", "smoothing"), [(False, 0.0), (True, 0.0), (False, 0.2), (True, 0.2)])
def test_the_loss_is_torchs(weights: bool, smoothing: float) -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 8, 4), torch.randint(4, (2, 1, 8))
    stack = batched_heads.HeadStack.__new__(batched_heads.HeadStack)
    stack.weights = torch.rand(2, 3, 4) + 0.1 if weights else torch.ones(2, 3, 4)
    stack.smoothing = torch.full((1, 3, 1), smoothing)
    found = stack._loss(logits, labels)
    for seed in range(2):
        for recipe in range(3):
            wanted = torch.nn.functional.cross_entropy(
                logits[seed, recipe],
                labels[seed, 0],
                weight=stack.weights[seed, recipe] if weights else None,
                label_smoothing=smoothing,
            )
            assert torch.allclose(found[seed, recipe], wanted, atol=1e-6)


def test_threads_and_determinism_are_those_of_the_plan(start: str, tmp_path: Path) -> None:
    asked = plan(start=start)
    with precision.deterministic(torch.device("cpu"), 1):
        first = heads_runner.run_heads([(asked, ABOUT)], tmp_path / "a", NullReporter(), left={})[asked.hash]
    second = heads_runner.run_heads([(asked, ABOUT)], tmp_path / "b", NullReporter(), left={})[asked.hash]
    assert (first / "model/head.safetensors").read_bytes() == (second / "model/head.safetensors").read_bytes()
