"""The search of learning rates: equal budgets for every arm, and later seeds near the rates that worked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.experiment.lr_search import (
    MAX_EXTENSIONS,
    NEAR_RATES,
    SearchSpace,
    Trial,
    TrialResult,
    extend_grid,
    is_narrow,
    search,
)
from headstart.storage.schemas.arm import FROZEN, FULL
from headstart.storage.schemas.search import SearchGroup

GRID = (0.05, 0.01, 0.005, 0.001, 0.0001)
Run = Callable[[Sequence[Trial]], Mapping[Trial, TrialResult]]


def simulated(best: Mapping[str, float], diverging: float = np.inf) -> tuple[Run, list[Trial]]:
    """Return a function whose scores fall with the distance from each variant's best rate, and its log of trials."""
    requested: list[Trial] = []

    def run(trials: Sequence[Trial]) -> Mapping[Trial, TrialResult]:
        requested.extend(trials)
        return {
            trial: TrialResult((1 / (1 + abs(np.log(trial.rate / best[trial.variant]))), -1.0), trial.rate >= diverging)
            for trial in trials
        }

    return run, requested


def searched(
    run: Run, space: SearchSpace, seeds: Sequence[int] = (7,), variants: Sequence[str] = ("a", "b"), survivors: int = 1
) -> SearchGroup:
    return search(variants, space, seeds, budget="6st", group=None, survivors=survivors, run=run)


def test_every_arm_has_the_same_rungs_and_number_of_whole_trials() -> None:
    run, requested = simulated({"a": 0.01, "b": 0.005})
    outcome = searched(run, SearchSpace.of(GRID), (7, 8), survivors=2)
    assert {arm.arm: arm.selected for arm in outcome.arms} == {"a": 0.01, "b": 0.005} and len(outcome.grid) == 5
    assert not any(arm.at_edge for arm in outcome.arms)
    for variant in ("a", "b"):
        assert sum(t.variant == variant and t.rung for t in requested) == 5
        assert sum(t.variant == variant and not t.rung for t in requested) == 4
    assert {t.seed for t in requested if t.rung} == {7}


def test_best_rate_at_the_edge_extends_the_grid_of_all_arms_at_most_twice() -> None:
    run, requested = simulated({"a": 1e-9, "b": 0.01})
    outcome = searched(run, SearchSpace.of([0.1, 0.01, 0.001]))
    assert outcome.grid == [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
    assert [(arm.arm, arm.selected) for arm in outcome.arms if arm.at_edge] == [("a", 1e-5)]
    assert {t.rate for t in requested if t.variant == "b" and t.rung} == set(outcome.grid)


def test_diverged_edge_does_not_extend_the_grid() -> None:
    run, _ = simulated({"a": 0.1}, diverging=0.1)
    assert searched(run, SearchSpace.of([0.1, 0.01]), variants=["a"]).grid == [0.01, 0.1]
    assert extend_grid([0.0001, 0.001, 0.05], [0.0001, 0.05]) == [1e-5, 0.0001, 0.001, 0.05, 2.5]


def test_later_seed_searches_near_the_selected_rates_and_a_frozen_arm_searches_the_grid() -> None:
    run, requested = simulated({"a": 0.005, "b": 0.05})
    space = SearchSpace.of(GRID)
    first = searched(run, space)
    assert first.grid == [0.0001, 0.001, 0.005, 0.01, 0.05, 0.25]
    later = space.after(first, narrow=["a"])
    assert later.rates("a") == (0.001, 0.005, 0.01) and later.rates("b") == tuple(first.grid)
    both = space.after(first, narrow=["a", "b"])  # near the rates of all arms
    assert both.rates("a") == both.rates("b") == (0.001, 0.005, 0.01, 0.05, 0.25)
    at_edge = SearchSpace(tuple(first.grid), space.grid, {"a": 0.0001})
    assert at_edge.rates("a") == (0.0001, 0.001, 0.005) and at_edge.window(0.25) == (0.01, 0.05, 0.25)
    requested.clear()
    second = searched(run, later, (8,))
    rungs = {variant: {t.rate for t in requested if t.variant == variant and t.rung} for variant in "ab"}
    assert rungs == {"a": {0.001, 0.005, 0.01}, "b": set(first.grid)}
    assert [[scores.lr for scores in arm.tried] for arm in second.arms] == [[0.001, 0.005, 0.01], first.grid]
    assert is_narrow(FULL) and is_narrow(None) and not is_narrow(FROZEN)


def test_later_seeds_extend_the_grid_no_further_than_one_seed_does() -> None:
    space, grids = SearchSpace.of([0.1, 0.01, 0.001]), []
    for place in range(4):  # the best rate of each seed is lower than that of the seed before
        run, _ = simulated({"a": 10.0 ** (-3.5 - place), "b": 0.01})
        group = searched(run, space, (place,))
        space = space.after(group, ["a", "b"])
        grids.append(group.grid)
    assert grids[-1] == grids[1] and len(grids[-1]) == 3 + MAX_EXTENSIONS
    assert group.arm("a").at_edge and group.arm("a").selected == grids[-1][0] == 1e-5


@given(
    st.lists(st.floats(-5, 0), min_size=1, max_size=6, unique_by=lambda x: round(x, 1)),
    st.lists(st.floats(-7, 2), min_size=2, max_size=2),
    st.lists(st.floats(-1.5, 1.5), min_size=1, max_size=5),
)
def test_every_narrow_arm_has_the_same_number_of_trials_and_the_best_of_its_rates(places, best, jitter) -> None:
    """Whatever the best rates of the seeds are."""
    space = SearchSpace.of(10.0 ** round(place, 1) for place in places)
    for seed, shift in enumerate(jitter):
        run, requested = simulated({"a": 10 ** (best[0] + shift), "b": 10 ** (best[1] - shift)})
        group = searched(run, space, (seed,), survivors=2)
        assert len({sum(t.variant == variant and t.rung for t in requested) for variant in "ab"}) == 1
        for arm in group.arms:
            whole = {scores.lr: scores.full_runs[0] for scores in arm.tried if scores.full_runs}
            assert whole[arm.selected] == max(scores.rung for scores in arm.tried)
        added = len(group.grid) - len(space.declared)
        assert 0 <= added <= 2 * MAX_EXTENSIONS and set(space.grid) <= set(group.grid)
        space = space.after(group, ["a", "b"])
        near = min(NEAR_RATES, len(space.grid))
        assert space.rates("a") == space.rates("b") and len(space.rates("a")) >= near
        assert all(group.arm(v).selected in space.rates(v) for v in "ab")


@pytest.mark.parametrize("is_rung", [True, False])
def test_trials_are_requested_once(is_rung: bool) -> None:
    run, requested = simulated({"a": 1e-4, "b": 10.0})
    searched(run, SearchSpace.of(GRID), (1, 2), survivors=2)
    keys = [(t.variant, t.rate, t.seed) for t in requested if t.rung is is_rung]
    assert len(set(keys)) == len(keys)
