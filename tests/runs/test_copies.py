"""A run on declared splits is evaluated with and without the images that have a copy in another split."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from headstart.config.plan_file import read_plan_file
from headstart.inference.evaluate import describe_evaluation, evaluate
from headstart.reporter import NullReporter
from headstart.results.summary import result_sentences
from headstart.runs.resume_checks import require_unchanged_inputs
from headstart.storage.schemas.result import RESULT_FILE, RunResult
from headstart.training.setup import resolve_run
from tests.data.test_duplicates import write_photos as write_bursts
from tests.messages import fields_of
from tests.moved_photos import SETTINGS, write_photos
from tests.trained import train


def declared_splits(root: Path) -> Path:
    """Write photos, and declare their splits in a table: the last ones of each class are val and test."""
    write_photos(root, count=8)
    splits = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    rows = [f"{name}/{i}.png,{name},{split}" for name in ("cat", "dog") for i, split in enumerate(splits)]
    (root / "photos.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    return root / "photos.csv"


def evaluated(table: Path, runs: Path) -> tuple[Path, RunResult, dict[str, np.ndarray]]:
    folder = train(runs, source=str(table), **SETTINGS)
    with np.load(folder / "artifacts" / "predictions.npz") as arrays:
        return folder, RunResult.read(folder / RESULT_FILE), {name: arrays[name] for name in arrays.files}


@pytest.mark.parametrize("copies", [[], [("0", "6")], [("0", "6"), ("5", "7"), ("1", "4")]])
def test_accuracy_without_copies_is_that_of_the_other_images(copies: list[tuple[str, str]], tmp_path: Path) -> None:
    table = declared_splits(tmp_path / "photos")
    for original, copy in copies:
        for name in ("cat", "dog"):
            shutil.copy(table.parent / name / f"{original}.png", table.parent / name / f"{copy}.png")
    folder, result, arrays = evaluated(table, tmp_path / "runs")
    of_copies = {f"{name}/{copy}.png" for _, copy in copies for name in ("cat", "dog")}
    is_copy = np.isin(arrays["image"], sorted(of_copies))
    assert arrays["copy"].tolist() == is_copy.tolist()
    assert result.test is not None
    for name, evaluation in (("val", result.val), ("test", result.test)):
        rows = arrays["split"] == name
        kept = rows & ~is_copy
        right = arrays["logits"].argmax(1) == arrays["label"]
        score = evaluation.without_copies
        if not (rows & is_copy).any():
            assert score is None
            continue
        assert score is not None and (score.copies, score.n) == ((rows & is_copy).sum(), kept.sum())
        assert score.accuracy == (right[kept].mean() if kept.any() else None)
    for name, trained in (("val", result.val), ("test", result.test)):
        again = evaluate(folder, None, NullReporter(), split=name)
        assert again.without_copies == trained.without_copies
        of_folder = [fields_of(line) for line in describe_evaluation(again)]
        assert any(line.get("n") for line in of_folder) == bool(trained.without_copies and trained.without_copies.n)
    sentences = result_sentences(result)
    assert len(sentences) == 3 + bool(copies)
    if copies:
        of_test = of_copies & set(arrays["image"][arrays["split"] == "test"].tolist())
        assert fields_of(sentences[2])["count"] == len(of_test)


@pytest.mark.parametrize("setting", ["together", "ignore"])
def test_near_duplicates_in_declared_splits_are_found_again(setting: str, tmp_path: Path) -> None:
    write_bursts(tmp_path / "all", photos=6, copies=2)
    for path in sorted((tmp_path / "all").rglob("*.png")):
        name = {"1": "val", "2": "val", "0 copy 1": "test", "3": "test"}.get(path.stem, "train")
        target = tmp_path / "photos" / name / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    folder = train(tmp_path / "runs", source=str(tmp_path / "photos"), near_duplicates=setting, **SETTINGS)
    result = RunResult.read(folder / RESULT_FILE)
    assert result.test is not None
    score = result.test.without_copies
    assert (score is not None and (score.copies, score.n)) == (setting == "together" and (2, 2))
    # runs with other units have other plans: none is reused for the other
    assert bool(read_plan_file(folder).plan.facts.near_duplicates_sha256) == (setting == "together")
    assert evaluate(folder, None, NullReporter()).without_copies == score
    assert evaluate(folder, str(tmp_path / "photos"), NullReporter(), split="test").without_copies == score


def test_deleted_cache_changes_neither_the_evaluation_nor_the_plan_of_a_resumed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    write_bursts(tmp_path / "photos")
    folder = train(tmp_path / "runs", source=str(tmp_path / "photos"), **SETTINGS)
    plan, result = read_plan_file(folder).plan, RunResult.read(folder / RESULT_FILE)
    assert plan.facts.near_duplicates_sha256
    for delete in ("near-duplicates", "pixels", ""):
        shutil.rmtree(tmp_path / "cache" / delete)
        evaluated = evaluate(folder, None, NullReporter())
        assert result.test is not None
        assert (evaluated.own, evaluated.split, evaluated.confusion) == (True, "test", result.test.confusion)
    shutil.rmtree(tmp_path / "cache")
    require_unchanged_inputs(plan, resolve_run(plan, NullReporter()).plan)
