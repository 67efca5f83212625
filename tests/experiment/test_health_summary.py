"""Findings of a study's runs: reported once per arm, then with the number of runs, and not for search trials."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from headstart.analysis.run_records import RunRecord, runs_in
from headstart.analysis.wording import arm_words, labels_share, length_words, network_words
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import NetworkConfig, RunConfig
from headstart.config.study_request import build_study_spec
from headstart.diagnostics.finding import Finding
from headstart.diagnostics.registry import finding_name
from headstart.engines.engine import Engine
from headstart.engines.local import LocalEngine
from headstart.engines.processes import ProcessEngine
from headstart.experiment import study
from headstart.experiment.health_summary import HealthSummary
from headstart.i18n import Message, Value
from headstart.reporter import NullReporter
from headstart.results.diagnosis import describe_diagnoses, diagnose
from headstart.runs import runner
from headstart.storage.journal import Journal
from headstart.storage.schemas.study import RunRole, Stage
from tests.handmade import run_role, seal
from tests.messages import fields_of, values_of
from tests.short_runs import SMALL
from tests.tensorboard_server import points

TOO_LOW = finding_name("learning-rate-too-low")


class Listener(NullReporter):
    def __init__(self) -> None:
        self.sentences: list[Message] = []

    def say(self, sentence: Message) -> None:
        self.sentences.append(sentence)

    @property
    def of_low_rates(self) -> list[Message]:
        """Sentences on learning rates that are too low."""
        return [sentence for sentence in self.sentences if sentence.values.get("finding") == TOO_LOW]


def make_finding(code: str) -> Finding:
    return Finding(
        code=code, name=code, layer="", epoch=1, value=None, threshold=0.0, evidence=f"It is {code}.", meaning="",
        advice="", unhealthy=True,
    )  # fmt: skip


def make_record(seed: int, *names: str) -> RunRecord:
    run = RunRecord(Path("run"), RunConfig().changed(seed=seed), f"hash {seed}")
    vars(run)["unhealthy_findings"] = [make_finding(name) for name in names]
    return run


def test_each_finding_of_an_arm_is_reported_once_and_counted_at_the_end() -> None:
    health, role = HealthSummary(), run_role("a")

    def reported(role: RunRole, run: RunRecord) -> list[list[Value]]:
        """Return the finding, the arm, the seed and the evidence of each new sentence."""
        return [values_of(sentence) for sentence in health.new_finding_sentences(role, run)]

    assert reported(run_role("a", Stage.SEARCH), make_record(0, "slow")) == []
    assert reported(role, make_record(1)) == []
    assert reported(role, make_record(2, "slow")) == [["slow", "a", 2, "It is slow."]]
    assert health.summary(Path("S")) == []  # one run, and it has been reported
    assert reported(role, make_record(3, "slow", "steep")) == [["steep", "a", 3, "It is steep."]]
    assert reported(run_role("b"), make_record(4, "slow")) == [["slow", "b", 4, "It is slow."]]
    health.add(role, make_record(3, "slow", "steep"))  # an interim analysis requests earlier seeds again
    health.add(run_role("c"), make_record(5, "slow"))  # done before the study was resumed
    summary = health.summary(Path("S"))
    assert [values_of(sentence) for sentence in summary] == [
        [3, "slow", 2, "a", Path("S")],
        [1, "slow", 1, "c", Path("S")],
    ]
    assert all("`headstart diagnose S`" in sentence for sentence in summary)


def test_finding_that_no_longer_holds_at_the_end_is_not_reported(tmp_path: Path) -> None:
    """The record has a finding of an early epoch; by its end the run is healthy, also for `diagnose`."""
    runner.run_new(resolve_settings({**SMALL, "epochs": "70st", "lr": 0.01}).plan, tmp_path, NullReporter())
    (folder,) = tmp_path.iterdir()
    with Journal(folder / "metrics.jsonl") as journal:
        journal.append(make_finding("learning-rate-too-high").line(3))
    seal(folder)
    (run,) = runs_in(tmp_path)
    assert run.unhealthy_findings == [] and diagnose(folder)[0].healthy
    assert HealthSummary().new_finding_sentences(run_role("a"), run) == []


def test_incomplete_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    run = RunRecord(tmp_path, RunConfig(), "")
    (tmp_path / "checkpoints" / "step-00000010-0001.tmp-7").mkdir(parents=True)
    assert not run.has_checkpoint
    (tmp_path / "checkpoints" / "step-00000010-0001").mkdir()
    assert run.has_checkpoint


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose learning rate is too low."""
    tiny = {**SMALL, "network": "timm:test_resnet", "epochs": "66st", "lr": 1e-7}
    return runner.run_new(resolve_settings(tiny).plan, tmp_path_factory.mktemp("slow"), NullReporter())


def diagnose_copies(
    slow: Path, parent: Path, runs: list[dict[str, Any]]
) -> list[tuple[list[Value], list[list[Value]]]]:
    """Return what `diagnose` prints on copies of the run with changed plans.

    Each title is returned as its parts after the arm, with the runs that each finding below it names.
    """
    arm = arm_words(diagnose(slow)[0].arm)
    assert values_of(arm) == ["scratch", "sgd"]
    for number, changes in enumerate(runs):
        folder = shutil.copytree(slow, parent / f"run{number}")
        content = json.loads((folder / "plan.json").read_text())
        for section, new in changes.items():
            content["plan"][section] |= new
        (folder / "plan.json").write_text(json.dumps(content))
        seal(folder)
    groups: list[tuple[list[Value], list[list[Value]]]] = []
    for line in describe_diagnoses(diagnose(parent)):
        if title := line.values.get("title"):
            first, *conditions = title.values.values()
            assert first == arm
            groups.append((conditions, []))
        else:
            subject = line.values["subject"]
            assert subject.values.get("subject", subject) == TOO_LOW
            groups[-1][1].append(values_of(subject))
    return groups


def test_sentences_name_the_runs_of_a_finding(slow: Path, tmp_path: Path) -> None:
    """Rates, lengths and fractions are named if the runs of an arm differ in them, and folders if seeds are equal."""

    def plan(seed: int, lr: float = 1e-7, epochs: str = "66st", fraction: float = 1.0) -> dict[str, Any]:
        return {"seeding": {"seed": seed}, "recipe": {"lr": lr, "epochs": epochs}, "data": {"fraction": fraction}}

    first, both = [1, "0"], [2, "0, 1"]  # number of seeds, and the seeds
    assert diagnose_copies(slow, tmp_path / "one", [plan(3)]) == [([], [[]])]
    assert diagnose_copies(slow, tmp_path / "seeds", [plan(1), plan(0)]) == [([], [both])]
    rates = [plan(seed, lr) for lr in (1e-7, 1e-8) for seed in (1_000_000_000, 1_000_000_001)]
    large = [2, "1000000000, 1000000001"]
    by_rate = diagnose_copies(slow, tmp_path / "rates", rates)
    assert [(values_of(rate), runs) for (rate,), runs in by_rate] == [([1e-8], [large]), ([1e-7], [large])]
    items = json.loads(json.dumps([diagnosis.to_json() for diagnosis in diagnose(tmp_path / "rates")]))
    assert [(item["lr"], item["epochs"], item["fraction"]) for item in items] == [
        (lr, "66st", 1.0) for lr in (1e-7, 1e-7, 1e-8, 1e-8)
    ]
    budgets = [plan(0, epochs="100st"), plan(0), plan(1), plan(1, fraction=0.1)]
    assert diagnose_copies(slow, tmp_path / "budgets", budgets) == [
        ([length_words("66st"), labels_share(0.1)], [[1, "1"]]),
        ([length_words("66st"), labels_share(1.0)], [both]),
        ([length_words("100st"), labels_share(1.0)], [first]),
    ]
    networks = [plan(0) | {"network": changes} for changes in ({}, {"norm": "none"}, {"stem": "small"})]
    usual = json.loads((slow / "plan.json").read_text())["plan"]["network"]
    assert diagnose_copies(slow, tmp_path / "networks", networks) == [
        ([network_words(NetworkConfig(**{**usual, **changes}))], [first])
        for changes in ({}, {"stem": "small"}, {"norm": "none"})
    ]
    assert diagnose_copies(
        slow, tmp_path / "units", [plan(seed, epochs=length) for seed in (0, 1) for length in ("66ep", "66st")]
    ) == [([length_words("66ep")], [both]), ([length_words("66st")], [both])]
    assert diagnose_copies(slow, tmp_path / "folders", [plan(0), plan(0)]) == [([], [["run0", "run1"]])]


@pytest.mark.parametrize(
    "engine", [LocalEngine(NullReporter()), ProcessEngine(2, NullReporter())], ids=["local", "processes"]
)
def test_study_reports_the_findings_of_its_arms(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    settings: dict[str, Any] = {
        "network": "timm:test_resnet", "batch_size": 8, "precision": "fp32", "threads": 1, "epochs": "34st", "seeds": 2,
        "search": "off",
    }  # fmt: skip
    spec = build_study_spec("digits:0-1", ("scratch",), {"lr": ("0.01", "1e-7")}, None, None, None, settings)
    reporter = Listener()
    folder = study.begin(spec, tmp_path / "runs", NullReporter())
    try:
        study.run_study(folder, engine, reporter)
    finally:
        engine.close()
    runs = list(runs_in(folder))
    unhealthy = [run for run in runs if run.unhealthy_findings]
    assert {(run.arm, run.unhealthy_findings[0].code) for run in unhealthy} == {
        ("scratch,lr=1e-7", "learning-rate-too-low")
    }
    assert len(unhealthy) == 2 and len(runs) == 4
    reported, summary = reporter.of_low_rates
    first = [
        {"finding": TOO_LOW, "arm": arm_words(run.spec), "seed": run.seed, "sentence": finding.sentence}
        for run in unhealthy
        for finding in run.unhealthy_findings[:1]
    ]
    assert reported.values in first
    arm = arm_words(unhealthy[0].spec)
    assert summary.values == {"finding": TOO_LOW, "affected": 2, "count": 2, "arm": arm, "folder": folder}
    tags = [[tag for tag, *_ in points(run.folder) if tag.startswith("finding/")] for run in runs]
    assert sorted(itertools.chain(*tags)) == 2 * ["finding/learning-rate-too-low/text_summary"]

    again = Listener()
    study.run_study(folder, LocalEngine(NullReporter()), again)  # everything is done
    assert again.of_low_rates == [summary]
    (done,) = [sentence for sentence in again.sentences if "already" in sentence]
    assert done.number == 4 and fields_of(done.values["runs"]) == {"count": 4}
