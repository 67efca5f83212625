"""A study from its declaration to its verdict: the search with planted scores, and a small real one."""

import dataclasses
import json
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from headstart.analysis.run_records import RunRecord, runs_in, tables
from headstart.analysis.statistics import crossed
from headstart.analysis.verdict import conclude
from headstart.config.arm_spec import parse_arm
from headstart.config.study_file import read_study, write_study
from headstart.config.study_request import build_study_spec
from headstart.engines.local import LocalEngine
from headstart.errors import DataError, DivergedError, InterruptedRunError, UsageError
from headstart.experiment import study
from headstart.experiment.lr_search import extended, search
from headstart.reporter import NullReporter, StudyStatus
from headstart.runs import job_protocol
from headstart.storage.files import read_json, write_json
from tests.cli.test_train_errors import photos

TINY = {
    "batch_size": 8,
    "precision": "fp32",
    "threads": 1,
    "budgets": "6st",
    "grid": "0.01,0.001",
    "survivors": 1,
    "seeds": 2,
}


@dataclasses.dataclass
class Planted:
    """A record with a planted score, for the search."""

    score: float
    result: dict
    rung: int = 1

    @property
    def epochs(self) -> list[dict]:
        return [{"val": {"accuracy": self.score, "loss": 1.0}}]

    def val_score(self, metric: str) -> float:
        return self.score


def planted(best: dict[str, float], diverging: float = np.inf):
    """Scores that fall with the distance from each cell's best rate, and a log of what was asked."""
    asked = []

    def run(trials):
        asked.extend(trials)
        return {
            t: Planted(
                1 / (1 + abs(np.log(t.rate / best[t.cell]))), {"state": "diverged"} if t.rate >= diverging else {}
            )
            for t in trials
        }

    return run, asked


def test_every_arm_gets_the_same_rungs_and_as_many_whole_trials() -> None:
    run, asked = planted({"a": 0.01, "b": 0.005})
    found = search(["a", "b"], [0.05, 0.01, 0.005, 0.001, 0.0001], [7, 8], survivors=2, metric="accuracy", run=run)
    assert found.chosen == {"a": 0.01, "b": 0.005} and found.edges == {} and len(found.grid) == 5
    for cell in ("a", "b"):
        assert sum(t.cell == cell and t.rung for t in asked) == 5
        assert sum(t.cell == cell and not t.rung for t in asked) == 4
    assert {t.seed for t in asked if t.rung} == {7}


def test_a_best_at_the_edge_adds_the_same_point_for_all_at_most_twice() -> None:
    run, asked = planted({"a": 1e-9, "b": 0.01})
    found = search(["a", "b"], [0.1, 0.01, 0.001], [7], survivors=1, metric="accuracy", run=run)
    assert found.grid == [1e-5, 1e-4, 1e-3, 1e-2, 1e-1] and found.edges == {"a": 1e-5}
    assert {t.rate for t in asked if t.cell == "b" and t.rung} == set(found.grid)


def test_a_diverged_edge_counts_as_bracketed() -> None:
    run, _ = planted({"a": 0.1}, diverging=0.1)
    assert search(["a"], [0.1, 0.01], [7], survivors=1, metric="accuracy", run=run).grid == [0.01, 0.1]
    assert extended([0.0001, 0.001, 0.05], [0.0001, 0.05]) == [1e-5, 0.0001, 0.001, 0.05, 2.5]


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("scratch", {"start": "scratch"}),
        ("imagenet+frozen@adam", {"start": "imagenet", "tuning": "frozen", "optimizer": "adam"}),
        ("file:a+b@c/w.pth+lp-ft+mlp:8", {"start": "file:a+b@c/w.pth", "tuning": "lp-ft", "head": "mlp:8"}),
        ("source:digits:0-5+stages:2", {"start": "source:digits:0-5", "tuning": "stages:2"}),
    ],
)  # fmt: skip
def test_an_arm_is_read_from_the_right(text: str, fields: dict[str, str]) -> None:
    assert parse_arm(text) == fields


@pytest.mark.parametrize("arms", [("scratch",), ("scratch", "imagenet+frosen"), ("scratch", "scratch@adm")])
def test_arms_that_make_no_sense_are_told(arms: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        build_study_spec("digits", arms, None, None, None, None, {})


def test_equal_file_names_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    arms = [f"file:{tmp_path}/a/best.pth", f"file:{tmp_path}/b/best.pth+frozen", f"file:{tmp_path}/c/b/best.pth+frozen"]
    arms += [f"file:{tmp_path}/a/best.pth@adam", f"file:{tmp_path}/x+frozen@sgd,1.pth"]
    arms += [f"file:{tmp_path}/x.pth", f"file:{tmp_path}/x.safetensors"]
    wanted = build_study_spec("digits", ("scratch", *arms), None, None, None, None, {})
    assert [cell.name for cell in wanted.cells] == [
        "scratch", "file:a/best.pth", f"file:{tmp_path.name}/b/best.pth+frozen", "file:c/b/best.pth+frozen",
        "file:a/best.pth@adam",
        "file:x-frozen-sgd-1", f"file:{tmp_path.name}/x.pth", f"file:{tmp_path.name}/x.safetensors",
    ]  # fmt: skip
    assert wanted.cells[5].plan(wanted.plan).arm.tuning == "full"
    with pytest.raises(UsageError, match="there twice"):
        build_study_spec("digits", (arms[0], arms[0]), None, None, None, None, {})


def test_what_arms_are_called_does_not_depend_on_where_one_stands(tmp_path: Path, monkeypatch) -> None:
    for name in ("proj", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "proj")
    arms = ("file:best.pth", "file:b/best.pth+frozen", "file:odd-1.pth", "file:odd+1.pth")
    rules = {"primary": "file:proj/best.pth vs file:b/best.pth+frozen"}
    wanted = build_study_spec("digits", arms, None, None, None, None, rules)
    names = ["file:proj/best.pth", "file:b/best.pth+frozen", "file:odd-1", "file:odd-1-2"]
    write_study(tmp_path, wanted)
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = read_study(tmp_path)
    assert [cell.name for cell in again.cells] == names and again.cells == wanted.cells
    paths = ["best.pth", "b/best.pth", "odd-1.pth", "odd+1.pth"]
    starts = [cell.plan(again.plan).arm.start for cell in again.cells]
    assert starts == [f"file:{tmp_path / 'proj' / path}" for path in paths]


def test_a_rung_that_was_taken_over_and_goes_on_is_trained_here(tmp_path: Path, monkeypatch) -> None:
    def searched(place: str, keep: int) -> dict[str, RunRecord]:
        settings = {**TINY, "network": "timm:test_resnet", "budgets": "66st", "survivors": keep, "seeds": 1}
        wanted = build_study_spec("digits:0-3", ("scratch", "scratch@adam"), None, None, None, None, settings)
        folder = study.begin(wanted, tmp_path / place, NullReporter())
        study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
        return {run.hash: run for run in runs_in(folder / "search")}

    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    first = searched("first", survivors=1)
    dropped = {one for one, run in first.items() if not run.done}
    second = searched("second", survivors=2)
    went_on = {one for one in dropped if second[one].done}
    assert went_on and not any(second[one].made_in for one in went_on)
    assert all(second[one].made_in for one in first.keys() - went_on)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "other"))
    alone = searched("alone", survivors=2)
    for one in went_on:
        assert weights(second[one].folder) == weights(alone[one].folder)
        assert [e["val"] for e in second[one].epochs] == [e["val"] for e in alone[one].epochs]


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def test_a_misspelt_tuning_is_not_taken_for_a_part_of_a_path(tmp_path: Path) -> None:
    weights, odd = tmp_path / "w.pth", tmp_path / "w.pth+frozn"
    weights.touch()
    with pytest.raises(UsageError, match=r"'frozn'.*[dD]id you mean '?frozen"):
        build_study_spec("digits", ("scratch", f"file:{weights}+frozn"), None, None, None, None, {})
    odd.touch()
    assert parse_arm(f"file:{odd}") == {"start": f"file:{odd}"}


def test_a_field_that_no_optimizer_has_a_default_for_is_not_held() -> None:
    with pytest.raises(UsageError, match="held"):
        build_study_spec("digits", ("scratch", "scratch@adam"), None, None, None, None, {"held": "learning_rate"})


@pytest.mark.parametrize(("given", "adams"), [({}, 0.001), ({"lr": "0.01"}, 0.01), ({"weight_decay": "0.0001"}, 0.001)])
def test_what_was_given_holds_for_every_optimizer(given: dict[str, str], adams: float, tmp_path: Path) -> None:
    wanted = build_study_spec("digits", ("scratch", "scratch@adam"), None, None, None, None, given)
    recipe = wanted.cells[1].plan(wanted.plan).recipe
    usual = build_study_spec("digits", ("scratch", "scratch@adam"), None, None, None, None, {})
    decay = usual.cells[1].plan(usual.plan).recipe.weight_decay
    assert (recipe.lr, recipe.weight_decay) == (adams, 0.0001 if "weight_decay" in given else decay)
    write_study(tmp_path, wanted)
    assert read_study(tmp_path).cells[1].plan(wanted.plan).recipe == recipe
    by_hand = tmp_path / "own.toml"
    told = "".join(f"{name} = {value}\n" for name, value in given.items())
    by_hand.write_text(
        f'[protocol]\narms = ["scratch", "scratch@adam"]\n[plan.data]\nsource = "digits"\n[plan.recipe]\n{told}'
    )
    own = read_study(by_hand)
    found = own.cells[1].plan(own.plan).recipe
    assert (found.lr, found.weight_decay) == (recipe.lr, recipe.weight_decay)


def test_the_same_arm_under_two_names_is_told_before_anything_trains(tmp_path: Path) -> None:
    wanted = build_study_spec("digits:0-3", ("scratch", "scratch@sgd"), None, None, None, None, TINY)
    with pytest.raises(UsageError, match="same arm"):
        study.begin(wanted, tmp_path, NullReporter())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["shared", "per-seed"])
def test_a_small_study_and_its_numbers_from_the_records(how: str, tmp_path: Path) -> None:
    rules = {**TINY, "search": how, "network": "timm:test_resnet"}
    wanted = build_study_spec("digits:0-3", ("scratch", "scratch@adam"), None, None, None, None, rules)
    folder = study.begin(wanted, tmp_path, NullReporter())
    assert read_study(folder).protocol == wanted.protocol
    verdict = study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    assert verdict == json.loads((folder / "verdict.json").read_text())
    described = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
    for part in (verdict, verdict["arms"][0], verdict["arms"][0]["seeds"][0], verdict["contrasts"][0]):
        assert [name for name in part if f"`{name}`" not in described] == []
    runs = [run for run in runs_in(folder) if run.about["stage"] == "main"]
    assert len(runs) == 4 and (folder / "model" / "model.safetensors").is_file()
    right, _ = tables(runs, "test")
    found, again = verdict["contrasts"][0], crossed(right["scratch@adam"] - right["scratch"])
    assert (found["mean"], found["low"], found["high"]) == (again.mean, again.low, again.high)
    assert found["outcome"] == "undecided"  # two seeds decide nothing
    augmented_views = [folder / "mean-scratch", folder / "mean-scratch@adam"]
    assert sorted(folder.glob("mean-*")) == augmented_views  # beside the runs, and none of them
    assert study.repair(folder) == [run.folder for run in runs] + augmented_views
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.jsonl")}
    assert study.run_study(folder, LocalEngine(NullReporter()), NullReporter()) == verdict
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.jsonl")} == before  # nothing ran twice

    trials = list(runs_in(folder / "search"))
    assert trials and all(f"-search-lr{run.rate:g}-{run.arm}-s{run.seed}" in run.folder.name for run in trials)
    assert not any("search" in run.folder.name for run in runs)
    second = study.begin(wanted, tmp_path / "again", NullReporter())  # done elsewhere: taken over, and apart from it
    told = Told()
    study.run_study(second, LocalEngine(NullReporter()), told)
    whence = "earlier studies" if how == "shared" else "the search"  # which is the comparison's own runs
    first_rungs = "search" if how == "shared" else "search for seed 0"
    there = [line for line in told.said if "already" in line]
    assert there[0] == f"{first_rungs.capitalize()}, first epoch: 4 of 4 runs are there already, from earlier studies."
    assert there[-1] == f"Comparison: 4 of 4 runs are there already, from {whence}."
    assert set(told.ended) == {""}  # no run is told as if it had been trained now
    taken = [run for run in runs_in(second) if run.about["stage"] == "main"]
    assert {run.hash for run in taken} == {run.hash for run in runs}
    assert all(run.made_in for run in (*taken, *runs_in(second / "search")))
    assert {run.hash for run in runs_in(second / "search")} == {run.hash for run in runs_in(folder / "search")}
    files = [path.stat().st_ino for run in runs for path in run.folder.glob("*")]
    assert not {path.stat().st_ino for run in taken for path in run.folder.glob("*.tfevents.*")} & set(files)


def test_a_stopped_study_names_itself_as_what_to_resume(tmp_path: Path) -> None:
    class Stopped:
        def run(self, jobs):
            yield 0, json.dumps({"error": {"kind": "InterruptedRunError", "what": "", "cure": "run", "code": 130}})

        def close(self) -> None:
            pass

    wanted = build_study_spec("digits:0-3", ("scratch", "scratch@adam"), None, None, None, None, TINY)
    folder = study.begin(wanted, tmp_path, NullReporter())
    with pytest.raises(InterruptedRunError) as stop:
        study.run_study(folder, Stopped(), NullReporter())
    assert str(folder) in stop.value.hint and stop.value.exit_code == 130


class Told(NullReporter):
    """What a study said, and its lines on runs that have ended."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.ended: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def table(self, table: StudyStatus) -> None:
        self.ended.append(table.latest)


class OneJob(LocalEngine):
    """Stopped after its first job."""

    def run(self, texts: Sequence[str]):
        yield from super().run(texts[:1])
        yield len(texts) - 1, job_protocol.interrupted(signal.SIGINT)


SHORT = {**TINY, "network": "timm:test_resnet", "budgets": "4st", "search": "off"}


def test_other_photos_of_a_source_are_refused_before_it_is_trained_again(tmp_path: Path) -> None:
    source = tmp_path / "source"
    photos(source, cat=12, dog=12)
    wanted = build_study_spec("digits:0-3", ("scratch", f"source:{source}"), None, None, None, None, SHORT)
    folder = study.begin(wanted, tmp_path / "runs", NullReporter())
    with pytest.raises(InterruptedRunError):
        study.run_study(folder, OneJob(NullReporter()), NullReporter())
    (trained,) = runs_in(folder / "sources")
    scratch, other = (read_json(folder / "cells.json")[cell.name] for cell in wanted.cells)
    assert other["source_photos"] == trained.plan["facts"]["fingerprint"] and "weights" not in other
    assert "source_photos" not in scratch
    photo = next(source.glob("cat/*"))
    shutil.move(photo, tmp_path / "kept")
    with pytest.raises(DataError, match=f"source_photos: {trained.plan['facts']['fingerprint']} -> ") as refused:
        study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    assert "Put them back" in refused.value.hint
    assert list(runs_in(folder / "sources")) == [trained] and list(runs_in(folder)) == []
    shutil.move(tmp_path / "kept", photo)
    assert study.run_study(folder, LocalEngine(NullReporter()), NullReporter())["n"] == 2
    assert [run.hash for run in runs_in(folder / "sources")] == [trained.hash]


def test_a_seed_that_is_there_twice_is_told_and_not_counted_twice(tmp_path: Path) -> None:
    wanted = build_study_spec("digits:0-3", ("scratch", "scratch@adam"), None, None, None, None, SHORT)
    folder = study.begin(wanted, tmp_path, NullReporter())
    study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    first = next(runs_in(folder)).folder
    second = shutil.copytree(first, first.with_name(f"{first.name}-2"))
    content = read_json(second / "plan.json")
    content["plan"]["facts"]["weights_sha256"] = "of other weights"
    write_json(second / "plan.json", {**content, "hash": "another"})
    with pytest.raises(DataError, match=r"seed \d \(facts.weights_sha256: .* -> of other weights\)") as told:
        study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    assert str(first) in told.value.message and second.name in told.value.what
    shutil.rmtree(second)  # as the cure says
    assert study.run_study(folder, LocalEngine(NullReporter()), NullReporter())["n"] == 2


def test_the_photos_are_counted_of_the_lowest_seed_whatever_the_folders_are_called(tmp_path: Path) -> None:
    wanted = build_study_spec("digits:0-3", ("scratch", "scratch@adam"), None, None, None, None, SHORT)
    folder = study.begin(wanted, tmp_path, NullReporter())
    study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    for run in list(runs_in(folder)):  # as if the second seed had been made first, and split in another way
        content = read_json(run.folder / "plan.json")
        content["plan"]["facts"]["counts"] = {"train": 100 + run.seed, "val": 1, "test": 1}
        write_json(run.folder / "plan.json", content)
        run.folder.rename(folder / f"{'b' if run.seed == 0 else 'a'}-{run.folder.name}")
    assert [run.seed for run in runs_in(folder)] == [1, 1, 0, 0]
    assert conclude(folder, read_study(folder), {})["counts"] == {"train": 100, "val": 1, "test": 1}


def test_a_source_that_diverges_is_told_and_no_arm_starts_from_it(tmp_path: Path) -> None:
    settings = {**SHORT, "search": "shared", "lr": 1e30}  # the arms' own rates are found by the search
    wanted = build_study_spec("digits:0-3", ("scratch", "source:digits:4-6"), None, None, None, None, settings)
    folder = study.begin(wanted, tmp_path, NullReporter())
    for _ in range(2):  # resumed, it is no better
        with pytest.raises(DivergedError, match=r"source digits:4-6 diverged at a learning rate of 1e\+30\.") as told:
            study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
        assert "lower --lr" in told.value.hint and "resume" not in told.value.hint
    assert len(list(runs_in(folder / "sources"))) == 1
    assert list(runs_in(folder)) == [] and not (folder / "search").exists()
