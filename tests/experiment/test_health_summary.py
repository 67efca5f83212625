"""Findings of a study's runs: reported once per arm, then with the number of runs, and not for search trials."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from headstart.analysis.run_records import RunRecord, runs_in
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import RunConfig
from headstart.config.study_request import build_study_spec
from headstart.diagnostics.finding import Finding
from headstart.engines.engine import Engine
from headstart.engines.local import LocalEngine
from headstart.engines.processes import ProcessEngine
from headstart.experiment import study
from headstart.experiment.health_summary import HealthSummary
from headstart.reporter import NullReporter
from headstart.results.diagnosis import describe_diagnoses, diagnose
from headstart.runs import runner
from headstart.storage.journal import Journal
from headstart.storage.schemas.study import Stage
from tests.handmade import run_role
from tests.short_runs import SMALL
from tests.tensorboard_server import points


class Listener(NullReporter):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


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
    assert health.new_finding_sentences(run_role("a", Stage.SEARCH), make_record(0, "slow")) == []
    assert health.new_finding_sentences(role, make_record(1)) == []
    assert health.new_finding_sentences(role, make_record(2, "slow")) == ["Slow in a, seed 2: It is slow."]
    assert health.summary(Path("S")) == []  # one run, and it has been reported
    assert health.new_finding_sentences(role, make_record(3, "slow", "steep")) == ["Steep in a, seed 3: It is steep."]
    assert health.new_finding_sentences(run_role("b"), make_record(4, "slow")) == ["Slow in b, seed 4: It is slow."]
    health.add(role, make_record(3, "slow", "steep"))  # an interim analysis requests earlier seeds again
    health.add(run_role("c"), make_record(5, "slow"))  # done before the study was resumed
    hint = "Run `headstart diagnose S` for details."
    assert health.summary(Path("S")) == [
        f"Slow in 2 of 3 runs of a. {hint}",
        f"Slow in 1 of 1 run of c. {hint}",
    ]


def test_finding_that_no_longer_holds_at_the_end_is_not_reported(tmp_path: Path) -> None:
    """The record has a finding of an early epoch; by its end the run is healthy, also for `diagnose`."""
    runner.run_new(resolve_settings({**SMALL, "epochs": "70st", "lr": 0.01}).plan, tmp_path, NullReporter())
    (folder,) = tmp_path.iterdir()
    with Journal(folder / "metrics.jsonl") as journal:
        journal.append(make_finding("learning-rate-too-high").line(3))
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


def diagnose_copies(slow: Path, parent: Path, runs: list[dict[str, Any]]) -> list[str]:
    """Return the sentences of `diagnose` on copies of the run with changed plans, without the evidence."""
    for number, changes in enumerate(runs):
        folder = shutil.copytree(slow, parent / f"run{number}")
        content = json.loads((folder / "plan.json").read_text())
        for section, new in changes.items():
            content["plan"][section] |= new
        (folder / "plan.json").write_text(json.dumps(content))
    return [line.partition(". ")[0] for line in describe_diagnoses(diagnose(parent))]


def test_sentences_name_the_runs_of_a_finding(slow: Path, tmp_path: Path) -> None:
    """Rates, lengths and fractions are named if the runs of an arm differ in them, and folders if seeds are equal."""

    def plan(seed: int, lr: float = 1e-7, epochs: str = "66st", fraction: float = 1.0) -> dict[str, Any]:
        return {"seeding": {"seed": seed}, "recipe": {"lr": lr, "epochs": epochs}, "data": {"fraction": fraction}}

    finding = "  Learning rate too low"
    assert diagnose_copies(slow, tmp_path / "one", [plan(3)]) == ["Scratch, with sgd:", finding]
    assert diagnose_copies(slow, tmp_path / "seeds", [plan(1), plan(0)]) == [
        "Scratch, with sgd:",
        f"{finding}, seeds 0, 1",
    ]
    rates = [plan(seed, lr) for lr in (1e-7, 1e-8) for seed in (1_000_000_000, 1_000_000_001)]
    both = f"{finding}, seeds 1000000000, 1000000001"
    assert diagnose_copies(slow, tmp_path / "rates", rates) == [
        "Scratch, with sgd, learning rate 1e-08:", both, "Scratch, with sgd, learning rate 1e-07:", both,
    ]  # fmt: skip
    items = json.loads(json.dumps([diagnosis.to_json() for diagnosis in diagnose(tmp_path / "rates")]))
    assert [(item["lr"], item["epochs"], item["fraction"]) for item in items] == [
        (lr, "66st", 1.0) for lr in (1e-7, 1e-7, 1e-8, 1e-8)
    ]
    budgets = [plan(0, epochs="100st"), plan(0), plan(1), plan(1, fraction=0.1)]
    assert diagnose_copies(slow, tmp_path / "budgets", budgets) == [
        "Scratch, with sgd, 66 steps, 10 % of the labels:", f"{finding}, seed 1",
        "Scratch, with sgd, 66 steps, 100 % of the labels:", f"{finding}, seeds 0, 1",
        "Scratch, with sgd, 100 steps, 100 % of the labels:", f"{finding}, seed 0",
    ]  # fmt: skip
    networks = [plan(0) | {"network": changes} for changes in ({}, {"norm": "none"}, {"stem": "small"})]
    assert diagnose_copies(slow, tmp_path / "networks", networks) == [
        "Scratch, with sgd, timm:test_resnet:", f"{finding}, seed 0",
        "Scratch, with sgd, timm:test_resnet with a small stem:", f"{finding}, seed 0",
        "Scratch, with sgd, timm:test_resnet without norm:", f"{finding}, seed 0",
    ]  # fmt: skip
    assert diagnose_copies(
        slow, tmp_path / "units", [plan(seed, epochs=length) for seed in (0, 1) for length in ("66ep", "66st")]
    ) == [
        "Scratch, with sgd, 66 epochs:",
        f"{finding}, seeds 0, 1",
        "Scratch, with sgd, 66 steps:",
        f"{finding}, seeds 0, 1",
    ]
    assert diagnose_copies(slow, tmp_path / "folders", [plan(0), plan(0)]) == [
        "Scratch, with sgd:",
        f"{finding}, in run0 and run1",
    ]


@pytest.mark.parametrize(
    "engine", [LocalEngine(NullReporter()), ProcessEngine(2, NullReporter())], ids=["local", "processes"]
)
def test_study_reports_the_findings_of_its_arms(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    settings: dict[str, Any] = {
        "network": "timm:test_resnet", "batch_size": 8, "precision": "fp32", "threads": 1, "epochs": "66st", "seeds": 2,
        "search": "off",
    }  # fmt: skip
    spec = build_study_spec("digits:0-3", ("scratch",), {"lr": ("0.01", "1e-7")}, None, None, None, settings)
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
    reported = [sentence for sentence in reporter.sentences if "earning rate too low" in sentence]
    first = {
        f"Learning rate too low in {run.arm}, seed {run.seed}: {run.unhealthy_findings[0].sentence}"
        for run in unhealthy
    }
    assert len(reported) == 2 and reported[0] in first
    summary = f"Learning rate too low in 2 of 2 runs of {unhealthy[0].arm}. Run `headstart diagnose {folder}`"
    assert reported[1].startswith(summary)
    tags = [[tag for tag, *_ in points(run.folder) if tag.startswith("finding/")] for run in runs]
    assert sorted(itertools.chain(*tags)) == 2 * ["finding/learning-rate-too-low/text_summary"]

    again = Listener()
    study.run_study(folder, LocalEngine(NullReporter()), again)  # everything is done
    assert [sentence for sentence in again.sentences if "earning rate" in sentence] == reported[1:]
