"""Health checks: runs with a planted fault get its finding and no other."""

import copy
import itertools
import json
import math
import shutil
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy import stats

from headstart.cli.main import main
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import RunConfig
from headstart.diagnostics import checks
from headstart.diagnostics.finding import Finding
from headstart.diagnostics.history import HealthStatus, History
from headstart.diagnostics.registry import finding_name
from headstart.errors import DivergedError
from headstart.i18n import Message, Value
from headstart.models import factory
from headstart.reporter import NullReporter
from headstart.results import diagnosis
from headstart.runs import runner
from headstart.storage.journal import read_lines, with_checksum
from headstart.storage.schemas.metrics import EpochLine, FindingLine, ProbeLine, WithdrawnLine
from headstart.storage.schemas.result import RunState
from tests.cli.test_main import fails, run_python
from tests.handmade import epoch_line, probe_line, seal, snapshot_line, split_score, step_line
from tests.messages import fields_of, values_of
from tests.short_runs import SGD, metrics

FAST = {
    **SGD,
    "source": "digits:0-3",
    "image_size": 8,
    "batch_size": 8,
    "precision": "fp32",
    "threads": 1,
    "epochs": "2ep",
}
FEW = {**FAST, "network": "resnet20", "fraction": 0.4}  # 25 steps an epoch, more or less


def run_in(place: Path, **settings: Any) -> Path:
    try:
        return runner.run_new(resolve_settings({**FEW, **settings}).plan, place, NullReporter())
    except DivergedError:
        return next(place.glob("*/plan.json")).parent


def finding_lines(history: History, noticed: set[str], step: int) -> list[FindingLine | WithdrawnLine]:
    """Return the lines of new and withdrawn findings."""
    return [notice.line for notice in checks.new_notices(history, noticed, step)]


def finding_codes(folder: Path) -> list[str]:
    return [finding.code for run in diagnosis.diagnose(folder) for finding in run.findings]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of initial weights, each with one fault."""
    place = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    dead = factory.build("resnet20", 4, stem="small")
    exploding = factory.build("resnet20", 4, stem="small", norm="none")
    with torch.no_grad():
        dead.layer3[0].bn1.bias.fill_(-10)
        for module in exploding.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                torch.nn.init.kaiming_normal_(module.weight).mul_(3)
                module.bias.zero_()
    very_large = copy.deepcopy(exploding)
    with torch.no_grad():
        for module in very_large.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.mul_(100)
    plain = factory.build("resnet20", 4, stem="small", norm="none", shortcut=False)  # torch's default initialization
    closed, closed_plain = (factory.build("resnet20", 4, stem="small", shortcut=shortcut) for shortcut in (True, False))
    with torch.no_grad():
        closed.layer3[0].bn2.bias.fill_(-10)  # gradients of earlier blocks vanish, but dead filters are the cause
        for block in (closed_plain.layer1[1], closed_plain.layer2[1], closed_plain.layer3[1]):
            block.bn1.bias.fill_(-10)
    files = {}
    starts = {"dead": dead, "closed": closed, "closed plain": closed_plain, "exploding": exploding,
              "very large": very_large, "plain": plain}  # fmt: skip
    for name, network in starts.items():
        save_file(network.state_dict(), place / f"{name}.safetensors")
        files[name] = f"file:{place / name}.safetensors"
    return files


@pytest.mark.parametrize(
    ("code", "settings"),
    [
        ("learning-rate-too-high", {"lr": 1.0}),
        pytest.param("learning-rate-too-high", {"optimizer": "adam", "lr": 0.3}, marks=pytest.mark.slow),
        ("learning-rate-too-low", {"optimizer": "adam", "lr": 1e-6}),
        pytest.param("learning-rate-too-low", {"lr": 1e-5}, marks=pytest.mark.slow),
        ("dead-filters", {"start": "dead"}),
        pytest.param("dead-filters", {"start": "closed plain", "shortcut": "off"}, marks=pytest.mark.slow),
        pytest.param("dead-filters", {"start": "closed"}, marks=pytest.mark.slow),
        ("exploding-gradients", {"start": "exploding", "norm": "none"}),
        pytest.param("exploding-gradients", {"start": "very large", "norm": "none"}, marks=pytest.mark.slow),
        ("vanishing-gradients", {"start": "plain", "norm": "none", "shortcut": "off"}),
        pytest.param(
            "vanishing-gradients",
            {"start": "scratch:torch", "network": "resnet50", "norm": "none", "shortcut": "off"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_planted_fault_gets_its_finding_and_no_other(
    code: str, settings: dict[str, Any], planted: dict[str, str], tmp_path: Path
) -> None:
    start = settings.get("start", "scratch")
    folder = run_in(tmp_path, **{**settings, "start": planted.get(start, start)})
    assert finding_codes(folder) == [code]
    lines = [line for line in read_lines(folder / "metrics.jsonl") if isinstance(line, FindingLine)]
    assert [line.code for line in lines] == [code]  # during training, and once


def test_healthy_and_frozen_runs_have_no_unhealthy_finding(tmp_path: Path) -> None:
    first = run_in(tmp_path / "a", lr=0.01)
    second = run_in(tmp_path / "b", optimizer="adam", lr=0.001)
    frozen = run_in(tmp_path / "c", start=f"run:{second}", tuning="frozen", lr=0.01)
    late = run_in(tmp_path / "d", start=f"run:{second}", tuning="lp-ft")
    assert finding_codes(first) == finding_codes(second) == []
    assert finding_codes(frozen) == finding_codes(late) == ["frozen-by-design"]
    assert all(run.healthy for folder in (first, second, frozen, late) for run in diagnosis.diagnose(folder))
    probes = [line for line in read_lines(late / "metrics.jsonl") if isinstance(line, ProbeLine)]
    assert probes[0].step == 0 and len(probes) == 2  # and one at the end, because epochs are short


def status_in(words: Message) -> HealthStatus:
    """Return the status with which the words on a run begin."""
    (status,) = (status for status in HealthStatus if words.casefold().startswith(status.words))
    return status


def status_of(history: History) -> HealthStatus:
    """Return the status of a run without unhealthy findings, which the words on it must have too."""
    assert status_in(checks.healthy_words(history)) is history.status
    return history.status


def assert_healthy(folder: Path) -> None:
    """Assert that a run is long enough and has no finding during training or at its end."""
    (run,) = diagnosis.diagnose(folder)
    print(run.arm, run.healthy)
    assert [finding.code for finding in run.findings if finding.unhealthy] == [] and status_in(
        run.healthy
    ) is HealthStatus.HEALTHY
    assert [line for line in read_lines(folder / "metrics.jsonl") if isinstance(line, FindingLine)] == []


SHORT_RUNS: list[dict[str, Any]] = [
    {"lr": 0.01},
    {"lr": 0.01, "shortcut": "off"},
    {"optimizer": "adam", "lr": 0.001},
    {"optimizer": "adamw", "lr": 0.001},
]
LONGER_RUNS = [*SHORT_RUNS, {"lr": 0.05}, {"optimizer": "rmsprop", "lr": 0.001}]


@pytest.mark.parametrize("settings", SHORT_RUNS, ids=str)
def test_no_false_alarm_on_digits(settings: dict[str, Any], tmp_path: Path) -> None:
    assert_healthy(run_in(tmp_path, source="digits:6-9", **settings))


@pytest.mark.slow
@pytest.mark.parametrize("settings", LONGER_RUNS, ids=str)
def test_no_false_alarm_on_larger_digits(settings: dict[str, Any], tmp_path: Path) -> None:
    """Check six of the ten runs of docs/health.md; the other four are on images of clothing."""
    digits = {"source": "digits:6-9", "image_size": 16, "batch_size": 16, "fraction": 1.0, "epochs": "3ep"}
    assert_healthy(run_in(tmp_path, **digits, **settings))


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
    assert_healthy(run_in(tmp_path, **lab4, **settings))


def test_resumed_run_reports_a_finding_once(tmp_path: Path) -> None:
    plan = resolve_settings({**FEW, "lr": 1e-5, "epochs": "4ep"}).plan
    folder = runner.run_new(plan, tmp_path, NullReporter(), until=2)
    runner.resume(folder, NullReporter())
    lines = list(read_lines(folder / "metrics.jsonl"))
    assert [line.kind for line in lines].count("finding") == 1
    assert [line.epoch for line in lines if isinstance(line, ProbeLine)] == [0, 4]
    whole = run_in(tmp_path / "whole", lr=1e-5, epochs="4ep")
    assert metrics(folder) == metrics(whole)


@pytest.fixture(scope="module")
def slow_learner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished run with a learning rate that is too low."""
    return run_in(tmp_path_factory.mktemp("slow"), lr=1e-5)


@pytest.fixture(scope="module")
def long_record(slow_learner: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with 200 epochs and 60 layers: its last epoch is repeated."""
    folder = shutil.copytree(slow_learner, tmp_path_factory.mktemp("long") / "run")
    *lines, end = (line.to_json() for line in read_lines(folder / "metrics.jsonl"))
    first, second = (line["step"] for line in lines if line["kind"] == "epoch")
    last = [line for line in lines if line["step"] > first and line["kind"] != "finding"]
    for more in range(1, 199):
        lines += [{**line, "step": line["step"] + more * (second - first), "epoch": 2 + more} for line in last]
    lines.append({**end, "step": lines[-1]["step"]})
    with (folder / "metrics.jsonl").open("wb") as record:
        for line in lines:
            content = json.dumps({name: with_60_layers(value) for name, value in line.items()})
            record.write(with_checksum(content.encode()))
    seal(folder)
    return folder


def with_60_layers(value: Any) -> Any:
    """Return a field with a number for each layer for 60 layers, and other fields unchanged."""
    if not isinstance(value, dict) or "conv1" not in value:
        return value
    return dict(zip((f"layer{i}" for i in range(60)), itertools.cycle(value.values())))


READERS = [("diagnose", "slow_learner"), ("report", "slow_learner"), ("diagnose", "long_record")]


def read_without_torch(verb: str, folder: Path) -> None:
    """Run a command on a finished run in a new process, and check that it imports nothing heavy."""
    process = run_python(
        "import atexit, sys; from headstart.cli.main import main\n"
        "heavy = {'torch', 'torchvision', 'timm', 'tensorboard'}\n"
        "atexit.register(lambda: print('LOADED', sorted(set(sys.modules) & heavy)))\n"
        f"main({[verb, str(folder)]})\n"
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.endswith("\nLOADED []\n") and process.stdout.count("\n") > 1


@pytest.mark.parametrize(("verb", "record"), READERS)
def test_diagnose_and_report_import_no_torch(verb: str, record: str, request: pytest.FixtureRequest) -> None:
    read_without_torch(verb, request.getfixturevalue(record))


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "record"), READERS)
def test_diagnose_and_report_take_two_seconds(verb: str, record: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(record)
    seconds = []
    for _ in range(3):  # the machine may be busy
        start = time.perf_counter()
        read_without_torch(verb, folder)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 2, seconds


def test_diagnose_prints_a_finding_and_rejects_invalid_options(slow_learner: Path, tmp_path: Path, capsys) -> None:
    folder = str(slow_learner)
    main(["diagnose", folder])
    out = capsys.readouterr().out
    assert finding_name("learning-rate-too-low") in out.casefold() and " --lr " in out
    main(["diagnose", folder, "--json"])
    diagnoses = json.loads(capsys.readouterr().out)
    finding = diagnoses[0]["findings"][0]
    assert (finding["code"], finding["name"]) == ("learning-rate-too-low", finding_name("learning-rate-too-low"))
    for words in (
        ["diagnose"], ["diagnose", folder, "--seeds", "2"], ["diagnose", folder, "--lr", "1"],
        ["diagnose", str(tmp_path / "nothing")], ["ablate", "digits", "--norm", "none"],
    ):  # fmt: skip
        code, _message, _hint, before = fails(words, capsys)
        assert code in (2, 3) and before == [], words


PLAN = resolve_settings(SGD).plan.changed(class_names=("a", "b", "c"))
numbers = st.one_of(st.none(), st.floats(0, 1e30))


@given(st.lists(st.tuples(numbers, numbers, numbers, st.floats(0, 1)), min_size=1, max_size=5), st.floats(0, 1e6))
def test_any_record_has_at_most_one_unhealthy_finding_with_valid_text(
    measured: list[tuple[float | None, float | None, float | None, float]], loss: float
) -> None:
    history = History(PLAN)
    for epoch, (low, high, ratio, share) in enumerate(measured):
        step = 20 * epoch
        history.add(step_line(step, loss, epoch=epoch))
        history.add(snapshot_line(step, epoch, update_ratio={"conv1": ratio, "fc": ratio}))
        flow, dead = {"layer1.0": low, "layer4.1": high}, {"conv1": share}
        history.add(
            probe_line(
                step,
                epoch,
                loss=loss,
                block_gradient_norm=flow,
                zero_activations=dead,
                dead_channels=dead,
                distance_from_init={"conv1": ratio, "fc": 0.0},
            )
        )
        history.add(epoch_with(step, epoch, loss))
    unhealthy = [finding for finding in checks.findings(history) if finding.unhealthy]
    assert len(unhealthy) <= 1
    for finding in unhealthy:
        assert finding.sentence.endswith(".") and "nan" not in finding.sentence and "None" not in finding.sentence
        json.dumps(finding.to_json(), allow_nan=False)
    learning = history.has_had_time and history.last_loss < 0.95 * math.log(3)
    assert status_of(history) is (HealthStatus.HEALTHY if learning else HealthStatus.TOO_EARLY)


@pytest.mark.parametrize(("optimizer", "highest"), [("sgd", 0.1), ("adam", 0.01), ("rmsprop", 0.01)])
@pytest.mark.parametrize("rate", [1e-6, 1e-3, 0.05, 0.5, 1e30])
@pytest.mark.parametrize("ratio", [1e-9, 1e-6, 0.5])
def test_advised_learning_rate_is_within_limits(optimizer: str, highest: float, rate: float, ratio: float) -> None:
    history = History(PLAN.changed(optimizer=optimizer, lr=rate), state=RunState.FINISHED)
    for epoch in range(1, 5):
        history.add(step_line(30 * epoch, 1.1, epoch=epoch, lr={"head": rate}))
        history.add(snapshot_line(30 * epoch, epoch, update_ratio={"conv1": ratio, "fc": ratio}))
        history.add(epoch_with(30 * epoch, epoch, 1.1))
    (finding,) = checks.findings(history)
    assert finding.code == ("learning-rate-too-high" if ratio == 0.5 else "learning-rate-too-low")
    advised = fields_of(finding.advice)
    if not advised:
        assert ratio < 0.5 and rate >= highest and "--lr" not in finding.advice
    else:
        new = advised["learning_rate"]
        assert isinstance(new, float) and f"--lr {new:g}" in finding.advice
        assert new <= highest and (new < rate if ratio == 0.5 else new > rate)


def epoch_with(step: int, epoch: int, loss: float, confusion: list[list[int]] | None = None) -> EpochLine:
    """Return an epoch with this loss on train and on val."""
    return epoch_line(step, epoch, train=split_score(loss), val=split_score(loss), confusion=confusion or [])


def epochs_of(
    losses: list[float],
    plan: RunConfig,
    state: RunState = RunState.UNFINISHED,
    *,
    ratio: float = 0.1,
    confusion: list[list[int]] | None = None,
    gradient_ratio: float | None = None,
) -> History:
    """Return a history of epochs of 50 steps with these losses and updates of `ratio`, by default too large."""
    history = History(plan, state=state)
    for epoch, loss in enumerate(losses, 1):
        step = 50 * epoch
        history.add(step_line(step, loss, epoch=epoch, lr={"head": plan.recipe.lr}))
        history.add(snapshot_line(step, epoch, update_ratio={"conv1": ratio, "fc": ratio}))
        history.add(epoch_with(step, epoch, loss, confusion))
    if gradient_ratio is not None:
        flow = {"layer1.0": 0.1 * gradient_ratio, "layer4.1": 0.1}
        history.add(probe_line(50 * len(losses), len(losses), loss=losses[-1], block_gradient_norm=flow))
    return history


def with_classes(counts: Mapping[str, int]) -> RunConfig:
    """Return the plan with these classes and their numbers of images."""
    return PLAN.changed(class_names=tuple(counts), class_counts=dict(counts))


def codes_of(history: History) -> list[str]:
    return [finding.code for finding in checks.findings(history)]


UNEQUAL = with_classes({"a": 254, "b": 504, "c": 271, "d": 822})
ONE_CLASS, TWO_CLASSES = [[0, 0, 0, 9]] * 4, [[1, 0, 0, 8]] * 4


def test_network_that_learned_only_the_class_frequencies_is_not_healthy() -> None:
    """Use losses of plain networks without a norm on photos of four unequal classes."""
    for losses in ([1.297, 1.235, 1.219], [1.309, 1.243, 1.239], [1.293, 1.232, 1.212]):
        history = epochs_of(losses, UNEQUAL, RunState.FINISHED, ratio=1e-3, confusion=ONE_CLASS, gradient_ratio=0.002)
        (finding,) = checks.findings(history)
        assert finding.code == "degradation-without-vanishing"
        prior = pytest.approx(stats.entropy([254, 504, 271, 822]))
        assert values_of(finding.evidence) == [3, losses[-1], prior, "0.002"]
        assert len(facts_of(finding)) == 3  # the second: all predictions are the same
    late = epochs_of(
        [3.53, 2.21, 1.48], UNEQUAL, RunState.FINISHED, ratio=1e-3, confusion=TWO_CLASSES, gradient_ratio=0.1
    )
    assert codes_of(late) == [] and status_of(late) is HealthStatus.TOO_EARLY  # it is still improving
    stays = epochs_of(
        [1.31, 1.243, 1.239], UNEQUAL, RunState.FINISHED, ratio=1e-3, confusion=TWO_CLASSES, gradient_ratio=0.1
    )
    (finding,) = checks.findings(stays)
    assert finding.code == "degradation-without-vanishing" and len(facts_of(finding)) == 2
    blind = epochs_of([1.2, 0.6, 0.3], UNEQUAL, RunState.FINISHED, ratio=1e-3, confusion=ONE_CLASS, gradient_ratio=0.1)
    assert codes_of(blind) == [] and status_of(blind) is HealthStatus.TOO_EARLY
    single = epochs_of(
        [1.2, 0.6, 0.3], UNEQUAL, RunState.FINISHED, confusion=[[0] * 4] * 3 + [[0, 0, 0, 9]], gradient_ratio=0.1
    )
    assert status_of(single) is HealthStatus.HEALTHY  # all val images are of one class
    learns = epochs_of(
        [1.35, 1.2, 1.0], UNEQUAL, RunState.FINISHED, ratio=1e-3, confusion=TWO_CLASSES, gradient_ratio=0.1
    )
    assert codes_of(learns) == [] and status_of(learns) is HealthStatus.HEALTHY


def facts_of(finding: Finding) -> list[Value]:
    """Return the facts in the evidence of a network that has not learned."""
    facts = finding.evidence.values["facts"]
    assert isinstance(facts, Message)
    return list(facts.values.values())


@pytest.mark.parametrize("losses", [[4.75], [4.75, 4.63], [4.75, 4.65, 4.62]])
def test_many_classes_need_more_steps_for_a_finding(losses: list[float]) -> None:
    plan = PLAN.changed(class_names=tuple(str(number) for number in range(100)))
    history = epochs_of(losses, plan, RunState.FINISHED, ratio=1e-3, gradient_ratio=0.5)
    assert codes_of(history) == [] and status_of(history) is HealthStatus.TOO_EARLY
    stuck = epochs_of([4.65] * 30, plan, RunState.FINISHED, ratio=1e-3, gradient_ratio=0.5)
    assert codes_of(stuck) == ["degradation-without-vanishing"]


def test_large_updates_of_a_slowly_improving_run_are_no_finding() -> None:
    many = PLAN.changed(class_names=tuple(str(number) for number in range(100)))
    assert codes_of(epochs_of([4.7, 4.3, 3.9], many, RunState.FINISHED, ratio=0.18)) == []
    rare = with_classes({"a": 95, "b": 5})
    assert codes_of(epochs_of([0.25, 0.18, 0.13], rare, RunState.FINISHED, ratio=0.18)) == []
    assert codes_of(epochs_of([1.5, 0.22, 0.19], rare, RunState.FINISHED, ratio=0.18)) == ["learning-rate-too-high"]


def test_loss_far_above_the_uniform_loss_is_found_after_one_epoch() -> None:
    """Large updates and a high loss on train and on val are enough; on one of the two alone they are not."""
    assert codes_of(epochs_of([2.25], PLAN)) == ["learning-rate-too-high"]
    assert codes_of(epochs_of([2.15], PLAN)) == codes_of(epochs_of([2.25], PLAN, ratio=0.02)) == []
    bad_on_val = epochs_of([2.15], PLAN)
    bad_on_val.epochs = [bad_on_val.epochs[0].model_copy(update={"val": split_score(1e9)})]
    assert codes_of(bad_on_val) == []
    assert codes_of(epochs_of([2.25, 2.0, 0.3], PLAN, RunState.FINISHED)) == []


@pytest.mark.parametrize(("rate", "ratio", "advised"), [(0.01, 0.04, 0.001), (0.1, 0.22, 0.001), (1.0, 0.37, 0.01)])
def test_advice_is_a_tenth_of_the_rate_before_a_hundredth(rate: float, ratio: float, advised: float) -> None:
    plan = PLAN.changed(optimizer="adam", lr=rate)
    (finding,) = checks.findings(epochs_of([2.0, 1.9, 1.9], plan, RunState.FINISHED, ratio=ratio))
    assert fields_of(finding.advice) == {"learning_rate": pytest.approx(min(advised, 0.01))}
    assert f"--lr {min(advised, 0.01):g}" in finding.advice


def test_learning_rate_in_warmup_is_not_too_low() -> None:
    history = History(PLAN)  # SGD at 0.01 with a one-cycle schedule that is still warming up
    for epoch in (1, 2):
        history.add(step_line(50 * epoch, 1.1, epoch=epoch, lr={"head": 0.002}))
        history.add(snapshot_line(50 * epoch, epoch, update_ratio={"conv1": 2e-5, "fc": 2e-5}))
        history.add(epoch_with(50 * epoch, epoch, 1.1))
    assert codes_of(history) == []
    assert [update for *_, update in history.updates()] == pytest.approx([1e-4, 1e-4])


def test_findings_that_no_longer_hold_are_withdrawn_at_the_end() -> None:
    plan = PLAN.changed(norm="none")
    history, noticed = History(plan), set[str]()
    history.add(probe_line(loss=6.2))
    (line,) = finding_lines(history, noticed, 0)
    assert isinstance(line, FindingLine) and line.code == "exploding-gradients" and noticed == {"exploding-gradients"}
    for epoch, loss in enumerate([2.0, 1.0, 0.5], 1):
        history.add(epoch_with(50 * epoch, epoch, loss))
    history.add(probe_line(150, 3, loss=0.5))
    assert finding_lines(history, noticed, 150) == []  # it may come back
    history.state = RunState.FINISHED
    (withdrawn,) = finding_lines(history, noticed, 150)
    assert isinstance(withdrawn, WithdrawnLine) and (withdrawn.code, withdrawn.step) == ("exploding-gradients", 150)
    assert checks.unhealthy_findings(history) == []
    history.state = RunState.DIVERGED  # a finding that another cause hides is checked all the same
    lines = finding_lines(history, {"exploding-gradients"}, 150)
    assert [(line.code, line.kind) for line in lines] == [
        ("learning-rate-too-high", "finding"), ("exploding-gradients", "withdrawn"),
    ]  # fmt: skip
    still = History(plan, state=RunState.FINISHED, probes=[history.probes[0], probe_line(150, 3, loss=50.0)])
    still.epochs = history.epochs
    assert codes_of(still) == ["exploding-gradients"]


def test_hidden_findings_are_not_withdrawn() -> None:
    unstable = epochs_of([9.0, 9.0, 9.0], PLAN.changed(norm="none"), RunState.FINISHED)
    unstable.probes = [probe_line(loss=6.2), probe_line(150, 3, loss=50.0)]
    lines = finding_lines(unstable, {"learning-rate-too-high", "dead-filters"}, 150)
    assert [(line.code, line.kind) for line in lines] == [
        ("exploding-gradients", "finding"), ("dead-filters", "withdrawn"),
    ]  # fmt: skip
    stuck = epochs_of([1.1, 1.1, 1.1], PLAN, RunState.FINISHED, ratio=1e-3)
    faded = partial(probe_line, loss=1.1, block_gradient_norm={"layer1.0": 1e-7, "layer4.1": 0.1})
    for share, code in ((0.0, "vanishing-gradients"), (0.95, "dead-filters")):
        stuck.probes = [faded(0, 0, dead_channels={"layer2": share}), faded(150, 3, dead_channels={"layer2": share})]
        assert codes_of(stuck) == [code]
        lines = finding_lines(stuck, {"vanishing-gradients"}, 150)
        assert not any(isinstance(line, WithdrawnLine) for line in lines)


def test_improving_run_has_no_finding() -> None:
    assert [finding.code for finding in checks.findings(epochs_of([2.0, 1.9, 1.9], PLAN))] == ["learning-rate-too-high"]
    assert checks.findings(epochs_of([2.0, 1.8, 1.6], PLAN)) == []
    assert [finding.code for finding in checks.findings(epochs_of([2.0, 1.8, 1.6], PLAN, RunState.FINISHED))] != []
    assert checks.findings(epochs_of([2.0, 1.0, 0.3, 0.3], PLAN, RunState.FINISHED)) == []
    assert status_of(epochs_of([2.0], PLAN)) is HealthStatus.TOO_EARLY
    assert status_of(epochs_of([0.5, 0.2], PLAN)) is HealthStatus.HEALTHY


def test_prior_entropy_is_that_of_the_class_frequencies() -> None:
    shares = with_classes({"a": 95, "b": 5})
    assert History(shares).prior_entropy == pytest.approx(stats.entropy([0.95, 0.05]))
    assert History(PLAN).prior_entropy == pytest.approx(math.log(3))


@pytest.mark.parametrize(("ratio", "code"), [(1e-2, None), (1e-4, "vanishing-gradients"), (1e5, "exploding-gradients")])
def test_gradient_ratio_compares_the_first_with_the_last_block(ratio: float, code: str | None) -> None:
    history = History(PLAN)
    flow = {"layer1.0": 0.1 * ratio, "layer2.0": 0.05, "layer4.1": 0.1}
    history.add(probe_line(loss=1.1, block_gradient_norm=flow))
    findings = checks.findings(history)
    assert [finding.code for finding in findings] == ([code] if code else [])
    assert not findings or (findings[0].layer == "layer1.0" and findings[0].value == pytest.approx(ratio))
