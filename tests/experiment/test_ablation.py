"""The ablation of shortcut x norm x depth: conclusions from the numbers, reuse of runs, resuming."""

import math
import signal
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from headstart.analysis.run_records import runs_in
from headstart.config.resolve import resolve_settings
from headstart.config.start_spec import random_starts
from headstart.engines.registry import EngineChoice
from headstart.errors import DataError, InterruptedRunError, UsageError
from headstart.experiment import ablation, ablation_grid, ablation_summary
from headstart.experiment.ablation_cell import FactorialCell
from headstart.experiment.ablation_summary import AblationSummary
from headstart.experiment.compare import compare
from headstart.reporter import NullReporter, Reporter, StudyStatus
from headstart.results import diagnosis
from headstart.runs import execute, job_protocol
from tests.diagnostics.test_checks import FAST
from tests.files import read_json
from tests.training.test_setup import write_images

GRID = list(product(ablation_grid.DEPTHS, ablation_grid.NORMS, ablation_grid.SHORTCUTS))


def run_ablation(source: str, settings: Mapping[str, Any], runs: Path, seeds: int = 1) -> AblationSummary:
    spec = ablation_grid.ablation_spec(source, settings, seeds)
    return compare(spec, runs, EngineChoice("local"), NullReporter())


def make_cell(shortcut: str, norm: str, ratio: float, accuracy: float, network: str) -> FactorialCell:
    correct = (np.arange(200) < 200 * accuracy).astype(int)[None]
    return FactorialCell(network, shortcut, norm, correct, (ratio, ratio), ())


def test_factor_prevents_vanishing_only_where_the_numbers_show_it() -> None:
    plan = resolve_settings(FAST).plan.changed("facts", split_counts={"test": 200})
    cells = [make_cell(s, n, 1.0 if n == "batch" or s == "on" else 1e-18, 0.9 if s == "on" else 0.6, depth)
             for depth, n, s in GRID]  # fmt: skip
    summary = ablation_summary.summarize(cells, plan, Path("runs")).result
    effects = {(e.network, e.norm): e for e in summary.effects if e.switch == "shortcut"}
    sentences = {key: effect.sentence for key, effect in effects.items()}
    assert effects["resnet18", "batch"].ratio_decades_after == 0
    assert effects["resnet50", "none"].ratio_decades_after == pytest.approx(18)
    assert effects["resnet18", "batch"].accuracy == pytest.approx(0.3)
    assert "prevent vanishing" in sentences["resnet50", "none"]
    assert "prevent vanishing" not in sentences["resnet18", "batch"]
    assert "does not vanish without shortcuts" in sentences["resnet18", "batch"]


def shortcut_sentence(on: tuple[float, float], off: tuple[float, float], *findings: str) -> str:
    """Return the sentence on shortcuts for these gradient ratios, before and after training, with and without them."""
    cells = [FactorialCell(depth, s, n, np.ones((1, 200), int), on if s == "on" else off,
                                    findings if s == "on" else ())
             for depth, n, s in GRID]  # fmt: skip
    plan = resolve_settings(FAST).plan.changed("facts", split_counts={"test": 200})
    return str(ablation_summary.summarize(cells, plan, Path("runs")).result.effects[0].sentence)


def test_sentences_agree_with_the_table() -> None:
    assert "shortcuts prevent vanishing here" in shortcut_sentence((0.5, 0.1), (1e-4, 1e-5))
    for close in (((1.1e-3, 1.1e-3), (9e-4, 9e-4)), ((0.5, 0.1), (2.4e3, 7.7e-4)), ((0.5, 0.1), (1e-9, 0.2))):
        assert "prevent" not in shortcut_sentence(*close)
    after = shortcut_sentence((86.0, 0.11), (2.4e3, 7.7e-4))
    assert (
        "With shortcuts the gradient vanishes neither before nor after training; without shortcuts, after training "
        "only." in after
    )
    assert "by a factor of 10^-1.4 before training and a factor of 10^2.2 after it" in after
    assert "vanishes with and without shortcuts" in shortcut_sentence((1e-9, 1e-9), (1e-9, 1e-9))
    assert "With shortcuts the gradient vanishes before" in shortcut_sentence((1e-9, 1e-9), (0.1, 0.1))
    exploding = shortcut_sentence((1.0, 1.0), (0.1, 0.1), "exploding-gradients")
    assert "The network with shortcuts has exploding gradients" in exploding
    assert "The network with shortcuts did not finish training" in shortcut_sentence((1.0, math.nan), (0.1, 0.1))


def test_intervals_of_equal_predictions_allow_for_images_that_were_not_drawn() -> None:
    correct = np.arange(205) < 71
    low, high = (ablation_summary._difference((correct - correct.astype(float))[None])[at] for at in (1, 2))
    assert low == -high and 0.005 < high < 0.03
    difference = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 205)
    mean, *ends = ablation_summary._difference(difference[None])
    expected = stats.ttest_1samp(difference, 0).confidence_interval(ablation_summary.EFFECT_CONFIDENCE_LEVEL)
    assert ends == pytest.approx(expected) and mean == difference.mean()


def test_starts_are_random_weights_only(tmp_path: Path) -> None:
    assert "scratch:torch" in random_starts() and "imagenet" not in random_starts()
    with pytest.raises(UsageError, match="random weights"):
        run_ablation("digits:0-3", {"start": "imagenet"}, tmp_path / "runs")


def test_networks_are_the_variants_of_a_study_with_the_same_recipe() -> None:
    spec = ablation_grid.ablation_spec("digits:0-3", {"start": "scratch:torch", "fraction": 0.5, "seed": 3}, seeds=2)
    plans = [variant.plan(spec.study.plan) for variant in spec.study.variants]
    assert [(plan.network.network, plan.network.norm, plan.network.shortcut) for plan in plans] == GRID
    assert spec.study.variants[-1].name == "scratch:torch,network=resnet50,norm=none,shortcut=off"
    assert all(plan.changed("network", **plans[0].network.model_dump()) == plans[0] for plan in plans)
    assert plans[0].arm.start == "scratch:torch" and str(plans[0].recipe.epochs) == ablation_grid.DEFAULT_EPOCHS
    assert list(spec.study.seed_range) == [3, 4] and spec.study.protocol.fractions == (0.5,)
    assert not spec.study.searches_lr and spec.study.protocol.target == 0


class Listener(NullReporter):
    def __init__(self) -> None:
        self.titles: list[str] = []

    def study_status(self, status: StudyStatus) -> None:
        done = sum(row.done for row in status.rows)
        assert status.title == f"comparison {done}/{sum(row.total for row in status.rows)}: 1ep"
        self.titles.append(status.title)


def test_networks_are_trained_once_and_their_results_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation_grid, "DEPTHS", ("resnet18",))
    settings = {**FAST, "fraction": 0.2, "epochs": "1ep"}
    source = settings.pop("source")
    reporter = Listener()
    spec = ablation_grid.ablation_spec(source, settings)
    first = compare(spec, tmp_path, EngineChoice("local"), reporter)
    result = first.result
    assert reporter.titles == [f"comparison {done}/4: 1ep" for done in range(5)]
    folders = sorted(path.parent for path in Path(result.folder).glob("*/plan.json"))
    assert len(folders) == 4 and all((folder / "result.json").exists() for folder in folders)
    stamps = [(folder / "result.json").stat().st_mtime_ns for folder in folders]
    assert run_ablation(source, settings, tmp_path) == first
    assert [(folder / "result.json").stat().st_mtime_ns for folder in folders] == stamps
    accuracies = {(cell.shortcut, cell.norm): cell.accuracy for cell in result.cells}
    results = [read_json(folder / "result.json") for folder in folders]
    assert sorted(accuracies.values()) == pytest.approx(sorted(result["test"]["accuracy"] for result in results))
    effect = next(e for e in result.effects if e.switch == "shortcut" and e.norm == "batch")
    assert effect.accuracy == pytest.approx(accuracies["on", "batch"] - accuracies["off", "batch"])
    assert effect.low <= effect.accuracy <= effect.high and effect.ratio_decades_after is not None


def test_same_command_resumes_an_interrupted_ablation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation_grid, "DEPTHS", ("resnet18",))
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))  # no runs to reuse
    settings = {**FAST, "fraction": 0.2, "epochs": "1ep", "precision": "auto"}
    source = settings.pop("source")
    work = execute.answer_job

    def interrupted_work(text: str, reporter: Reporter) -> str:
        started.append(job_protocol.job_title(text))
        if len(started) < 3:
            return work(text, reporter)
        if len(started) == 3:  # during a run, whose hint names only that run
            return job_protocol.error_answer(InterruptedRunError(signal.SIGINT, "Go on with `headstart resume RUN`."))
        raise KeyboardInterrupt

    started: list[str] = []
    monkeypatch.setattr(execute, "answer_job", interrupted_work)
    for precision in ("fp32", "bf16"):  # another measurement may give another precision
        monkeypatch.setattr(ablation, "common_precision", lambda runs, precision=precision: precision)
        with pytest.raises(InterruptedRunError) as stop:
            run_ablation(source, settings, tmp_path)
        assert stop.value.hint == ablation.ABLATION.resume_hint(Path()) and stop.value.exit_code == 130
    monkeypatch.setattr(execute, "answer_job", work)
    results = {path: path.stat().st_mtime_ns for path in tmp_path.glob("ablation-*/*/result.json")}
    assert len(started) == 4 and len(results) == 2
    summary = run_ablation(source, settings, tmp_path)
    (folder,) = tmp_path.glob("ablation-*")
    assert summary.result.folder == str(folder)
    runs = list(runs_in(folder))
    assert len(runs) == len({run.plan.network.norm + run.plan.network.shortcut for run in runs}) == 4
    assert {run.plan.machine.precision for run in runs} == {"fp32"}  # that of the first runs
    assert {path: path.stat().st_mtime_ns for path in results} == results


@pytest.mark.parametrize(("fraction", "health"), [(0.2, "too early to say"), (1.0, "healthy")])
def test_health_of_a_cell_is_that_of_its_run(
    fraction: float, health: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation_grid, "DEPTHS", ("resnet18",))
    settings = {**FAST, "fraction": fraction, "epochs": "1ep"}
    summary = run_ablation(settings.pop("source"), settings, tmp_path)
    runs = {
        (run.plan.network.shortcut, run.plan.network.norm): run.folder for run in runs_in(Path(summary.result.folder))
    }
    for cell in summary.result.cells:
        (run,) = diagnosis.diagnose(runs[cell.shortcut, cell.norm])
        assert cell.findings == [finding.code for finding in run.findings]
        names = ", ".join(finding.name for finding in run.findings)
        assert cell.health == (names or run.healthy.partition(":")[0].lower())
    assert health in {cell.health for cell in summary.result.cells}
    assert sum(line.endswith(health) for line in summary.sentences) >= 1


def test_evaluation_is_on_val_without_a_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation_grid, "DEPTHS", ("resnet18",))
    plan = {**FAST, "epochs": "1ep", "batch_size": 8}
    del plan["source"]
    counts = {f"{split}/{name}": count for split, count in (("train", 8), ("val", 4)) for name in ("dark", "light")}
    source = write_images(tmp_path / "photos", counts)
    summary = run_ablation(str(source), plan, tmp_path / "runs")
    assert "evaluated on 8 images of val, which also selected each network's epoch" in summary.sentences[0]
    source = write_images(tmp_path / "one", counts | {"test/dark": 1})
    with pytest.raises(DataError, match="The test split has 1 image, and an ablation needs at least 2"):
        run_ablation(str(source), plan, tmp_path / "runs")


def test_changed_images_are_an_error_with_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation_grid, "DEPTHS", ("resnet18",))
    answer = job_protocol.Answer().model_dump_json()  # as if the runs had other hashes
    monkeypatch.setattr(execute, "answer_job", lambda *_: answer)
    settings = {**FAST, "epochs": "1ep"}
    with pytest.raises(DataError, match="changed during the ablation") as error:
        run_ablation(settings.pop("source"), settings, tmp_path)
    assert "Restore them" in error.value.hint


@pytest.mark.parametrize("seeds", [0, -1])
def test_fewer_than_one_seed_is_an_error(seeds: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Use --seeds 1 or more"):
        run_ablation("digits:0-3", {}, tmp_path / "runs", seeds)
    assert not (tmp_path / "runs").exists()
