"""Error rates of simulated studies in the declared cells, and the truth of the simulation itself."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headstart.analysis.image_sample import ImageSample
from headstart.storage.schemas.contrast import Outcome
from tests.simulation import results
from tests.simulation.cells import (
    BASELINE,
    BASELINE_POWER,
    BASELINE_WIDTH,
    CELLS,
    MAX_CELLS,
    MAX_LOST_POWER,
    MAX_WIDTH_RATIO,
    QUICK_CELLS,
    STUDIES,
)
from tests.simulation.measures import (
    CellResult,
    covers,
    equivalent_within,
    excesses,
    measure,
    no_sample_sizes,
    significant_excesses,
)
from tests.simulation.populations import ImageSampler, populations
from tests.simulation.searches import Rule, searched_runs
from tests.simulation.studies import Cell, decisions, simulate

GOOD = CellResult("", 1_000, 50, 950, 950, 1_000, 10, 20, 0.08, 700, 1.0)


@pytest.mark.parametrize("cell", QUICK_CELLS, ids=lambda cell: cell.name)
def test_error_rates_of_a_few_studies_are_not_above_the_bars(cell: Cell) -> None:
    result = measure(cell, QUICK_CELLS[cell])
    print(result)
    assert significant_excesses(cell, result) == []


@pytest.mark.slow
@pytest.mark.timeout(2 * 3_600)
def test_error_rates_keep_the_bars() -> None:
    measured = results.run_cells(CELLS, STUDIES, os.cpu_count() or 1)
    print("\n".join(results.table(CELLS, measured)))
    assert {cell.name: missed for cell in CELLS if (missed := excesses(cell, measured[cell.name]))} == {}
    baseline = measured[BASELINE.name]
    assert baseline.mean_width <= MAX_WIDTH_RATIO * BASELINE_WIDTH
    assert baseline.power / baseline.studies >= BASELINE_POWER - MAX_LOST_POWER


def test_cells_are_declared_once_and_are_at_most_forty() -> None:
    assert len({cell.name for cell in CELLS}) == len(CELLS) <= MAX_CELLS
    assert set(QUICK_CELLS) <= set(CELLS)


def test_documentation_has_the_declared_cells() -> None:
    page = (results.ROOT / "docs" / "protocol.md").read_text()
    rows = [line.split("|")[1:5] for line in page.splitlines() if line.count("|") == results.HEADER.count("|")]
    declared = [[str(cell.arms), str(cell.n), f"{cell.m:,}", cell.kind] for cell in CELLS]
    assert [[column.strip() for column in row] for row in rows[2:]] == declared


@pytest.mark.parametrize(
    "change",
    [{"false_winners": 61}, {"false_equivalent": 61}, {"false_equivalent_wide": 61}, {"all_covered": 939},
     {"single_covered": 939}],
)  # fmt: skip
def test_each_bar_is_checked(change: dict[str, int]) -> None:
    cell, wrong = Cell(5, 205), replace(GOOD, **change)
    assert excesses(cell, replace(GOOD, studies=100_000, false_winners=5_000, all_covered=95_000)) == []
    assert excesses(cell, wrong) and significant_excesses(cell, wrong) == []  # 61 of 1,000 may be chance
    surely = replace(GOOD, **{name: 90 if count < 100 else 900 for name, count in change.items()})
    assert len(significant_excesses(cell, surely)) == 1
    assert excesses(Cell(5, 205, search=Rule.SHARED), surely) == []


def test_upper_limit_is_a_bar_of_its_own() -> None:
    assert len(excesses(Cell(5, 205), replace(GOOD, false_winners=60))) == 1


@pytest.mark.parametrize("cell", [Cell(5, 1000), Cell(5, 205, search=Rule.PER_SEED)], ids=lambda cell: cell.name)
def test_gain_of_the_first_arm_is_the_true_difference(cell: Cell) -> None:
    """Compare the first arm with and without the gain, under the same random numbers."""
    gain = 0.05
    differences = [
        study.tables(gain)["a"].mean() - study.tables(0.0)["a"].mean() for study in simulate(cell, 400, (0.0, gain))
    ]
    assert np.mean(differences) == pytest.approx(gain, abs=4 * np.std(differences) / 20)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_images_of_a_unit_are_correlated_and_keep_their_distribution(correlation: float) -> None:
    population, sampler = next(iter(populations().values())), ImageSampler(2_000, 5, correlation)
    rng = np.random.default_rng(3)
    effects = sampler.arm_effects(20, rng).reshape(20, -1, 5)
    assert np.corrcoef(effects[..., 0].ravel(), effects[..., 1].ravel())[0, 1] == pytest.approx(correlation, abs=0.04)
    noise, plain = sampler.noise((20,), rng), ImageSampler(2_000).noise((20,), rng)
    assert np.quantile(noise, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(plain, [0.1, 0.5, 0.9]), abs=0.1)
    ease = np.concatenate([sampler.ease(population, rng) for _ in range(20)])
    assert ease.mean() == pytest.approx(population.ease.mean(), abs=0.1)


@pytest.mark.parametrize("rule", list(Rule))
def test_search_has_the_epochs_of_its_rule(rule: Rule) -> None:
    """Without additional rates: 5 rungs and 2 whole runs of 8 epochs, later 3 rungs, or 2 search seeds."""
    population, rng = next(iter(populations().values())), np.random.default_rng(4)
    epochs = min(searched_runs("ab", 4, rule, population, rng).epochs for _ in range(20))
    assert epochs == {Rule.WHOLE: 4 * 19, Rule.SHARED: 5 + 14 + 16 + 4 * 8}.get(rule, 19 + 3 * 17)


def test_interval_and_equivalence_at_other_levels_agree_with_the_decisions() -> None:
    cell, sample = Cell(5, 1000, 4), ImageSample.independent(1000)
    with no_sample_sizes():
        for study in simulate(cell, 20, (0.0,)):
            for margin in (0.02, 0.05):
                for row in decisions(cell, study.tables(0.0), sample, margin):
                    assert equivalent_within(row, sample, margin) == (row.outcome is Outcome.EQUIVALENT)
                    assert covers(row, 0.0, row.level) == (row.low <= 0 <= row.high)
                    assert covers(row, row.mean, 0.5) and not covers(row, row.high, 0.5)


def test_finished_cells_are_not_simulated_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [Cell(3, 100), Cell(5, 100)]
    lines = [json.dumps({**replace(GOOD, cell=cell.name).to_json(), "code": results.code_digest()}) for cell in cells]
    (tmp_path / "cells.jsonl").write_text("\n".join([*lines, lines[0][:20]]))
    monkeypatch.setattr(results, "measure", None)
    finished = results.run_cells(cells, GOOD.studies, 1, tmp_path)
    assert set(finished) == {cell.name for cell in cells}
    assert len(results.table(cells, finished)) == 2 + len(cells)
    (tmp_path / "cells.jsonl").write_text(lines[0].replace(results.code_digest(), "0"))
    assert results.read_results(tmp_path) == {}
