"""Gradient health: the probe against plain torch, planted ailments found by name, and only those."""

import copy
import json
import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy import stats

from headstart import jobs, run, twins
from headstart.cli import main
from headstart.errors import DivergedError, InterruptedRunError, UsageError
from headstart.parts import augment, networks
from headstart.record import read_json, read_lines
from headstart.settings import settle
from headstart.use import diagnosis
from headstart.verdict import health
from headstart.verdict.gather import runs_in
from headstart.verdict.history import History
from headstart.voice import Silent, Voice
from headstart.watch.probe import Probe

from .runs import command, finish, metrics, prepared

FAST = {"source": "digits:0-3", "image_size": 8, "batch_size": 8, "precision": "fp32", "threads": 1, "epochs": "2ep"}
FEW = {**FAST, "fraction": 0.4}  # 25 steps an epoch, more or less


@pytest.mark.parametrize("settings", [{}, {"norm": "none"}, {"shortcut": "off"}, {"network": "timm:test_resnet"}])
def test_the_probe_measures_what_plain_torch_measures(settings: dict[str, Any]) -> None:
    parts = prepared(image_size=24, **settings).parts
    probe = Probe(parts)
    twin = copy.deepcopy(parts.network)
    first = networks.layer_names(twin)[0]
    with torch.no_grad():
        parts.network.get_submodule(first).weight.mul_(1.5)
        twin.get_submodule(first).weight.mul_(1.5)
    line = probe.line(3, 1)
    photos = parts.batches.photos
    rows = np.linspace(0, len(photos) - 1, 8).round().astype(int)
    images = augment.normalise(augment.plain_batch(photos.pixels(rows), 24), parts.mean, parts.std, parts.device)
    outputs: dict[str, torch.Tensor] = {}
    for name in networks.block_names(twin):
        twin.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: outputs.setdefault(name, out))
    loss = F.cross_entropy(twin(images), torch.from_numpy(photos.labels[rows]))
    for output in outputs.values():
        output.retain_grad()
    loss.backward()
    assert line["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert list(line["flow"]) == list(outputs) and len(outputs) > 3
    for name, output in outputs.items():
        assert line["flow"][name] == pytest.approx(float(output.grad.norm()), rel=1e-3)
    assert line["distance"].pop(first) == pytest.approx(0.5) and set(line["distance"].values()) == {0.0}
    assert all(0 < share < 1 for share in line["zeros"].values()) and set(line["dead"]) <= set(line["zeros"])


def test_the_probe_counts_zeros_and_dead_filters_behind_each_relu() -> None:
    parts = prepared(image_size=24).parts
    with torch.no_grad():
        parts.network.layer2[0].bn1.bias[:32] = -20  # a quarter of its 128 filters, behind the first ReLU of the block
    line = Probe(parts).line(0, 0)
    assert line["dead"]["layer2.0.conv1"] == pytest.approx(0.25)
    assert line["zeros"]["layer2.0.conv1"] > 0.25
    assert line["dead"]["layer2.0.conv2"] == line["dead"]["layer1.0.conv1"] == 0
    relus = sum(isinstance(module, torch.nn.ReLU) for module in parts.network.modules())
    assert len(line["zeros"]) == 2 * (relus - 1) + 1  # each block's one serves twice


def test_the_probe_leaves_everything_as_it_was() -> None:
    parts = prepared(image_size=24, head="mlp:8").parts
    probe = Probe(parts)
    before = {name: tensor.clone() for name, tensor in parts.network.state_dict().items()}
    generator = torch.get_rng_state()
    first = probe.line(0, 0)
    assert probe.line(0, 0) == first
    assert all(torch.equal(tensor, before[name]) for name, tensor in parts.network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in parts.network.parameters()) and parts.network.training
    assert torch.equal(torch.get_rng_state(), generator)
    assert not any(module._forward_hooks for module in parts.network.modules())


def carried_out(place: Path, **settings: Any) -> Path:
    try:
        return run.start(settle({**FEW, **settings}).plan, place, Silent())
    except DivergedError:
        return next(place.glob("*/plan.json")).parent


def named(folder: Path) -> list[str]:
    return [finding.name for one in diagnosis.diagnose(folder) for finding in one.findings]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Starts with an ailment, as files."""
    place = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    dead = networks.build("resnet18", 4, stem="small")
    exploding = networks.build("resnet18", 4, stem="small", norm="none")
    with torch.no_grad():
        dead.layer3[0].bn1.bias.fill_(-10)
        for module in exploding.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                torch.nn.init.kaiming_normal_(module.weight).mul_(3)
                module.bias.zero_()
    monstrous = copy.deepcopy(exploding)
    with torch.no_grad():
        for module in monstrous.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.mul_(100)
    plain = networks.build("resnet50", 4, stem="small", norm="none", shortcut=False)  # torch's default init
    found = {}
    for name, network in (("dead", dead), ("exploding", exploding), ("monstrous", monstrous), ("plain", plain)):
        save_file(network.state_dict(), place / f"{name}.safetensors")
        found[name] = f"file:{place / name}.safetensors"
    return found


def test_planted_ailments_are_found_and_only_those(planted: dict[str, str], tmp_path: Path) -> None:
    sick = {
        "learning rate too high": [{"lr": 1.0}, {"optimizer": "adam", "lr": 0.3}],
        "learning rate too low": [{"lr": 1e-5}, {"optimizer": "adam", "lr": 1e-6}],
        "dead filters": [{"start": planted["dead"], "epochs": "3st"}],
        "exploding gradients": [
            {"start": planted[name], "norm": "none", "epochs": "3st"} for name in ("exploding", "monstrous")
        ],
        "vanishing gradients": [
            {"start": planted["plain"], "network": "resnet50", "norm": "none", "shortcut": "off", "epochs": "3st"}
        ],
    }
    for name, cases in sick.items():
        for number, settings in enumerate(cases):
            folder = carried_out(tmp_path / f"{name}-{number}", **settings)
            assert named(folder) == [name], settings
            told = [line for line in read_lines(folder / "metrics.jsonl") if line["kind"] == "finding"]
            assert [line["name"] for line in told] == [name]  # while training, and once


def test_what_is_healthy_or_frozen_is_not_called_ill(tmp_path: Path) -> None:
    first = carried_out(tmp_path / "a", lr=0.01)
    second = carried_out(tmp_path / "b", optimizer="adam", lr=0.001)
    frozen = carried_out(tmp_path / "c", start=f"run:{second}", tuning="frozen", lr=0.01)
    late = carried_out(tmp_path / "d", start=f"run:{second}", tuning="lp-ft")
    assert named(first) == named(second) == []
    assert named(frozen) == named(late) == ["frozen by design"]
    assert all(one.healthy for folder in (first, second, frozen, late) for one in diagnosis.diagnose(folder))
    probes = [line for line in read_lines(late / "metrics.jsonl") if line["kind"] == "probe"]
    assert probes[0]["step"] == 0 and len(probes) == 2  # and at the end: epochs are short


def test_a_run_stopped_and_gone_on_with_tells_a_finding_once(tmp_path: Path) -> None:
    plan = settle({**FEW, "lr": 1e-5, "epochs": "4ep"}).plan
    folder = run.start(plan, tmp_path, Silent(), until=2)
    run.resume(folder, Silent())
    lines = list(read_lines(folder / "metrics.jsonl"))
    assert [line["kind"] for line in lines].count("finding") == 1
    assert [line["epoch"] for line in lines if line["kind"] == "probe"] == [0, 4]
    whole = carried_out(tmp_path / "whole", lr=1e-5, epochs="4ep")
    assert metrics(folder) == metrics(whole)


def test_diagnose_is_quick_and_needs_no_torch(tmp_path: Path) -> None:
    folder = carried_out(tmp_path, lr=1e-5)
    code, out, err = finish(command("diagnose", folder))
    assert code == 0 and "Learning rate too low" in out and "Try --lr" in out, err
    seen = json.loads(finish(command("diagnose", folder, "--json"))[1])
    assert seen[0]["findings"][0]["name"] == "learning rate too low"
    main(["diagnose", str(folder)])
    for words in (["diagnose"], ["diagnose", folder, "--twins", "digits"], ["diagnose", folder, "--lr", "1"],
                  ["diagnose", tmp_path / "nothing"], ["diagnose", "--twins", "digits", "--norm", "none"]):  # fmt: skip
        code, out, err = finish(command(*words))
        assert code in (2, 3) and len(err.strip().splitlines()) == 2 and not out, (words, err)


PLAN = {
    "facts": {"class_names": ["a", "b", "c"]},
    "recipe": {"optimizer": "sgd", "lr": 0.01},
    "network": {"norm": "batch", "shortcut": "on"},
    "arm": {"tuning": "full"},
}
numbers = st.one_of(st.none(), st.floats(0, 1e30))


@given(st.lists(st.tuples(numbers, numbers, numbers, st.floats(0, 1)), min_size=1, max_size=5), st.floats(0, 1e6))
def test_any_record_has_at_most_one_ailment_with_sound_words(
    found: list[tuple[float | None, float | None, float | None, float]], loss: float
) -> None:
    history = History(PLAN)
    for epoch, (low, high, ratio, share) in enumerate(found):
        step = 20 * epoch
        history.take({"kind": "step", "step": step, "epoch": epoch, "loss": loss, "lr": {"head": 0.01}})
        history.take({"kind": "look", "step": step, "epoch": epoch, "ratio": {"conv1": ratio, "fc": ratio}})
        flow, dead = {"layer1.0": low, "layer4.1": high}, {"conv1": share}
        history.take({"kind": "probe", "step": step, "epoch": epoch, "loss": loss, "flow": flow, "zeros": dead,
                      "dead": dead, "distance": {"conv1": ratio, "fc": 0.0}})  # fmt: skip
        history.take({"kind": "epoch", "step": step, "epoch": epoch, "train": {"loss": loss}, "val": {"loss": loss}})
    ailments = [one for one in health.findings(history) if one.ailment]
    assert len(ailments) <= 1
    for one in ailments:
        assert one.sentence.endswith(".") and "nan" not in one.sentence and "None" not in one.sentence
        json.dumps(one.to_json(), allow_nan=False)
    early = "Healthy" if history.has_had_time else "Too early to say"
    assert health.healthy_words(history).startswith(early)


def epochs_of(losses: list[float], plan: dict[str, Any], state: str = "") -> History:
    """Wild updates all along, and these training losses, 30 steps each."""
    history = History(plan, state=state)
    for epoch, loss in enumerate(losses, 1):
        history.take({"kind": "step", "step": 30 * epoch, "epoch": epoch, "loss": loss, "lr": {"head": 0.01}})
        history.take({"kind": "look", "step": 30 * epoch, "epoch": epoch, "ratio": {"conv1": 0.1, "fc": 0.1}})
        history.take(
            {"kind": "epoch", "step": 30 * epoch, "epoch": epoch, "train": {"loss": loss}, "val": {"loss": loss}}
        )
    return history


def test_a_run_that_still_gets_better_is_left_in_peace() -> None:
    assert [one.name for one in health.findings(epochs_of([2.0, 1.9, 1.9], PLAN))] == ["learning rate too high"]
    assert health.findings(epochs_of([2.0, 1.8, 1.6], PLAN)) == []
    assert [one.name for one in health.findings(epochs_of([2.0, 1.8, 1.6], PLAN, "finished"))] != []
    assert health.findings(epochs_of([2.0, 1.0, 0.3, 0.3], PLAN, "finished")) == []
    assert health.healthy_words(epochs_of([2.0], PLAN)).startswith("Too early to say")
    assert health.healthy_words(epochs_of([0.5, 0.2], PLAN)).startswith("Healthy")


def test_one_who_guesses_knows_the_shares_of_the_classes() -> None:
    shares = {**PLAN, "facts": {"class_names": ["a", "b"], "images": {"a": 95, "b": 5}}}
    assert History(shares).guessing == pytest.approx(stats.entropy([0.95, 0.05]))
    assert History(PLAN).guessing == pytest.approx(math.log(3))


@pytest.mark.parametrize(("ratio", "name"), [(1e-2, None), (1e-4, "vanishing gradients"), (1e5, "exploding gradients")])
def test_flow_is_judged_from_the_first_block_to_the_last(ratio: float, name: str | None) -> None:
    history = History(PLAN)
    flow = {"layer1.0": 0.1 * ratio, "layer2.0": 0.05, "layer4.1": 0.1}
    history.take(
        {"kind": "probe", "step": 0, "epoch": 0, "loss": 1.1, "flow": flow, "zeros": {}, "dead": {}, "distance": {}}
    )
    found = health.findings(history)
    assert [one.name for one in found] == ([name] if name else [])
    assert not found or (found[0].layer == "layer1.0" and found[0].value == pytest.approx(ratio))


def twin(shortcut: str, norm: str, kept: float, right: float, network: str = "resnet18") -> twins.Twin:
    answers = (np.arange(200) < 200 * right).astype(int)[None]
    return twins.Twin(network, shortcut, norm, answers, (kept, kept), ())


def test_twins_claim_a_rescue_only_where_the_numbers_show_it() -> None:
    plan = settle(FAST).plan
    cells = [twin(s, n, 1.0 if n == "batch" or s == "on" else 1e-18, 0.9 if s == "on" else 0.6, depth)
             for depth in twins.DEPTHS for n in twins.NORMS for s in twins.SWITCHES]  # fmt: skip
    said = twins.told(cells, plan)
    of = {(e["network"], e["norm"]): e for e in said["effects"] if e["switch"] == "shortcut"}
    words = {twin: effect["sentence"] for twin, effect in of.items()}
    assert of["resnet18", "batch"]["orders"] == 0 and of["resnet50", "none"]["orders"] == pytest.approx(18)
    assert of["resnet18", "batch"]["accuracy"] == pytest.approx(0.3)
    assert "keep it alive" in words["resnet50", "none"] and "keep it alive" not in words["resnet18", "batch"]
    assert "does not vanish without shortcuts" in words["resnet18", "batch"]


def test_twins_are_trained_once_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "DEPTHS", ("resnet18",))
    settings = {**FAST, "fraction": 0.2, "epochs": "1ep"}
    source = settings.pop("source")
    first = twins.compare(source, settings, tmp_path, Silent(), engine="here")
    made = sorted(path.parent for path in Path(first["folder"]).glob("*/plan.json"))
    assert len(made) == 4 and all((folder / "result.json").exists() for folder in made)
    stamps = [(folder / "result.json").stat().st_mtime_ns for folder in made]
    assert twins.compare(source, settings, tmp_path, Silent(), engine="here") == first
    assert [(folder / "result.json").stat().st_mtime_ns for folder in made] == stamps
    right = {(t["shortcut"], t["norm"]): t["accuracy"] for t in first["twins"]}
    results = [read_json(folder / "result.json") for folder in made]
    assert sorted(right.values()) == pytest.approx(sorted(result["test"]["accuracy"] for result in results))
    effect = next(e for e in first["effects"] if e["switch"] == "shortcut" and e["norm"] == "batch")
    assert effect["accuracy"] == pytest.approx(right["on", "batch"] - right["off", "batch"])
    assert effect["low"] <= effect["accuracy"] <= effect["high"] and math.isfinite(effect["orders"])


def test_twins_that_were_stopped_go_on_with_the_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twins, "DEPTHS", ("resnet18",))
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))  # nothing to take over
    settings = {**FAST, "fraction": 0.2, "epochs": "1ep", "precision": "auto"}
    source = settings.pop("source")
    work = jobs.work

    def stopping(text: str, voice: Voice) -> str:
        begun.append(jobs.title(text))
        if len(begun) < 3:
            return work(text, voice)
        if len(begun) == 3:  # in the midst of a run, which says how to go on with itself
            return jobs.failed(InterruptedRunError(signal.SIGINT, "Go on with `headstart resume RUN`."))
        raise KeyboardInterrupt

    begun: list[str] = []
    monkeypatch.setattr(jobs, "work", stopping)
    for measured in ("fp32", "bf16"):  # when the machine is measured anew, it may come out another way
        monkeypatch.setattr(twins, "borne_by_all", lambda met, measured=measured: measured)
        with pytest.raises(InterruptedRunError) as stop:
            twins.compare(source, settings, tmp_path, Silent(), engine="here")
        assert stop.value.cure == twins.CURE and stop.value.exit_code == 130
    monkeypatch.setattr(jobs, "work", work)
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("twins-*/*/result.json")}
    assert len(begun) == 4 and len(made) == 2
    found = twins.compare(source, settings, tmp_path, Silent(), engine="here")
    (folder,) = tmp_path.glob("twins-*")
    assert found["folder"] == str(folder)
    runs = list(runs_in(folder))
    assert len(runs) == len({run.plan["network"]["norm"] + run.plan["network"]["shortcut"] for run in runs}) == 4
    assert {run.plan["machine"]["precision"] for run in runs} == {"fp32"}  # as the first ones had
    assert {path: path.stat().st_mtime_ns for path in made} == made


@pytest.mark.parametrize("seeds", [0, -1])
def test_twins_of_no_seed_are_refused(seeds: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Use --seeds 1 or more"):
        twins.compare("digits:0-3", {}, tmp_path / "runs", Silent(), seeds=seeds)
    assert not (tmp_path / "runs").exists()
