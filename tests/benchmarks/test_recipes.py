"""The comparison of recipes pairs runs, selects rates on val, and can be resumed."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from benchmarks.recipe_candidates import CANDIDATES, COMMON, RATE_FACTORS, REFERENCE
from benchmarks.recipes import (
    RESULTS,
    SEEDS,
    SMALL,
    Outcome,
    Run,
    main_runs,
    pooled,
    read_outcomes,
    search_runs,
    selected_factor,
)
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
