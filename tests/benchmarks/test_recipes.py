"""The comparison of recipes pairs runs, selects rates on val, and can be resumed."""

import csv
import json
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from benchmarks.recipe_candidates import CANDIDATES, COMMON, RATE_FACTORS, REFERENCE
from benchmarks.recipe_results import (
    LARGE,
    RESULTS,
    SEEDS,
    SMALL,
    TEST_RESULTS,
    WITH_TEST,
    Outcome,
    Run,
    image_names,
    pooled,
    read_outcomes,
    selected_factor,
    selected_rates,
    table,
)
from benchmarks.recipes import correct_digits, main_runs, search_runs, write_manifests
from headstart.config.resolve import resolve_settings

STARTS = ("scratch", "file:w")


def outcome(run: Run, right: int, of: int = 8) -> Outcome:
    return Outcome(run, {}, "hash", "finished", 1, "1" * right + "0" * (of - right), [], 1.0)


def test_candidates_are_at_most_eight_valid_recipes() -> None:
    assert REFERENCE in CANDIDATES and len(CANDIDATES) <= 8
    for candidate in CANDIDATES.values():
        for classes in (4, 10):
            recipe = resolve_settings({**COMMON, **candidate.settings, "lr": candidate.rate(classes)}).plan.recipe
            assert recipe.crop != "auto" and 0 < recipe.lr < 0.1 and candidate.source


def test_rate_with_the_highest_accuracy_is_selected_and_of_equal_ones_the_documented() -> None:
    def selected(*right: int) -> float:
        runs = [Run(REFERENCE, SMALL, "scratch", 0, factor) for factor in RATE_FACTORS]
        return selected_factor(REFERENCE, "scratch", {r: outcome(r, n) for r, n in zip(runs, right, strict=True)})

    assert [selected(5, 4, 4), selected(4, 4, 4), selected(1, 2, 3), selected(3, 2, 3)] == [1 / 3, 1, 3, 1 / 3]


def test_finished_runs_are_read_back_and_the_search_is_part_of_the_comparison(tmp_path) -> None:
    done = {run: outcome(run, 4) for run in search_runs(STARTS, {})}
    lines = [json.dumps(asdict(one)) for one in done.values()]
    (tmp_path / RESULTS).write_text("\n".join(lines) + "\n")
    assert read_outcomes(tmp_path) == done and len(done) == 3 * 2 * len(CANDIDATES)
    planned = list(main_runs(STARTS, done))
    assert len(planned) == len(set(planned)) == 2 * 2 * len(SEEDS) * len(CANDIDATES)
    assert sum(run in done for run in planned) == 2 * len(CANDIDATES)


def test_pooled_differences_weigh_both_data_sets_equally() -> None:
    rng = np.random.default_rng(0)
    where = np.array([1, 4, 5])
    small = {seed: rng.integers(-1, 2, 3).astype(float) for seed in (0, 1, 2)}
    large = {seed: rng.integers(-1, 2, 8).astype(float) for seed in (0, 1)}
    both = pooled(small, large, where)
    assert both is not None and both.shape == (2, 8)
    means = [(small[seed].mean() + large[seed].mean()) / 2 for seed in (0, 1)]
    assert both.mean(axis=1) == pytest.approx(means)
    assert both[0, 0] == large[0][0] / 2 and pooled({}, large, where) is None


def test_manifests_have_val_of_training_images_and_test_only_if_it_is_opened(tmp_path) -> None:
    photos, rows = tmp_path / "photos", [("path", "label", "split")]
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 3)):
        for label in "abc":
            (photos / split / label).mkdir(parents=True)
            for number in range(count):
                file = photos / split / label / f"{number}.png"
                Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)
                if label != "c":
                    rows.append((file.relative_to(photos).as_posix(), label, split))
    with (photos / "lab4.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    write_manifests(photos, tmp_path)
    for name, classes in ((SMALL, 2), (LARGE, 3)):
        counts = [len(image_names(tmp_path, name, split)) for split in ("train", "val", "test")]
        assert counts == [9 * classes, 3 * classes, 0]
        assert [image_names(tmp_path, name + WITH_TEST, split) for split in ("train", "val")] == [
            image_names(tmp_path, name, split) for split in ("train", "val")
        ]
        assert len(image_names(tmp_path, name + WITH_TEST, "test")) == 3 * classes
    assert set(image_names(tmp_path, SMALL, "val")) < set(image_names(tmp_path, LARGE, "val"))


def test_correct_digits_are_those_of_one_split_in_the_order_of_names(tmp_path) -> None:
    arrays = {
        "image": np.array(["b", "a", "d", "c"]),
        "split": np.array(["test", "test", "val", "test"]),
        "label": np.array([0, 1, 0, 1]),
        "logits": np.array([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=np.float32),
    }
    np.savez(tmp_path / "p.npz", **arrays)
    assert [correct_digits(tmp_path / "p.npz", split) for split in ("test", "val")] == ["011", "1"]


def test_table_of_test_has_the_pair_at_the_rates_that_val_selected(tmp_path) -> None:
    searched = {run: outcome(run, 6 if run.factor > 1 else 4) for run in search_runs(STARTS, {})}
    pair = [REFERENCE, "fastai"]
    runs = [run for run in main_runs(STARTS, searched) if run.recipe in pair]
    assert {rate for key, rate in selected_rates(searched).items() if key[0] in pair} == {max(RATE_FACTORS)}
    opened = [outcome(run, 4 + 2 * (run.recipe == "fastai")) for run in runs]
    for name, outcomes in ((RESULTS, searched.values()), (TEST_RESULTS, opened)):
        (tmp_path / name).write_text("".join(json.dumps(asdict(one)) + "\n" for one in outcomes))
    for data in (SMALL, LARGE):
        names = "".join(f"{number},a,test\n" for number in range(8))
        (tmp_path / f"{data}{WITH_TEST}.csv").write_text("path,label,split\n" + names)
    rows = table(tmp_path, is_test=True)
    assert [row.split(" | ")[0] for row in rows[2:]] == [f"| {name}" for name in pair]
    assert rows[2].count("50.0") == 4 and rows[3].count("75.0 (+25.0: ") == 4
