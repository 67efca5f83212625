"""What ails the runs of a study is told as they end: once for an arm, with how many runs, and nothing of the search."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from headstart.analysis.run_records import RunRecord, runs_in
from headstart.config.resolve import resolve_settings
from headstart.config.study_request import build_study_spec
from headstart.diagnostics.finding import Finding
from headstart.engines import Engine
from headstart.engines.local import LocalEngine
from headstart.engines.processes import ProcessEngine
from headstart.experiment import study
from headstart.experiment.health_summary import HealthSummary
from headstart.reporter import NullReporter
from headstart.results.diagnosis import diagnose, sentences
from headstart.runs import runner
from tests.boards import points
from tests.short_runs import SMALL


class Listener(NullReporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def record(seed: int, *names: str) -> RunRecord:
    made = RunRecord(Path("run"), {"seeding": {"seed": seed}}, f"hash {seed}", {}, {})
    vars(made)["ailments"] = [Finding(name, "", 1, None, 0.0, f"It is {name}.", "", "") for name in names]
    return made


def test_each_ailment_of_an_arm_is_told_once_and_counted_at_the_end() -> None:
    unhealthy_findings, arm = HealthSummary(), {"variant": "a", "stage": "main"}
    assert unhealthy_findings.take({**arm, "stage": "search"}, record(0, "slow")) == []
    assert unhealthy_findings.take(arm, record(1)) == []
    assert unhealthy_findings.take(arm, record(2, "slow")) == ["Slow in a, seed 2: It is slow."]
    assert unhealthy_findings.summary(Path("S")) == []  # one run, and it has been told
    assert unhealthy_findings.take(arm, record(3, "slow", "wild")) == ["Wild in a, seed 3: It is wild."]
    assert unhealthy_findings.take({**arm, "variant": "b"}, record(4, "slow")) == ["Slow in b, seed 4: It is slow."]
    unhealthy_findings.count(arm, record(3, "slow", "wild"))  # a look asks for earlier seeds again
    unhealthy_findings.count({**arm, "variant": "c"}, record(5, "slow"))  # there already when the study was resumed
    hint = "`headstart diagnose S` tells of each."
    assert unhealthy_findings.summary(Path("S")) == [
        f"Slow in 2 of 3 runs of a. {hint}",
        f"Slow in 1 of 1 run of c. {hint}",
    ]


def test_what_has_passed_by_the_end_is_not_told(tmp_path: Path) -> None:
    """A run whose record has a finding of an early epoch, which by its end is none: healthy, as `diagnose` says."""
    runner.start(resolve_settings({**SMALL, "epochs": "70st", "lr": 0.01}).plan, tmp_path, NullReporter())
    (folder,) = tmp_path.iterdir()
    told = {"kind": "finding", "step": 3, "name": "learning rate too high", "sentence": "It was."}
    with (folder / "metrics.jsonl").open("a") as record_of_it:
        record_of_it.write(json.dumps(told) + "\n")
    (made,) = runs_in(tmp_path)
    assert made.unhealthy_findings == [] and diagnose(folder)[0].healthy
    assert HealthSummary().take({"variant": "a", "stage": "main"}, made) == []


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose learning rate is too low."""
    tiny = {**SMALL, "network": "timm:test_resnet", "epochs": "66st", "lr": 1e-7}
    return runner.start(resolve_settings(tiny).plan, tmp_path_factory.mktemp("slow"), NullReporter())


def copied(slow: Path, place: Path, runs: list[dict[str, Any]]) -> list[str]:
    """What `diagnose` says of copies of the run with other plans, less the evidence."""
    for at, changes in enumerate(runs):
        folder = shutil.copytree(slow, place / f"run{at}")
        content = json.loads((folder / "plan.json").read_text())
        for section, new in changes.items():
            content["plan"][section] |= new
        (folder / "plan.json").write_text(json.dumps(content))
    return [line.partition(". ")[0] for line in sentences(diagnose(place))]


def test_of_which_runs_a_finding_is_is_said(slow: Path, tmp_path: Path) -> None:
    """Rates, lengths and shares that the runs of an arm do not share; and folders where a seed would not do."""

    def plan(seed: int, lr: float = 1e-7, epochs: str = "66st", fraction: float = 1.0) -> dict[str, Any]:
        return {"seeding": {"seed": seed}, "recipe": {"lr": lr, "epochs": epochs}, "data": {"fraction": fraction}}

    ill = "  Learning rate too low"
    assert copied(slow, tmp_path / "one", [plan(3)]) == ["Scratch, with sgd:", ill]
    assert copied(slow, tmp_path / "seeds", [plan(1), plan(0)]) == ["Scratch, with sgd:", f"{ill}, seeds 0, 1"]
    rates = [plan(seed, lr) for lr in (1e-7, 1e-8) for seed in (1_000_000_000, 1_000_000_001)]
    both = f"{ill}, seeds 1000000000, 1000000001"
    assert copied(slow, tmp_path / "rates", rates) == [
        "Scratch, with sgd, learning rate 1e-08:", both, "Scratch, with sgd, learning rate 1e-07:", both,
    ]  # fmt: skip
    told = json.loads(json.dumps([one.to_json() for one in diagnose(tmp_path / "rates")]))
    assert [(one["lr"], one["epochs"], one["fraction"]) for one in told] == [
        (lr, "66st", 1.0) for lr in (1e-7, 1e-7, 1e-8, 1e-8)
    ]
    budgets = [plan(0, epochs="100st"), plan(0), plan(1), plan(1, fraction=0.1)]
    assert copied(slow, tmp_path / "budgets", budgets) == [
        "Scratch, with sgd, 66 steps, 10 % of the labels:", f"{ill}, seed 1",
        "Scratch, with sgd, 66 steps, 100 % of the labels:", f"{ill}, seeds 0, 1",
        "Scratch, with sgd, 100 steps, 100 % of the labels:", f"{ill}, seed 0",
    ]  # fmt: skip
    networks = [plan(0) | {"network": changes} for changes in ({}, {"norm": "none"}, {"stem": "small"})]
    assert copied(slow, tmp_path / "networks", networks) == [
        "Scratch, with sgd, timm:test_resnet:", f"{ill}, seed 0",
        "Scratch, with sgd, timm:test_resnet with a small stem:", f"{ill}, seed 0",
        "Scratch, with sgd, timm:test_resnet without norm:", f"{ill}, seed 0",
    ]  # fmt: skip
    assert copied(
        slow, tmp_path / "units", [plan(seed, epochs=length) for seed in (0, 1) for length in ("66ep", "66st")]
    ) == ["Scratch, with sgd, 66 epochs:", f"{ill}, seeds 0, 1", "Scratch, with sgd, 66 steps:", f"{ill}, seeds 0, 1"]
    assert copied(slow, tmp_path / "folders", [plan(0), plan(0)]) == ["Scratch, with sgd:", f"{ill}, in run0 and run1"]


@pytest.mark.parametrize(
    "engine", [LocalEngine(NullReporter()), ProcessEngine(2, NullReporter())], ids=["local", "processes"]
)
def test_a_study_tells_what_ails_its_arms(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    settings: dict[str, Any] = {
        "network": "timm:test_resnet", "batch_size": 8, "precision": "fp32", "threads": 1, "epochs": "66st", "seeds": 2,
        "search": "off",
    }  # fmt: skip
    wanted = build_study_spec("digits:0-3", ("scratch",), {"lr": ("0.01", "1e-7")}, None, None, None, settings)
    reporter = Listener()
    folder = study.begin(wanted, tmp_path / "runs", NullReporter())
    try:
        study.run_study(folder, engine, reporter)
    finally:
        engine.close()
    runs = list(runs_in(folder))
    ill = [run for run in runs if run.unhealthy_findings]
    assert {(run.arm, run.unhealthy_findings[0].name) for run in ill} == {("scratch,lr=1e-7", "learning rate too low")}
    assert len(ill) == 2 and len(runs) == 4
    told = [sentence for sentence in reporter.said if "earning rate too low" in sentence]
    first = {
        f"Learning rate too low in {run.arm}, seed {run.seed}: {run.unhealthy_findings[0].sentence}" for run in ill
    }
    assert len(told) == 2 and told[0] in first
    assert told[1].startswith(f"Learning rate too low in 2 of 2 runs of {ill[0].arm}. `headstart diagnose {folder}`")
    tags = [[tag for tag, *_ in points(run.folder) if tag.startswith("finding/")] for run in runs]
    assert sorted(itertools.chain(*tags)) == 2 * ["finding/learning rate too low/text_summary"]

    again = Listener()
    study.run_study(folder, LocalEngine(NullReporter()), again)  # everything is there already
    assert [sentence for sentence in again.said if "earning rate" in sentence] == told[1:]
