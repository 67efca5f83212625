"""Gradient health: the probe against plain torch, planted ailments found by name, and only those."""

import copy
import itertools
import json
import math
import re
import shutil
import time
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

from headstart.config.resolve import resolve_settings
from headstart.data import transforms
from headstart.diagnostics import checks
from headstart.diagnostics.history import History
from headstart.errors import DivergedError
from headstart.models import factory, structure
from headstart.reporter import NullReporter
from headstart.results import diagnosis
from headstart.runs import runner
from headstart.storage.journal import read_lines
from headstart.telemetry.probe import Probe
from tests.cli.test_main import in_a_process
from tests.short_runs import command, finish, metrics, prepared

FAST = {"source": "digits:0-3", "image_size": 8, "batch_size": 8, "precision": "fp32", "threads": 1, "epochs": "2ep"}
FEW = {**FAST, "fraction": 0.4}  # 25 steps an epoch, more or less


@pytest.mark.parametrize("settings", [{}, {"norm": "none"}, {"shortcut": "off"}, {"network": "timm:test_resnet"}])
def test_the_probe_measures_what_plain_torch_measures(settings: dict[str, Any]) -> None:
    parts = prepared(image_size=24, **settings).parts
    probe = Probe(parts)
    twin = copy.deepcopy(parts.network)
    first = structure.layer_names(twin)[0]
    with torch.no_grad():
        parts.network.get_submodule(first).weight.mul_(1.5)
        twin.get_submodule(first).weight.mul_(1.5)
    line = probe.line(3, 1)
    photos = parts.batches.photos
    rows = np.linspace(0, len(photos) - 1, 8).round().astype(int)
    images = transforms.normalise(transforms.plain_batch(photos.pixels(rows), 24), parts.mean, parts.std, parts.device)
    outputs: dict[str, torch.Tensor] = {}
    for name in structure.block_names(twin):
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
        return runner.start(resolve_settings({**FEW, **settings}).plan, place, NullReporter())
    except DivergedError:
        return next(place.glob("*/plan.json")).parent


def named(folder: Path) -> list[str]:
    return [finding.name for one in diagnosis.diagnose(folder) for finding in one.findings]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Starts with an ailment, as files."""
    place = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    dead = factory.build("resnet18", 4, stem="small")
    exploding = factory.build("resnet18", 4, stem="small", norm="none")
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
    plain = factory.build("resnet50", 4, stem="small", norm="none", shortcut=False)  # torch's default init
    closed, closed_plain = (factory.build("resnet18", 4, stem="small", shortcut=shortcut) for shortcut in (True, False))
    with torch.no_grad():
        closed.layer3[0].bn2.bias.fill_(-10)  # the gradient behind the blocks before it vanishes, and that is not why
        for block in (closed_plain.layer1[1], closed_plain.layer2[1], closed_plain.layer3[1]):
            block.bn1.bias.fill_(-10)
    found = {}
    starts = {"dead": dead, "closed": closed, "closed plain": closed_plain, "exploding": exploding,
              "monstrous": monstrous, "plain": plain}  # fmt: skip
    for name, network in starts.items():
        save_file(network.state_dict(), place / f"{name}.safetensors")
        found[name] = f"file:{place / name}.safetensors"
    return found


def test_planted_ailments_are_found_and_only_those(planted: dict[str, str], tmp_path: Path) -> None:
    sick = {
        "learning rate too high": [{"lr": 1.0}, {"optimizer": "adam", "lr": 0.3}],
        "learning rate too low": [{"lr": 1e-5}, {"optimizer": "adam", "lr": 1e-6}],
        "dead filters": [
            {"start": planted["dead"]},
            {"start": planted["closed"]},
            {"start": planted["closed plain"], "shortcut": "off"},
        ],
        "exploding gradients": [{"start": planted[name], "norm": "none"} for name in ("exploding", "monstrous")],
        "vanishing gradients": [
            {"start": start, "network": "resnet50", "norm": "none", "shortcut": "off"}
            for start in (planted["plain"], "scratch:torch")
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


def assert_healthy(folder: Path) -> None:
    """No finding at the end, none on the way, and enough of a run to say so."""
    (one,) = diagnosis.diagnose(folder)
    print(one.arm, one.healthy)
    assert [finding.name for finding in one.findings if finding.unhealthy] == [] and one.healthy.startswith("Healthy")
    assert [line for line in read_lines(folder / "metrics.jsonl") if line["kind"] == "finding"] == []


SHORT_RUNS: list[dict[str, Any]] = [
    {"lr": 0.01},
    {"lr": 0.01, "shortcut": "off"},
    {"optimizer": "adam", "lr": 0.001},
    {"optimizer": "adamw", "lr": 0.001},
]
LONGER_RUNS = [*SHORT_RUNS, {"lr": 0.05}, {"optimizer": "rmsprop", "lr": 0.001}]


@pytest.mark.parametrize("settings", SHORT_RUNS, ids=str)
def test_no_false_alarm_on_digits(settings: dict[str, Any], tmp_path: Path) -> None:
    assert_healthy(carried_out(tmp_path, source="digits:6-9", **settings))


@pytest.mark.slow
@pytest.mark.parametrize("settings", LONGER_RUNS, ids=str)
def test_no_false_alarm_on_larger_digits(settings: dict[str, Any], tmp_path: Path) -> None:
    """As docs/health.md has them; with the four on photos these are ten."""
    digits = {"source": "digits:6-9", "image_size": 16, "batch_size": 16, "fraction": 1.0, "epochs": "3ep"}
    assert_healthy(carried_out(tmp_path, **digits, **settings))


@pytest.mark.slow
@pytest.mark.photos
@pytest.mark.parametrize(
    "settings",
    [{"lr": 0.01}, {"optimizer": "adam", "lr": 0.001}, {"start": "cifar10", "lr": 0.01},
     {"start": "cifar10", "optimizer": "adam", "lr": 0.0001}],
    ids=str,
)  # fmt: skip
def test_no_false_alarm_on_photos(
    settings: dict[str, Any], clothing: Path, cifar_weights: Path, tmp_path: Path
) -> None:
    if "start" in settings:
        settings = {**settings, "start": f"file:{cifar_weights}"}
    lab4 = {"source": str(clothing / "lab4.csv"), "image_size": 48, "batch_size": 32, "fraction": 1.0, "epochs": "4ep"}
    assert_healthy(carried_out(tmp_path, **lab4, **settings))


def test_a_run_stopped_and_gone_on_with_tells_a_finding_once(tmp_path: Path) -> None:
    plan = resolve_settings({**FEW, "lr": 1e-5, "epochs": "4ep"}).plan
    folder = runner.start(plan, tmp_path, NullReporter(), until=2)
    runner.resume(folder, NullReporter())
    lines = list(read_lines(folder / "metrics.jsonl"))
    assert [line["kind"] for line in lines].count("finding") == 1
    assert [line["epoch"] for line in lines if line["kind"] == "probe"] == [0, 4]
    whole = carried_out(tmp_path / "whole", lr=1e-5, epochs="4ep")
    assert metrics(folder) == metrics(whole)


@pytest.fixture(scope="module")
def slow_learner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose learning rate is too low."""
    return carried_out(tmp_path_factory.mktemp("slow"), lr=1e-5)


@pytest.fixture(scope="module")
def long_record(slow_learner: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run as if it had taken 200 epochs with a network of 60 layers: each epoch a copy of its last one."""
    folder = shutil.copytree(slow_learner, tmp_path_factory.mktemp("long") / "run")
    *lines, end = read_lines(folder / "metrics.jsonl")
    one, two = (line["step"] for line in lines if line["kind"] == "epoch")
    last = [line for line in lines if line["step"] > one and line["kind"] != "finding"]
    for more in range(1, 199):
        lines += [{**line, "step": line["step"] + more * (two - one), "epoch": 2 + more} for line in last]
    lines.append({**end, "step": lines[-1]["step"]})
    with (folder / "metrics.jsonl").open("w") as record:
        for line in lines:
            record.write(json.dumps({name: widened(value) for name, value in line.items()}) + "\n")
    return folder


def widened(value: Any) -> Any:
    """A number for each layer, for 60 layers; other fields as they are."""
    if not isinstance(value, dict) or "conv1" not in value:
        return value
    return dict(zip((f"layer{i}" for i in range(60)), itertools.cycle(value.values())))


@pytest.mark.parametrize(
    ("verb", "record"), [("diagnose", "slow_learner"), ("report", "slow_learner"), ("diagnose", "long_record")]
)
def test_what_reads_a_finished_run_is_quick_and_needs_no_torch(
    verb: str, record: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(record)
    code = (
        "import atexit, sys; from headstart.cli.main import main\n"
        "heavy = {'torch', 'torchvision', 'timm', 'tensorboard'}\n"
        "atexit.register(lambda: print('LOADED', sorted(set(sys.modules) & heavy)))\n"
        f"main({[verb, str(folder)]})\n"
    )
    seconds = []
    for _ in range(3):  # the machine may be busy with something else for a moment
        clock = time.perf_counter()
        found = in_a_process(code)
        seconds.append(time.perf_counter() - clock)
        assert found.returncode == 0, found.stderr
        assert found.stdout.endswith("\nLOADED []\n") and found.stdout.count("\n") > 1
    assert min(seconds) < 2, seconds


def test_diagnose_tells_a_finding_and_refuses_what_makes_no_sense(slow_learner: Path, tmp_path: Path) -> None:
    folder = slow_learner
    code, out, err = finish(command("diagnose", folder))
    assert code == 0 and "Learning rate too low" in out and "Try --lr" in out, err
    seen = json.loads(finish(command("diagnose", folder, "--json"))[1])
    assert seen[0]["findings"][0]["name"] == "learning rate too low"
    for words in (["diagnose"], ["diagnose", folder, "--ablation", "digits"], ["diagnose", folder, "--lr", "1"],
                  ["diagnose", tmp_path / "nothing"], ["diagnose", "--ablation", "digits", "--norm", "none"]):  # fmt: skip
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
        history.take({"kind": "snapshot", "step": step, "epoch": epoch, "ratio": {"conv1": ratio, "fc": ratio}})
        flow, dead = {"layer1.0": low, "layer4.1": high}, {"conv1": share}
        history.take({"kind": "probe", "step": step, "epoch": epoch, "loss": loss, "flow": flow, "zeros": dead,
                      "dead": dead, "distance": {"conv1": ratio, "fc": 0.0}})  # fmt: skip
        history.take({"kind": "epoch", "step": step, "epoch": epoch, "train": {"loss": loss}, "val": {"loss": loss}})
    unhealthy_findings = [one for one in checks.findings(history) if one.unhealthy]
    assert len(unhealthy_findings) <= 1
    for one in unhealthy_findings:
        assert one.sentence.endswith(".") and "nan" not in one.sentence and "None" not in one.sentence
        json.dumps(one.to_json(), allow_nan=False)
    learning = history.has_had_time and history.last_loss < 0.95 * math.log(3)
    assert checks.healthy_words(history).startswith("Healthy" if learning else "Too early to say")


@pytest.mark.parametrize(("optimizer", "most"), [("sgd", 0.1), ("adam", 0.01), ("rmsprop", 0.01)])
@pytest.mark.parametrize("rate", [1e-6, 1e-3, 0.05, 0.5, 1e30])
@pytest.mark.parametrize("ratio", [1e-9, 1e-6, 0.5])
def test_no_rate_is_advised_that_nobody_would_take(optimizer: str, most: float, rate: float, ratio: float) -> None:
    history = History({**PLAN, "recipe": {"optimizer": optimizer, "lr": rate}}, state="finished")
    for epoch in range(1, 5):
        history.take({"kind": "step", "step": 30 * epoch, "epoch": epoch, "loss": 1.1, "lr": {"head": rate}})
        history.take({"kind": "snapshot", "step": 30 * epoch, "epoch": epoch, "ratio": {"conv1": ratio, "fc": ratio}})
        history.take(
            {"kind": "epoch", "step": 30 * epoch, "epoch": epoch, "train": {"loss": 1.1}, "val": {"loss": 1.1}}
        )
    (found,) = checks.findings(history)
    assert found.name == ("learning rate too high" if ratio == 0.5 else "learning rate too low")
    advised = re.search(r"Try --lr (\S+)[.]$", found.advice)
    if advised is None:
        assert ratio < 0.5 and rate >= most and "--lr" not in found.advice
    else:
        new = float(advised[1])
        assert new <= most and (new < rate if ratio == 0.5 else new > rate)


def epochs_of(
    losses: list[float],
    plan: dict[str, Any],
    state: str = "",
    *,
    ratio: float = 0.1,
    confusion: list[list[int]] | None = None,
    kept: float | None = None,
) -> History:
    """Updates of `ratio` all along, wild ones if not said, and these training losses, 50 steps each."""
    history = History(plan, state=state)
    for epoch, loss in enumerate(losses, 1):
        step = 50 * epoch
        history.take({"kind": "step", "step": step, "epoch": epoch, "loss": loss, "lr": {"head": plan["recipe"]["lr"]}})
        history.take({"kind": "snapshot", "step": step, "epoch": epoch, "ratio": {"conv1": ratio, "fc": ratio}})
        history.take({"kind": "epoch", "step": step, "epoch": epoch, "train": {"loss": loss}, "val": {"loss": loss},
                      "confusion": confusion or []})  # fmt: skip
    if kept is not None:
        flow = {"layer1.0": 0.1 * kept, "layer4.1": 0.1}
        history.take({"kind": "probe", "step": 50 * len(losses), "epoch": len(losses), "loss": losses[-1],
                      "flow": flow, "zeros": {}, "dead": {}, "distance": {}})  # fmt: skip
    return history


def names_of(history: History) -> list[str]:
    return [one.name for one in checks.findings(history)]


UNEQUAL = {**PLAN, "facts": {"class_names": ["a", "b", "c", "d"], "images": {"a": 254, "b": 504, "c": 271, "d": 822}}}
ONE_ANSWER, SOME = [[0, 0, 0, 9]] * 4, [[1, 0, 0, 8]] * 4


def test_a_network_that_has_learned_the_class_shares_alone_is_not_healthy() -> None:
    """Losses as plain networks without a norm had them on photos of four unequal classes."""
    for losses in ([1.297, 1.235, 1.219], [1.309, 1.243, 1.239], [1.293, 1.232, 1.212]):
        history = epochs_of(losses, UNEQUAL, "finished", ratio=1e-3, confusion=ONE_ANSWER, kept=0.002)
        (found,) = checks.findings(history)
        assert found.name == "degradation without vanishing"
        assert "all get one answer" in found.evidence and "is 0.002 of that" in found.evidence
    late = epochs_of([3.53, 2.21, 1.48], UNEQUAL, "finished", ratio=1e-3, confusion=SOME, kept=0.1)
    assert names_of(late) == [] and "Too early" in checks.healthy_words(late)  # it is on its way
    stays = epochs_of([1.31, 1.243, 1.239], UNEQUAL, "finished", ratio=1e-3, confusion=SOME, kept=0.1)
    assert names_of(stays) == ["degradation without vanishing"]
    blind = epochs_of([1.2, 0.6, 0.3], UNEQUAL, "finished", ratio=1e-3, confusion=ONE_ANSWER, kept=0.1)
    assert names_of(blind) == [] and "Too early" in checks.healthy_words(blind)
    single = epochs_of([1.2, 0.6, 0.3], UNEQUAL, "finished", confusion=[[0] * 4] * 3 + [[0, 0, 0, 9]], kept=0.1)
    assert "Healthy" in checks.healthy_words(single)  # all val images are of one class
    learns = epochs_of([1.35, 1.2, 1.0], UNEQUAL, "finished", ratio=1e-3, confusion=SOME, kept=0.1)
    assert names_of(learns) == [] and "Healthy" in checks.healthy_words(learns)


@pytest.mark.parametrize("losses", [[4.75], [4.75, 4.63], [4.75, 4.65, 4.62]])
def test_many_classes_are_given_time(losses: list[float]) -> None:
    plan = {**PLAN, "facts": {"class_names": [str(number) for number in range(100)]}}
    history = epochs_of(losses, plan, "finished", ratio=1e-3, kept=0.5)
    assert names_of(history) == [] and checks.healthy_words(history).startswith("Too early to say")
    stuck = epochs_of([4.65] * 30, plan, "finished", ratio=1e-3, kept=0.5)
    assert names_of(stuck) == ["degradation without vanishing"]


def test_large_updates_are_no_ailment_of_a_run_that_gets_better_slowly() -> None:
    many = {**PLAN, "facts": {"class_names": [str(number) for number in range(100)]}}
    assert names_of(epochs_of([4.7, 4.3, 3.9], many, "finished", ratio=0.18)) == []
    rare = {**PLAN, "facts": {"class_names": ["a", "b"], "images": {"a": 95, "b": 5}}}
    assert names_of(epochs_of([0.25, 0.18, 0.13], rare, "finished", ratio=0.18)) == []
    assert names_of(epochs_of([1.5, 0.22, 0.19], rare, "finished", ratio=0.18)) == ["learning rate too high"]


def test_a_loss_far_above_that_of_guessing_is_told_at_once() -> None:
    """With wild updates, on train and on val; a run that is bad on one of the two alone is given its time."""
    assert names_of(epochs_of([2.25], PLAN)) == ["learning rate too high"]
    assert names_of(epochs_of([2.15], PLAN)) == names_of(epochs_of([2.25], PLAN, ratio=0.02)) == []
    bad_on_val = epochs_of([2.15], PLAN)
    bad_on_val.epochs[0]["val"]["loss"] = 1e9
    assert names_of(bad_on_val) == []
    assert names_of(epochs_of([2.25, 2.0, 0.3], PLAN, "finished")) == []


@pytest.mark.parametrize(("rate", "ratio", "advised"), [(0.01, 0.04, 0.001), (0.1, 0.22, 0.001), (1.0, 0.37, 0.01)])
def test_a_tenth_is_tried_before_a_hundredth(rate: float, ratio: float, advised: float) -> None:
    plan = {**PLAN, "recipe": {"optimizer": "adam", "lr": rate}}
    (found,) = checks.findings(epochs_of([2.0, 1.9, 1.9], plan, "finished", ratio=ratio))
    assert found.advice == f"Try --lr {min(advised, 0.01):g}."


def test_a_rate_that_is_still_warming_up_is_not_called_low() -> None:
    history = History(PLAN)  # SGD at 0.01, of which a one-cycle schedule has come to a twentieth
    for epoch in (1, 2):
        history.take({"kind": "step", "step": 50 * epoch, "epoch": epoch, "loss": 1.1, "lr": {"head": 0.002}})
        history.take({"kind": "snapshot", "step": 50 * epoch, "epoch": epoch, "ratio": {"conv1": 2e-5, "fc": 2e-5}})
        history.take(
            {"kind": "epoch", "step": 50 * epoch, "epoch": epoch, "train": {"loss": 1.1}, "val": {"loss": 1.1}}
        )
    assert names_of(history) == []
    assert [update for *_, update in history.updates()] == pytest.approx([1e-4, 1e-4])


def test_what_was_noticed_and_has_passed_is_withdrawn_at_the_end() -> None:
    plan = {**PLAN, "network": {"norm": "none", "shortcut": "on"}}
    history, noticed = History(plan), set[str]()
    probe = {"kind": "probe", "flow": {}, "zeros": {}, "dead": {}, "distance": {}}
    history.take({**probe, "step": 0, "epoch": 0, "loss": 6.2})
    (told,) = checks.new_findings(history, noticed)
    assert told["name"] == "exploding gradients" and not told["withdrawn"] and noticed == {"exploding gradients"}
    for epoch, loss in enumerate([2.0, 1.0, 0.5], 1):
        history.take(
            {"kind": "epoch", "step": 50 * epoch, "epoch": epoch, "train": {"loss": loss}, "val": {"loss": loss}}
        )
    history.take({**probe, "step": 150, "epoch": 3, "loss": 0.5})
    assert checks.new_findings(history, noticed) == []  # it may come back
    history.state = "finished"
    (gone,) = checks.new_findings(history, noticed)
    assert gone["name"] == "exploding gradients" and gone["withdrawn"] and checks.unhealthy_findings(history) == []
    history.state = "diverged"  # what another cause would hide is looked for all the same
    lines = checks.new_findings(history, {"exploding gradients"})
    assert [(line["name"], line["withdrawn"]) for line in lines] == [
        ("learning rate too high", False), ("exploding gradients", True),
    ]  # fmt: skip
    still = History(plan, state="finished", probes=[*history.probes[:1], {**history.probes[1], "loss": 50.0}])
    still.epochs = history.epochs
    assert names_of(still) == ["exploding gradients"]


def test_what_another_cause_hides_at_the_end_is_not_withdrawn() -> None:
    wild = epochs_of([9.0, 9.0, 9.0], {**PLAN, "network": {"norm": "none", "shortcut": "on"}}, "finished")
    probe = {"kind": "probe", "epoch": 3, "step": 150, "flow": {}, "zeros": {}, "dead": {}, "distance": {}}
    wild.probes = [{**probe, "step": 0, "epoch": 0, "loss": 6.2}, {**probe, "loss": 50.0}]
    lines = checks.new_findings(wild, {"learning rate too high", "dead filters"})
    assert [(line["name"], line["withdrawn"]) for line in lines] == [
        ("exploding gradients", False), ("dead filters", True),
    ]  # fmt: skip
    stuck = epochs_of([1.1, 1.1, 1.1], PLAN, "finished", ratio=1e-3)
    faded = {**probe, "loss": 1.1, "flow": {"layer1.0": 1e-7, "layer4.1": 0.1}}
    for share, told in ((0.0, "vanishing gradients"), (0.95, "dead filters")):
        stuck.probes = [
            {**faded, "step": 0, "epoch": 0, "dead": {"layer2": share}},
            {**faded, "dead": {"layer2": share}},
        ]
        assert names_of(stuck) == [told]
        assert not any(line["withdrawn"] for line in checks.new_findings(stuck, {"vanishing gradients"}))


def test_a_run_that_still_gets_better_is_left_in_peace() -> None:
    assert [one.name for one in checks.findings(epochs_of([2.0, 1.9, 1.9], PLAN))] == ["learning rate too high"]
    assert checks.findings(epochs_of([2.0, 1.8, 1.6], PLAN)) == []
    assert [one.name for one in checks.findings(epochs_of([2.0, 1.8, 1.6], PLAN, "finished"))] != []
    assert checks.findings(epochs_of([2.0, 1.0, 0.3, 0.3], PLAN, "finished")) == []
    assert checks.healthy_words(epochs_of([2.0], PLAN)).startswith("Too early to say")
    assert checks.healthy_words(epochs_of([0.5, 0.2], PLAN)).startswith("Healthy")


def test_one_who_guesses_knows_the_shares_of_the_classes() -> None:
    shares = {**PLAN, "facts": {"class_names": ["a", "b"], "images": {"a": 95, "b": 5}}}
    assert History(shares).prior_entropy == pytest.approx(stats.entropy([0.95, 0.05]))
    assert History(PLAN).prior_entropy == pytest.approx(math.log(3))


@pytest.mark.parametrize(("ratio", "name"), [(1e-2, None), (1e-4, "vanishing gradients"), (1e5, "exploding gradients")])
def test_flow_is_judged_from_the_first_block_to_the_last(ratio: float, name: str | None) -> None:
    history = History(PLAN)
    flow = {"layer1.0": 0.1 * ratio, "layer2.0": 0.05, "layer4.1": 0.1}
    history.take(
        {"kind": "probe", "step": 0, "epoch": 0, "loss": 1.1, "flow": flow, "zeros": {}, "dead": {}, "distance": {}}
    )
    found = checks.findings(history)
    assert [one.name for one in found] == ([name] if name else [])
    assert not found or (found[0].layer == "layer1.0" and found[0].value == pytest.approx(ratio))
