"""A study from its declaration to its verdict: the search with given scores, and small real studies."""

import json
import shutil
import signal
import tomllib
import zipfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from docs.schemas import FILES, json_schema
from headstart.analysis.run_records import RunRecord, runs_in
from headstart.analysis.statistics import crossed_interval
from headstart.analysis.status import read_verdict
from headstart.analysis.value_tables import value_tables
from headstart.analysis.verdict import compute_verdict
from headstart.analysis.wording import arm_words
from headstart.config.study_file import read_study, write_study
from headstart.config.study_request import build_study_spec
from headstart.engines.local import LocalEngine
from headstart.errors import DataError, DivergedError, InterruptedRunError, UsageError
from headstart.experiment import study
from headstart.experiment.progress import comparison_phase, search_phase
from headstart.experiment.study_runs import reused_sentences
from headstart.i18n import Message, verbatim
from headstart.reporter import NullReporter, StudyStatus
from headstart.runs import job_protocol
from headstart.storage.files import write_json
from headstart.storage.schemas.search import ArmSearch, SearchGroup, SearchResults
from headstart.storage.schemas.split_counts import SplitCounts
from headstart.storage.schemas.study import VariantsFile
from tests.cli.test_train_errors import write_images
from tests.files import read_json
from tests.handmade import seal
from tests.messages import fields_of, values_of
from tests.short_runs import SGD

TINY = {
    **SGD,
    "network": "resnet20",
    "batch_size": 8,
    "precision": "fp32",
    "threads": 1,
    "budgets": "6st",
    "grid": "0.01,0.001",
    "survivors": 1,
    "seeds": 2,
}


def test_reused_rung_that_continues_is_trained_again(tmp_path: Path, monkeypatch) -> None:
    def search_runs(place: str, survivors: int) -> dict[str, RunRecord]:
        settings = {**TINY, "network": "timm:test_resnet", "budgets": "34st", "survivors": survivors, "seeds": 1}
        spec = build_study_spec("digits:0-1", ("scratch", "scratch@adam"), None, None, None, None, settings)
        folder = study.begin(spec, tmp_path / place, NullReporter())
        study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
        return {run.hash: run for run in runs_in(folder / "search")}

    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    first = search_runs("first", survivors=1)
    dropped = {key for key, run in first.items() if not run.done}
    second = search_runs("second", survivors=2)
    continued = {key for key in dropped if second[key].done}
    assert continued and not any(second[key].reused_from for key in continued)
    assert all(second[key].reused_from for key in first.keys() - continued)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "other"))
    alone = search_runs("alone", survivors=2)
    for key in continued:
        assert weights(second[key].folder) == weights(alone[key].folder)
        assert [e.val for e in second[key].epochs] == [e.val for e in alone[key].epochs]


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def test_only_fields_with_optimizer_defaults_can_be_held() -> None:
    with pytest.raises(UsageError) as error:
        build_study_spec(
            "digits", ("scratch", "scratch@adam"), None, None, None, None, {"fixed_fields": "learning_rate"}
        )
    fault = fields_of(error.value.message)
    assert (fault["name"], fault["value"]) == ("fixed-fields", "learning_rate")


@pytest.mark.parametrize(
    ("explicit", "adam_lr"), [({}, 0.001), ({"lr": "0.01"}, 0.01), ({"weight_decay": "0.0001"}, 0.001)]
)
def test_explicit_settings_apply_to_every_optimizer(explicit: dict[str, str], adam_lr: float, tmp_path: Path) -> None:
    spec = build_study_spec("digits", ("scratch", "scratch@adam"), None, None, None, None, explicit)
    recipe = spec.variants[1].plan(spec.plan).recipe
    default = build_study_spec("digits", ("scratch", "scratch@adam"), None, None, None, None, {})
    decay = default.variants[1].plan(default.plan).recipe.weight_decay
    assert (recipe.lr, recipe.weight_decay) == (adam_lr, 0.0001 if "weight_decay" in explicit else decay)
    write_study(tmp_path, spec)
    assert read_study(tmp_path).variants[1].plan(spec.plan).recipe == recipe
    by_hand = tmp_path / "own.toml"
    lines = "".join(f"{name} = {value}\n" for name, value in explicit.items())
    by_hand.write_text(
        f'[protocol]\narms = ["scratch", "scratch@adam"]\n[plan.data]\nsource = "digits"\n[plan.recipe]\n{lines}'
    )
    from_toml = read_study(by_hand)
    read = from_toml.variants[1].plan(from_toml.plan).recipe
    assert (read.lr, read.weight_decay) == (recipe.lr, recipe.weight_decay)


def test_same_arm_under_two_names_is_an_error_before_training(tmp_path: Path) -> None:
    spec = build_study_spec("digits:0-3", ("scratch", "scratch@sgd"), None, None, None, None, TINY)
    with pytest.raises(UsageError) as error:
        study.begin(spec, tmp_path, NullReporter())
    assert fields_of(error.value.message) == {"first": "scratch", "second": "scratch@sgd"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["shared", "per-seed"])
def test_verdict_of_a_small_study_agrees_with_its_records(mode: str, tmp_path: Path) -> None:
    rules = {**TINY, "search": mode, "network": "timm:test_resnet"}
    spec = build_study_spec("digits:0-3", ("scratch", "scratch@adam"), None, None, None, None, rules)
    folder = study.begin(spec, tmp_path, NullReporter())
    assert read_study(folder).protocol == spec.protocol
    verdict = study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    assert verdict == read_verdict(folder)
    others = {
        "trackers.json",
        "ablation.json",
        "ablation",
        "verification",
        "forecast",
        "inspection",
        "audit",
        "runs.jsonl",
        "test-sets.jsonl",
    }  # not of this study
    kept = FILES.keys() - {"state.json", "MANIFEST.json"} - others  # a finished run has no checkpoints
    assert {name: _schema_faults(folder, name) for name in kept} == {name: [] for name in kept}
    runs = [run for run in runs_in(folder) if run.stage == "main"]
    assert len(runs) == 4 and (folder / "model" / "model.safetensors").is_file()
    right, _ = value_tables(runs, "test", "accuracy")
    contrast, expected = verdict.contrasts[0], crossed_interval(right["scratch@adam"] - right["scratch"])
    assert (contrast.mean, contrast.low, contrast.high) == (expected.mean, expected.low, expected.high)
    assert contrast.outcome == "undecided"  # only two seeds
    mean_runs = [folder / "mean-scratch", folder / "mean-scratch@adam"]
    assert sorted(folder.glob("mean-*")) == mean_runs
    assert study.rebuild(folder) == [run.folder for run in runs] + mean_runs
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.jsonl")}
    assert study.run_study(folder, LocalEngine(NullReporter()), NullReporter()) == verdict
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.jsonl")} == before  # no run is repeated

    trials = list(runs_in(folder / "search"))
    assert trials and all(f"-search-lr{run.rate:g}-{run.arm}-s{run.seed}" in run.folder.name for run in trials)
    assert not any("search" in run.folder.name for run in runs)
    second = study.begin(spec, tmp_path / "again", NullReporter())  # reuses the runs of the first study
    reporter = Listener()
    study.run_study(second, LocalEngine(NullReporter()), reporter)
    reused = [line for line in reporter.sentences if line.plural and {"phase", "runs"} <= line.values.keys()]
    counts = {search_phase(spec.protocol, 0, 1, 0): 4}
    counts[comparison_phase(spec, spec.seed_range)] = 4 if mode == "shared" else 2  # of one seed
    for line, (phase, count) in zip((reused[0], reused[-1]), counts.items(), strict=True):
        assert (line.values["phase"], line.values["count"], values_of(line.values["runs"])) == (phase, count, [count])
    from_search = ["search" in line.plural for line in (reused[0], reused[-1])]
    assert from_search == [False, mode == "per-seed"]  # whose runs are also runs of the comparison
    assert set(reporter.latest) == {""}  # no reused run is reported as trained
    copies = [run for run in runs_in(second) if run.stage == "main"]
    assert {run.hash for run in copies} == {run.hash for run in runs}
    assert all(run.reused_from for run in (*copies, *runs_in(second / "search")))
    assert {run.hash for run in runs_in(second / "search")} == {run.hash for run in runs_in(folder / "search")}
    files = [path.stat().st_ino for run in runs for path in run.folder.glob("*")]
    assert not {path.stat().st_ino for run in copies for path in run.folder.glob("*.tfevents.*")} & set(files)


def _schema_faults(folder: Path, name: str) -> list[str]:
    """Return what is wrong with the files `name` of a study and of its runs, by the JSON Schema in the docs."""
    contents: list[Any] = []
    for path in folder.rglob(name):
        match name:
            case "gallery.zip":
                with zipfile.ZipFile(path) as archive:
                    contents.append(json.loads(archive.read("index.json")))
            case "metrics.jsonl":
                lines = [json.loads(line) for line in path.read_text().splitlines()]
                assert all(len(line.pop("crc32c")) == 8 for line in lines)  # the schema is that of the other keys
                contents += lines
            case "study.toml":
                contents.append(tomllib.loads(path.read_text())["protocol"])
            case _:
                contents.append(json.loads(path.read_text()))
    validator = jsonschema.Draft202012Validator(json_schema(FILES[name]))
    faults = [
        f"{name}: {error.json_path}: {error.message}" for value in contents for error in validator.iter_errors(value)
    ]
    return faults if contents else [f"there is no {name}"]


def test_hint_of_a_stopped_study_names_its_folder(tmp_path: Path) -> None:
    class StoppedEngine:
        def run(self, jobs):
            yield 0, job_protocol.interruption_answer(signal.SIGINT)

        def close(self) -> None:
            pass

    spec = build_study_spec("digits:0-3", ("scratch", "scratch@adam"), None, None, None, None, TINY)
    folder = study.begin(spec, tmp_path, NullReporter())
    with pytest.raises(InterruptedRunError) as stop:
        study.run_study(folder, StoppedEngine(), NullReporter())
    assert fields_of(stop.value.hint) == {"folder": folder} and stop.value.exit_code == 130


class Listener(NullReporter):
    """Record the sentences of a study, and its lines on runs that have ended."""

    def __init__(self) -> None:
        self.sentences: list[Message] = []
        self.latest: list[Message] = []

    def say(self, sentence: Message) -> None:
        self.sentences.append(sentence)

    def study_status(self, status: StudyStatus) -> None:
        self.latest.append(status.latest)


class OneJobEngine(LocalEngine):
    """An engine that is interrupted after its first job."""

    def run(self, texts: Sequence[str]):
        yield from super().run(texts[:1])
        yield len(texts) - 1, job_protocol.interruption_answer(signal.SIGINT)


SHORT = {**TINY, "network": "timm:test_resnet", "budgets": "4st", "search": "off"}


def test_changed_images_of_a_source_are_an_error_before_it_is_trained_again(tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_images(source, cat=12, dog=12)
    spec = build_study_spec("digits:0-3", ("scratch", f"source:{source}"), None, None, None, None, SHORT)
    folder = study.begin(spec, tmp_path / "runs", NullReporter())
    with pytest.raises(InterruptedRunError):
        study.run_study(folder, OneJobEngine(NullReporter()), NullReporter())
    (trained,) = runs_in(folder / "sources")
    inputs = VariantsFile.read(folder / "variants.json").variants
    scratch, other = (inputs[variant.name] for variant in spec.variants)
    assert other.source_images == trained.plan.facts.fingerprint and other.weights is None
    assert scratch.source_images is None
    photo = next(source.glob("cat/*"))
    shutil.move(photo, tmp_path / "kept")
    with pytest.raises(DataError) as error:
        study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    changed = fields_of(error.value.message)
    assert error.value.message.values["arm"] == arm_words(spec.variants[1].arm)
    assert changed["changes"].startswith(f"source_images: {trained.plan.facts.fingerprint} -> ")
    assert list(runs_in(folder / "sources")) == [trained] and list(runs_in(folder)) == []
    content = (folder / "variants.json").read_text()
    (folder / "variants.json").write_text(VariantsFile(variants={}).model_dump_json())
    with pytest.raises(DataError) as error:
        study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    assert fields_of(error.value.message) == {"path": folder / "variants.json", "field": "images", "arm": "scratch"}
    (folder / "variants.json").write_text(content)
    shutil.move(tmp_path / "kept", photo)
    assert study.run_study(folder, LocalEngine(NullReporter()), NullReporter()).n == 2
    assert [run.hash for run in runs_in(folder / "sources")] == [trained.hash]


def test_two_runs_of_one_seed_are_an_error(tmp_path: Path) -> None:
    spec = build_study_spec("digits:0-3", ("scratch", "scratch@adam"), None, None, None, None, SHORT)
    folder = study.begin(spec, tmp_path, NullReporter())
    study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    first = next(runs_in(folder))
    second = shutil.copytree(first.folder, first.folder.with_name(f"{first.folder.name}-2"))
    content = read_json(second / "plan.json")
    sha256 = content["plan"]["facts"]["weights_sha256"]
    content["plan"]["facts"]["weights_sha256"] = "other"
    write_json(second / "plan.json", content)
    seal(second)
    with pytest.raises(DataError) as error:
        study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    values = error.value.message.values
    assert (values["folder"], values["other"], values["seed"]) == (first.folder, second.name, first.seed)
    assert values["arm"] == arm_words(first.spec)
    assert values["reason"] == f"facts.weights_sha256: {sha256} -> other"
    shutil.rmtree(second)  # as the hint says
    assert study.run_study(folder, LocalEngine(NullReporter()), NullReporter()).n == 2


def test_image_counts_are_those_of_the_lowest_seed_whatever_the_folder_names(tmp_path: Path) -> None:
    spec = build_study_spec("digits:0-3", ("scratch", "scratch@adam"), None, None, None, None, SHORT)
    folder = study.begin(spec, tmp_path, NullReporter())
    study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    for run in list(runs_in(folder)):  # as if the second seed had run first, with another split
        content = read_json(run.folder / "plan.json")
        content["plan"]["facts"]["split_counts"] = {"train": 100 + run.seed, "val": 1, "test": 1}
        write_json(run.folder / "plan.json", content)
        seal(run.folder)
        run.folder.rename(folder / f"{'b' if run.seed == 0 else 'a'}-{run.folder.name}")
    assert [run.seed for run in runs_in(folder)] == [1, 1, 0, 0]
    assert compute_verdict(folder, read_study(folder), []).counts == SplitCounts(train=100, val=1, test=1)


def test_diverged_source_is_an_error_and_no_arm_starts_from_it(tmp_path: Path) -> None:
    settings = {**SHORT, "search": "shared", "lr": 1e30}  # the search sets the rates of the arms
    spec = build_study_spec("digits:0-3", ("scratch", "source:digits:4-6"), None, None, None, None, settings)
    folder = study.begin(spec, tmp_path, NullReporter())
    for _ in range(2):  # also when it is resumed
        with pytest.raises(DivergedError) as error:
            study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
        assert fields_of(error.value.message) == {"source": "digits:4-6", "learning_rate": 1e30}
        assert "--lr" in error.value.hint and "resume" not in error.value.hint
    assert len(list(runs_in(folder / "sources"))) == 1
    assert list(runs_in(folder)) == [] and not (folder / "search").exists()


@pytest.mark.parametrize("reused", [1, 2])
def test_number_of_reused_runs_selects_the_plural_not_the_number_of_runs(reused: int) -> None:
    (from_studies,) = reused_sentences(verbatim("search"), 3, reused, 0, 0)
    (from_search,) = reused_sentences(verbatim("search"), 3, 0, reused, 0)
    (done_before,) = reused_sentences(verbatim("search"), 3, 0, 0, reused)
    for sentence in (from_studies, from_search, done_before):
        assert sentence.number == reused and fields_of(sentence) == {"text": "search", "count": reused}
        assert fields_of(sentence.values["runs"]) == {"count": 3}
    assert len(list(reused_sentences(verbatim("search"), 3, 2, 1, 1))) == 3


@pytest.mark.parametrize("seeds", [(None,), (0, 1)])
def test_rate_of_a_run_is_that_of_its_arm_budget_and_group_of_seeds(seeds: tuple[int | None, ...]) -> None:
    rates = {(budget, seed): 0.1 / (1 + place) for place, (budget, seed) in enumerate(product(("1ep", "2ep"), seeds))}
    groups = [
        SearchGroup(budget=budget, seed=seed, grid=[rate, 10 * rate], arms=[
            ArmSearch(arm=arm, selected=factor * rate, at_edge=False, tried=[])
            for arm, factor in (("scratch", 1), ("imagenet", 10))
        ])
        for (budget, seed), rate in rates.items()
    ]  # fmt: skip
    results = SearchResults(groups=groups)
    for (budget, seed), rate in rates.items():
        assert results.selected_rate("scratch", budget, seed or 0) == rate
        assert results.selected_rate("imagenet", budget, seed or 0) == 10 * rate
    for arm, budget in (("scratch", "3ep"), ("file:a", "1ep")):
        with pytest.raises(KeyError):
            results.selected_rate(arm, budget, 0)
    assert SearchResults().selected_rate("scratch", "1ep", 0) is None
