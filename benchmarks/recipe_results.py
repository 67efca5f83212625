"""The results of `benchmarks.recipes`, and their table."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.recipe_candidates import CANDIDATES, RATE_FACTORS, REFERENCE
from headstart.analysis.statistics import Array, crossed_interval

SMALL, LARGE = "lab4", "ten classes"
SEEDS = (0, 1, 2)
RESULTS, TEST_RESULTS = "results.jsonl", "test.jsonl"
WITH_TEST = " with test"  # ending of the names of manifests

Rates = Mapping[tuple[str, str], float]  # factor that is selected for a recipe and a start


@dataclass(frozen=True)
class Run:
    """One run: recipe, data set, start, seed, and the factor of the documented learning rate."""

    recipe: str
    data: str
    start: str
    seed: int
    factor: float


@dataclass(frozen=True)
class Outcome:
    """The result of one run.

    Attributes:
        settings: Fields of the recipe and its learning rate.
        plan: Hash of the plan.
        state: `finished` or `diverged`.
        best_epoch: Epoch of the best model.
        correct: One digit per image of val or test in the order of their names, 1 if the best model is right.
        epochs: (train loss, train accuracy, val loss, val accuracy) of each epoch.
        seconds: Duration of training and validation.
    """

    run: Run
    settings: dict[str, Any]
    plan: str
    state: str
    best_epoch: int
    correct: str
    epochs: list[tuple[float, float, float, float]]
    seconds: float

    @property
    def accuracy(self) -> float:
        """Share of images on which the best model is right."""
        return self.correct.count("1") / len(self.correct)

    @classmethod
    def parse(cls, line: str) -> Outcome:
        """Return the outcome in a line of the results."""
        content = json.loads(line)
        return cls(**{**content, "run": Run(**content["run"])})


def read_outcomes(out: Path, name: str = RESULTS) -> dict[Run, Outcome]:
    """Return the outcomes of the finished runs."""
    path = out / name
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {outcome.run: outcome for outcome in map(Outcome.parse, lines)}


def selected_factor(recipe: str, start: str, outcomes: Mapping[Run, Outcome]) -> float:
    """Return the factor with the highest accuracy on val; of equal ones that nearest to the documented rate."""
    accuracy = {factor: outcomes[Run(recipe, SMALL, start, 0, factor)].accuracy for factor in RATE_FACTORS}
    return min(RATE_FACTORS, key=lambda factor: (-accuracy[factor], abs(np.log(factor)), factor))


def table(out: Path, is_test: bool = False, reference: str = REFERENCE) -> list[str]:
    """Return a Markdown table: accuracy, the difference from a reference with its 95 % interval, and the cost.

    The cost is the time of the fastest run of the larger data set.
    """
    selection = read_outcomes(out)
    outcomes = read_outcomes(out, TEST_RESULTS) if is_test else selection
    rates = selected_rates(selection)
    starts = sorted({run.start for run in outcomes}, reverse=True)
    columns = [(data, start) for start in starts for data in (SMALL, LARGE)]
    names = [f"{data}, {start.partition(':')[0]}" for data, start in columns]
    names += [f"both, {start.partition(':')[0]}" for start in starts]
    rows = [" | ".join(["| recipe", *names, "seconds a run |"]), "|---" * (len(names) + 2) + "|"]
    manifests, split = ((LARGE + WITH_TEST, SMALL + WITH_TEST), "test") if is_test else ((LARGE, SMALL), "val")
    where = np.searchsorted(*(image_names(out, name, split) for name in manifests))
    for recipe in (name for name in CANDIDATES if any(run.recipe == name for run in outcomes)):
        tables = {column: correctness(recipe, *column, outcomes, rates) for column in columns}
        changes = {column: differences((recipe, reference), *column, outcomes, rates) for column in columns}
        cells = [cell(tables[column], changes[column]) for column in columns]
        for start in starts:
            both = pooled(changes[SMALL, start], changes[LARGE, start], where)
            weight = 1.0 if both is None else (1 + both.shape[1] / len(where)) / 2
            cells.append(interval_text(both, weight))
        seconds = [o.seconds for run, o in outcomes.items() if run.recipe == recipe and run.data == LARGE]
        cells.append(f"{min(seconds):.0f}" if seconds else "…")  # of the run with the least other load
        rows.append(" | ".join([f"| {recipe}", *cells]) + " |")
    return rows


def image_names(out: Path, manifest: str, split: str) -> list[str]:
    """Return the paths of the images of a split, sorted: the order of `Outcome.correct`."""
    with (out / f"{manifest}.csv").open(newline="") as file:
        return sorted(row["path"] for row in csv.DictReader(file) if row["split"] == split)


def selected_rates(outcomes: Mapping[Run, Outcome]) -> Rates:
    """Return the selected factor of each recipe and start whose search has finished."""
    rates = {}
    for recipe, start in {(run.recipe, run.start) for run in outcomes}:
        with suppress(KeyError):
            rates[recipe, start] = selected_factor(recipe, start, outcomes)
    return rates


def correctness(recipe: str, data: str, start: str, outcomes: Mapping[Run, Outcome], rates: Rates) -> dict[int, Array]:
    """Return the correctness [images] at the selected rate by seed, of the runs that have finished."""
    if (recipe, start) not in rates:
        return {}
    runs = {seed: Run(recipe, data, start, seed, rates[recipe, start]) for seed in SEEDS}
    return {
        seed: np.array([int(digit) for digit in outcomes[run].correct], dtype=np.float64)
        for seed, run in runs.items()
        if run in outcomes
    }


def differences(
    pair: tuple[str, str], data: str, start: str, outcomes: Mapping[Run, Outcome], rates: Rates
) -> dict[int, Array]:
    """Return correct in the first recipe minus correct in the second [images], by seed that both have.

    It is empty for a recipe and itself.
    """
    if pair[0] == pair[1]:
        return {}
    own, reference = (correctness(recipe, data, start, outcomes, rates) for recipe in pair)
    return {seed: own[seed] - reference[seed] for seed in SEEDS if seed in own and seed in reference}


def cell(tables: Mapping[int, Array], changes: Mapping[int, Array]) -> str:
    """Return the mean accuracy and the difference of one data set and start."""
    if not tables:
        return "…"
    accuracy = f"{100 * np.mean([values.mean() for values in tables.values()]):.1f}"
    return f"{accuracy} ({interval_text(np.stack(list(changes.values())))})" if changes else accuracy


def pooled(small: Mapping[int, Array], large: Mapping[int, Array], where: npt.NDArray[np.int64]) -> Array | None:
    """Return the differences of both data sets as one array [seeds, images]; None without a common seed.

    Its mean is that of the two data sets with equal weight. The images of the smaller one are a part of those of the
    larger one, so that an image of both is one unit and its two differences need not be independent.

    Args:
        small: Differences of the smaller data set by seed.
        large: Those of the larger one.
        where: Place of each image of the smaller data set among those of the larger one.
    """
    seeds = sorted(small.keys() & large.keys())
    if not seeds:
        return None
    both = np.stack([large[seed] for seed in seeds]) / 2
    both[:, where] += np.stack([small[seed] for seed in seeds]) / 2 * (both.shape[1] / len(where))
    return both


def interval_text(difference: Array | None, max_weight: float = 1.0) -> str:
    """Return the mean of differences [seeds, images] in percentage points, with its 95 % interval from two seeds on."""
    if difference is None:
        return ""
    if len(difference) < 2:
        return f"{100 * difference.mean():+.1f}"
    interval = crossed_interval(difference, max_weight=max_weight)
    return f"{100 * interval.mean:+.1f}: {100 * interval.low:+.1f} to {100 * interval.high:+.1f}"
