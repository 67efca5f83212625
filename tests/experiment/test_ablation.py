"""The ablation of shortcut x norm x depth: conclusions from the numbers, reuse of runs, resuming."""

import json
import math
import re
import signal
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import headstart
from headstart.analysis.run_records import runs_in
from headstart.cli.main import main
from headstart.config.resolve import resolve_settings
from headstart.config.start_spec import random_starts
from headstart.diagnostics.history import HealthStatus, read_history
from headstart.diagnostics.registry import finding_name
from headstart.engines.registry import EngineChoice
from headstart.errors import DataError, InterruptedRunError, UsageError
from headstart.experiment import ablation, ablation_cell, ablation_grid, ablation_sentences, ablation_summary
from headstart.experiment.ablation_cell import ALWAYS, NEVER, FactorialCell
from headstart.experiment.ablation_summary import AblationSummary
from headstart.experiment.compare import compare
from headstart.experiment.progress import comparison_phase
from headstart.experiment.study_kind import resume_hint
from headstart.i18n import Message
from headstart.models import resnet
from headstart.reporter import NullReporter, Reporter, StudyStatus
from headstart.results import diagnosis
from headstart.runs import execute, job_protocol
from headstart.storage.journal import read_lines
from tests.diagnostics.test_checks import FAST
from tests.files import read_json
from tests.messages import fields_of, values_of
from tests.training.test_setup import write_images

GRID = list(product(ablation_grid.DEPTHS, ablation_grid.NORMS, ablation_grid.SHORTCUTS))
SHORTCUTS = ablation_sentences._factor_name("shortcut")
PREVENTION = ablation_sentences._prevention("shortcut")


def run_ablation(source: str, settings: Mapping[str, Any], runs: Path, seeds: int = 1) -> AblationSummary:
    spec = ablation_grid.ablation_spec(source, settings, seeds)
    return compare(spec, runs, EngineChoice("local"), NullReporter())


def use_one_small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the networks of the ablation by a small one, whose steps and files take little time."""
    for module in (ablation_grid, ablation_cell):
        monkeypatch.setattr(module, "DEPTHS", {"resnet20": 20})


def make_cell(shortcut: str, norm: str, ratio: float, accuracy: float, network: str) -> FactorialCell:
    correct = (np.arange(200) < 200 * accuracy).astype(int)[None]
    return FactorialCell(network, shortcut, norm, correct, (ratio, ratio), ())


def test_factor_prevents_vanishing_only_where_the_numbers_show_it() -> None:
    plan = resolve_settings(FAST).plan.changed(split_counts={"test": 200})
    cells = [make_cell(s, n, 1.0 if n == "batch" or s == "on" else 1e-18, 0.9 if s == "on" else 0.6, depth)
             for depth, n, s in GRID]  # fmt: skip
    summary = ablation_summary.summarize(cells, plan, Path("runs"))
    sentences = effect_sentences(summary)
    assert [effect.sentence for effect in summary.result.effects] == sentences
    effects = {(e.network, e.norm): e for e in summary.result.effects if e.switch == "shortcut"}
    pairs = zip(summary.result.effects, sentences, strict=True)
    meanings = {(effect.network, effect.norm): sentence.values["meaning"] for effect, sentence in pairs}
    assert effects["resnet18", "batch"].ratio_decades_after == 0
    assert effects["resnet50", "none"].ratio_decades_after == pytest.approx(18)
    assert effects["resnet18", "batch"].accuracy == pytest.approx(0.3)
    assert meanings["resnet50", "none"] == PREVENTION
    no_difference = meanings["resnet18", "batch"]
    assert no_difference != PREVENTION and fields_of(no_difference) == {} and "BatchNorm" not in no_difference


def effect_sentences(summary: AblationSummary) -> list[Message]:
    """Return the sentences on the effects: between the rows of the table and the limits."""
    return list(summary.sentences[1 + len(GRID) : -1])


def shortcut_sentence(
    on: tuple[float, float], off: tuple[float, float], *findings: str, seeds: int = 1, gain: bool = False
) -> Message:
    """Return the sentence on shortcuts for these gradient ratios, before and after training, with and without them.

    With a gain, networks with shortcuts predict every image correctly, and those without them none.
    """
    cells = [FactorialCell(depth, s, n, np.full((seeds, 200), int(s == "on" or not gain)), on if s == "on" else off,
                           findings if s == "on" else ())
             for depth, n, s in GRID]  # fmt: skip
    plan = resolve_settings(FAST).plan.changed(split_counts={"test": 200})
    return effect_sentences(ablation_summary.summarize(cells, plan, Path("runs")))[0]


def times_of_vanishing(with_shortcuts: tuple[bool, bool], without: tuple[bool, bool]) -> dict[str, Message]:
    """Return the values of the sentence on when the gradient vanishes: before training, and after it."""
    words = ablation_sentences._VANISHING_WORDS
    return {"factor": SHORTCUTS, "when_with": words[with_shortcuts], "when_without": words[without]}


def test_sentences_agree_with_the_table() -> None:
    def meaning(*arguments: Any, **settings: Any) -> Message:
        return shortcut_sentence(*arguments, **settings).values["meaning"]

    high, low = (0.1, 0.1), (1e-9, 1e-9)
    assert meaning((0.5, 0.1), (1e-4, 1e-5)) == PREVENTION
    assert meaning((1.1e-3, 1.1e-3), (9e-4, 9e-4)).values == times_of_vanishing(NEVER, ALWAYS)  # too close
    assert meaning((0.5, 0.1), (2.4e3, 7.7e-4)).values == times_of_vanishing(NEVER, (False, True))
    assert meaning((0.5, 0.1), (1e-9, 0.2)).values == times_of_vanishing(NEVER, (True, False))
    assert meaning(low, high).values == times_of_vanishing(ALWAYS, NEVER)
    after = shortcut_sentence((86.0, 0.11), (2.4e3, 7.7e-4))
    assert after.values["meaning"].values == times_of_vanishing(NEVER, (False, True))
    assert [fields_of(after.values[name]) for name in ("before", "after")] == [{"exponent": -1.4}, {"exponent": 2.2}]
    always, gain = meaning(low, low), meaning(high, high, seeds=3, gain=True)
    assert always.values == gain.values == {"factor": SHORTCUTS}
    assert always == meaning(low, low, seeds=3, gain=True) != gain
    for findings, ratios, named in (
        (("exploding-gradients",), (1.0, 1.0), {"finding": finding_name("exploding-gradients")}),
        ((), (1.0, math.nan), {}),
    ):
        cell = FactorialCell("", "on", "batch", np.ones((1, 200), int), ratios, findings)
        failure = cell.failure(SHORTCUTS, present=True)
        assert failure != cell.failure(SHORTCUTS, present=False)
        assert meaning(ratios, high, *findings).values == {"failure": failure}
        assert failure.values == {"factor": SHORTCUTS, **named}


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
    with pytest.raises(UsageError) as error:
        run_ablation("digits:0-3", {"start": "imagenet"}, tmp_path / "runs")
    assert fields_of(error.value.message) == {"start": "imagenet"}
    assert fields_of(error.value.hint) == {"starts": ", ".join(random_starts())}


def test_networks_are_the_variants_of_a_study_with_the_same_recipe() -> None:
    spec = ablation_grid.ablation_spec("digits:0-3", {"start": "scratch:torch", "fraction": 0.5, "seed": 3}, seeds=2)
    plans = [variant.plan(spec.study.plan) for variant in spec.study.variants]
    assert [(plan.network.network, plan.network.norm, plan.network.shortcut) for plan in plans] == GRID
    assert spec.study.variants[-1].name == "scratch:torch,network=resnet50,norm=none,shortcut=off"
    assert all(plan.changed(**plans[0].network.model_dump()) == plans[0] for plan in plans)
    assert plans[0].arm.start == "scratch:torch" and str(plans[0].recipe.epochs) == ablation_grid.DEFAULT_EPOCHS
    assert list(spec.study.seed_range) == [3, 4] and spec.study.protocol.fractions == (0.5,)
    assert not spec.study.searches_lr and spec.study.protocol.target == 0


class Listener(NullReporter):
    def __init__(self) -> None:
        self.titles: list[Message] = []

    def study_status(self, status: StudyStatus) -> None:
        done, total = sum(row.done for row in status.rows), sum(row.total for row in status.rows)
        assert values_of(status.title) == [done, total, "1ep"]
        self.titles.append(status.title)


def test_networks_are_trained_once_and_their_results_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_one_small_network(monkeypatch)
    settings = {**FAST, "fraction": 0.2, "epochs": "1ep"}
    source = settings.pop("source")
    reporter = Listener()
    spec = ablation_grid.ablation_spec(source, settings)
    first = compare(spec, tmp_path, EngineChoice("local"), reporter)
    result = first.result
    assert [values_of(title) for title in reporter.titles] == [[done, 4, "1ep"] for done in range(5)]
    phases = {title.values["phase"].values["phase"] for title in reporter.titles}
    assert phases == {comparison_phase(spec.study, [0])}
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


def test_interrupted_ablation_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    use_one_small_network(monkeypatch)
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
        (folder,) = tmp_path.glob("ablation-*")
        assert stop.value.hint == resume_hint(folder) and stop.value.exit_code == 130
    monkeypatch.setattr(execute, "answer_job", work)
    results = {path: path.stat().st_mtime_ns for path in tmp_path.glob("ablation-*/*/result.json")}
    assert len(started) == 4 and len(results) == 2
    summary = headstart.resume(folder, engine="local", quiet=True)  # from the folder alone
    assert isinstance(summary, AblationSummary) and summary.result.folder == str(folder)
    assert run_ablation(source, settings, tmp_path) == summary  # by the same command
    capsys.readouterr()
    main(["resume", str(folder), "--engine", "local", "--json"])
    assert json.loads(capsys.readouterr().out) == summary.to_json()
    runs = list(runs_in(folder))
    assert headstart.rebuild(folder, quiet=True) == [run.folder for run in runs]
    assert len(runs) == len({run.plan.network.norm + run.plan.network.shortcut for run in runs}) == 4
    assert {run.plan.machine.precision for run in runs} == {"fp32"}  # that of the first runs
    assert {path: path.stat().st_mtime_ns for path in results} == results


@pytest.mark.parametrize(
    ("fraction", "health"),
    [(0.2, HealthStatus.TOO_EARLY), pytest.param(1.0, HealthStatus.HEALTHY, marks=pytest.mark.slow)],
)
def test_health_of_a_cell_is_that_of_its_run(
    fraction: float, health: Message, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_one_small_network(monkeypatch)
    settings = {**FAST, "fraction": fraction, "epochs": "1ep"}
    summary = run_ablation(settings.pop("source"), settings, tmp_path)
    runs = {(run.plan.network.shortcut, run.plan.network.norm): run for run in runs_in(Path(summary.result.folder))}
    for cell in summary.result.cells:
        run = runs[cell.shortcut, cell.norm]
        (diagnosed,) = diagnosis.diagnose(run.folder)
        assert cell.findings == [finding.code for finding in diagnosed.findings]
        names = ", ".join(finding.name for finding in diagnosed.findings)
        status = read_history(run.plan, read_lines(run.folder / "metrics.jsonl"), run.state).status.words
        assert cell.health == (names or status) and bool(diagnosed.health) == (not names)
    assert health.words in {cell.health for cell in summary.result.cells}
    assert [row.values["health"] for row in summary.sentences[1:5]] == [cell.health for cell in summary.result.cells]


def test_evaluation_is_on_val_without_a_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_one_small_network(monkeypatch)
    plan = {**FAST, "epochs": "1ep", "batch_size": 8}
    del plan["source"]
    counts = {f"{split}/{name}": count for split, count in (("train", 8), ("val", 4)) for name in ("dark", "light")}
    source = write_images(tmp_path / "photos", counts)
    summary = run_ablation(str(source), plan, tmp_path / "runs")
    assert values_of(summary.sentences[0]) == [4, 1, 1, 1, 8]  # networks, seeds, epochs, images
    assert re.search(r"\bval\b", summary.sentences[0])
    source = write_images(tmp_path / "one", counts | {"test/dark": 1})
    with pytest.raises(DataError) as error:
        run_ablation(str(source), plan, tmp_path / "runs")
    assert fields_of(error.value.message) == {"count": 1, "split": "test"}
    assert fields_of(error.value.hint) == {"split": "test"}


def test_changed_images_are_an_error_with_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_one_small_network(monkeypatch)
    answer = job_protocol.Answer().model_dump_json()  # as if the runs had other hashes
    monkeypatch.setattr(execute, "answer_job", lambda *_: answer)
    settings = {**FAST, "epochs": "1ep"}
    with pytest.raises(DataError) as error:
        run_ablation(settings.pop("source"), settings, tmp_path)
    assert error.value.message.values == error.value.hint.values == {"work": ablation.ABLATION.name}


@pytest.mark.parametrize("seeds", [0, -1])
def test_fewer_than_one_seed_is_an_error(seeds: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        run_ablation("digits:0-3", {}, tmp_path / "runs", seeds)
    assert fields_of(error.value.message) == {"seeds": seeds} and "--seeds" in error.value.hint
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("metric", ["accuracy", "balanced", "macro-f1"])
def test_ablation_selects_epochs_by_any_metric_and_computes_accuracy(metric: str) -> None:
    spec = ablation_grid.ablation_spec("digits:0-3", {"select": metric}).study
    assert {variant.plan(spec.plan).recipe.select for variant in spec.variants} == {metric}
    assert spec.protocol.metric == "accuracy"


def test_depth_of_a_cell_counts_the_layers_with_weights_of_its_network() -> None:
    assert list(ablation_grid.DEPTHS) == list(resnet.PUBLISHED)
    for name in resnet.PUBLISHED:
        block, blocks = resnet.FAMILY[name].block, resnet.FAMILY[name].depths
        per_block = 3 if block is resnet.Bottleneck else 2
        cell = make_cell("on", "batch", 1.0, 0.5, name)
        assert cell.depth == 2 + per_block * sum(blocks)  # with the first convolution and the head
    assert (ablation_grid.NORMS, ablation_grid.SHORTCUTS) == (resnet.NORMS, ("on", "off"))


def test_stored_ablation_equals_the_declared_one(tmp_path: Path) -> None:
    settings = {"select": "macro-f1", "head": "mlp:8", "start": "scratch:xavier", "seed": 3}
    spec = ablation_grid.ablation_spec("digits:0-3", settings, 2)
    ablation_grid.write_ablation(tmp_path, spec)
    assert ablation_grid.read_ablation(tmp_path) == spec
    path = tmp_path / ablation_grid.ABLATION_FILE
    content = path.read_text()
    for text, error in (
        ("[", DataError),
        (content.replace('"schema_version": 1', '"schema_version": 9'), DataError),
        (content.replace('"seeds": 2', '"seeds": "many"'), DataError),
        (content.replace('"seed": 3', '"seed": -3'), DataError),
        (content.replace("scratch:xavier", "imagenet"), UsageError),
    ):
        assert text != content
        path.write_text(text)
        with pytest.raises(error):
            ablation_grid.read_ablation(tmp_path)


def test_ablation_of_changed_images_is_not_resumed(tmp_path: Path) -> None:
    spec = ablation_grid.ablation_spec("digits:0-1", {"epochs": "1st", "threads": 1, "precision": "fp32"})
    ablation_grid.write_ablation(tmp_path, spec)
    with pytest.raises(DataError) as error:
        headstart.resume(tmp_path, quiet=True)
    assert fields_of(error.value.message) == {"folder": tmp_path} and not list(tmp_path.glob("ablation-*"))


def test_repeated_images_do_not_narrow_an_effect() -> None:
    """Three copies of each image, as near-duplicates, give the interval of one copy, with one seed and with three."""
    rng = np.random.default_rng(3)
    for seeds in (1, 3):
        difference = rng.integers(-1, 2, (seeds, 60)).astype(float)
        once = ablation_summary._difference(difference, None)
        thrice = ablation_summary._difference(np.repeat(difference, 3, axis=1), np.repeat(np.arange(60), 3))
        assert thrice == pytest.approx(once)
        of_images = ablation_summary._difference(np.repeat(difference, 3, axis=1), None)
        assert of_images[2] - of_images[1] < 0.9 * (once[2] - once[1])
