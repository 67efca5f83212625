"""The error of a contrast is divided among all analyses of a study as it was declared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from headstart.analysis.looks import Looks
from headstart.analysis.statistics import obrien_fleming, spending_boundaries

SIMULATED = 400_000


def crossing_rates(counts: list[int], p_values: list[float], total: int) -> np.ndarray:
    """Return the share of simulated sequences of means that have crossed a boundary up to each analysis."""
    rng, reached = np.random.default_rng(7), np.zeros(SIMULATED, dtype=bool)
    sums, before, rates = np.zeros(SIMULATED), 0, []
    for count, p in zip(counts, p_values, strict=True):
        sums += rng.normal(scale=np.sqrt((count - before) / total), size=SIMULATED)
        reached |= np.abs(sums) >= stats.norm.isf(p / 2) * np.sqrt(count / total)
        rates.append(reached.mean())
        before = count
    return np.array(rates)


@pytest.mark.parametrize("interim", [(), (3, 5)])
@pytest.mark.parametrize("further", [(10,), (20,), (6, 7, 12, 20)])
def test_boundaries_spend_the_declared_error(interim: tuple[int, ...], further: tuple[int, ...]) -> None:
    """Against a simulation: after each analysis the error is that of the spending function."""
    looks = Looks(interim, 5, further, 20, 0.7)
    first = list(interim or (5,))
    p_values = [1 - looks.level_after(n, 0.95) for n in (*first, *further)]
    rates = crossing_rates([*first, *further], p_values, 20)[len(first) - 1 :]
    expected = [0.7 * 0.05, *(0.05 * (0.7 + 0.3 * (n - 5) / 15) for n in further)]
    assert rates == pytest.approx(expected, abs=4 * np.sqrt(0.05 / SIMULATED))
    assert looks.spent(further[-1], 0.95) == pytest.approx(expected[-1])


def test_without_a_reserve_the_levels_are_those_of_the_declared_analyses() -> None:
    assert Looks().level_after(5, 0.97) == Looks((), 5).level_after(5, 0.97) == 0.97
    boundaries = obrien_fleming([3 / 8, 5 / 8, 1], 0.96)
    looks = Looks((3, 5, 8), 8)
    assert [1 - looks.level_after(n, 0.96) for n in (3, 5, 8)] == pytest.approx(boundaries, abs=1e-15)
    assert looks.level_after(4, 0.96) == looks.level_after(3, 0.96) and looks.level_after(2, 0.96) == 0.96
    kept = Looks((3, 5, 8), 8, max_seeds=12, first_share=0.5)
    assert kept.interim_boundaries(0.96) == obrien_fleming([3 / 8, 5 / 8, 1], 0.98)


def test_a_single_further_analysis_needs_no_more_than_what_is_left() -> None:
    """The boundary of two analyses lies between the error that is left (disjoint) and the whole error (identical)."""
    looks = Looks((), 5, (20,), 20, 0.8)
    last = 1 - looks.level_after(20, 0.95)
    assert 0.05 * 0.2 < last < 0.05
    assert spending_boundaries([0.5, 1.0], [0.02], [0.05])[0] < 0.05


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5, unique=True), st.floats(0.05, 0.95), st.floats(0.9, 0.999))
def test_every_analysis_has_a_part_of_the_error_and_all_together_not_more(counts, share, level) -> None:
    further = tuple(5 + count for count in sorted(counts))
    looks = Looks((), 5, further, 45, share)
    levels = [looks.level_after(n, level) for n in (5, *further)]
    assert all(level < value < 1 for value in levels)
    union = sum(1 - value for value in levels)
    assert looks.spent(further[-1], level) <= union + 1e-9 and looks.spent(45, level) == pytest.approx(1 - level)


def test_close_analyses_are_integrated_exactly() -> None:
    """With analyses after 997 to 1000 seeds the boundaries are nearly those of a single analysis."""
    p = obrien_fleming([n / 1000 for n in (997, 998, 999, 1000)])
    rates = crossing_rates([997, 998, 999, 1000], p, 1000)
    assert rates[-1] == pytest.approx(0.05, abs=4 * np.sqrt(0.05 / SIMULATED))
