"""What the page draws from: runs read once, and named. Numbers come from the records alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import stats

from headstart.analysis.run_records import RunRecord, epoch_score
from headstart.analysis.wording import arm_words, length_words
from headstart.diagnostics.history import History
from headstart.storage.journal import read_lines


@dataclass
class PlottedRun:
    """One run: `looks` as in its record, by part of the network its `rates` [(step, rate), …], and its `history`."""

    run: RunRecord
    name: str
    arm: str
    rates: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    looks: list[dict[str, Any]] = field(default_factory=list)
    history: History = field(default_factory=lambda: History({}))

    @property
    def epochs(self) -> Sequence[Mapping[str, Any]]:
        return self.history.epochs

    def curve(self, unit: str, metric: str) -> list[tuple[float, float]]:
        """Accuracy on val in per cent over epochs, images or seconds."""
        found, seconds = [], 0.0
        for line in self.epochs:
            seconds += line["speed"]["train_seconds"] + line["speed"]["val_seconds"]
            at = {
                "epochs": float(line["epoch"]),
                "images": float(line["step"] * self.run.plan["recipe"]["batch_size"]),
                "seconds": round(seconds, 2),
            }[unit]
            found.append((at, 100 * epoch_score(line, metric)))
        return found


def read(run: RunRecord) -> PlottedRun:
    """A run's record, in one pass over its lines."""
    found = PlottedRun(
        run, f"{arm_words(run.arm)}, seed {run.seed}", run.arm, history=History(run.plan, state=run.state)
    )
    for line in read_lines(run.folder / "metrics.jsonl"):
        kind = line["kind"]
        found.history.take(line)
        if kind == "step":
            for part, rate in line["lr"].items():
                found.rates.setdefault(part, []).append((line["step"], rate))
        elif kind == "snapshot":
            found.looks.append(line)
    return found


def with_unique_names(runs: Sequence[PlottedRun]) -> list[PlottedRun]:
    """The runs with names that say in what they differ: length and share of the photos, or rate, else their folder."""
    for more in (_condition, lambda run: f"{run.run.rate:g}", lambda run: run.run.folder.name):
        alike: dict[str, list[PlottedRun]] = {}
        for run in runs:
            alike.setdefault(run.name, []).append(run)
        differ = {name for name, some in alike.items() if len({more(run) for run in some}) == len(some) > 1}
        runs = [replace(run, name=f"{run.name}, {more(run)}") if run.name in differ else run for run in runs]
    return list(runs)


def _condition(run: PlottedRun) -> str:
    plan = run.run.plan
    return f"{length_words(plan['recipe']['epochs'])}, {100 * plan['data']['fraction']:.3g} % of the labels"


def mean_and_band(
    paths: Sequence[Sequence[tuple[float, float]]],
) -> tuple[list[tuple[float, float]], list[tuple[float, float, float]]]:
    """The mean of paths, point by point over those that reach it, and its pointwise 95 % t interval (Student 1908).

    x goes on by the mean step of the paths that are left: where the slowest has ended, the mean of what the others
    have reached would lie before the point that came last. A path alone has a mean and no interval.
    """
    mean: list[tuple[float, float]] = []
    band: list[tuple[float, float, float]] = []
    x = 0.0
    for at in range(max(map(len, paths), default=0)):
        left = [path for path in paths if len(path) > at]
        x += float(np.mean([path[at][0] - (path[at - 1][0] if at else 0.0) for path in left]))
        values = np.array([path[at][1] for path in left])
        mean.append((x, float(values.mean())))
        if len(left) > 1:
            half = float(stats.t.ppf(0.975, len(left) - 1)) * values.std(ddof=1) / math.sqrt(len(left))
            band.append((x, float(values.mean() - half), float(values.mean() + half)))
    return mean, band
