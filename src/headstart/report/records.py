"""What the page draws from: runs read once, thinned to what a chart can show. Numbers come from the records alone."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from scipy import stats

from headstart.record import read_lines
from headstart.verdict.gather import RunRecord, epoch_score
from headstart.verdict.history import History
from headstart.verdict.words import arm_words, length_words

T = TypeVar("T")
MOST_POINTS = 240  # of a line; a chart is not wider
RIDGE_BINS = 48
MOST_RIDGES = 24  # looks of a layer that are drawn
RIDGE_BYTES = 2_000_000  # of all histograms on a page


@dataclass
class Drawn:
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


def read(run: RunRecord) -> Drawn:
    """A run's record, in one pass over its lines."""
    found = Drawn(run, f"{arm_words(run.arm)}, seed {run.seed}", run.arm, history=History(run.plan, state=run.state))
    for line in read_lines(run.folder / "metrics.jsonl"):
        kind = line["kind"]
        found.history.take(line)
        if kind == "step":
            for part, rate in line["lr"].items():
                found.rates.setdefault(part, []).append((line["step"], rate))
        elif kind == "look":
            found.looks.append(line)
    return found


def told_apart(runs: Sequence[Drawn]) -> list[Drawn]:
    """The runs with names that say in what they differ: length and share of the photos, or rate, else their folder."""
    for more in (_condition, lambda run: f"{run.run.rate:g}", lambda run: run.run.folder.name):
        alike: dict[str, list[Drawn]] = {}
        for run in runs:
            alike.setdefault(run.name, []).append(run)
        differ = {name for name, some in alike.items() if len({more(run) for run in some}) == len(some) > 1}
        runs = [replace(run, name=f"{run.name}, {more(run)}") if run.name in differ else run for run in runs]
    return list(runs)


def _condition(run: Drawn) -> str:
    plan = run.run.plan
    return f"{length_words(plan['recipe']['epochs'])}, {100 * plan['data']['fraction']:.3g} % of the labels"


def rows_that_fit(runs: Sequence[Drawn]) -> int:
    """How many looks of a layer there is room for where a page holds so many runs: `MOST_RIDGES` or fewer."""
    layers = sum(len(run.looks[-1][kind]) for run in runs if run.looks for kind in ("weights", "gradients"))
    return max(2, min(MOST_RIDGES, int(RIDGE_BYTES / max(layers * RIDGE_BINS * 4 / 3, 1))))


def thinned(points: Sequence[T], most: int = MOST_POINTS) -> list[T]:
    """So many of the points, the first and the last among them, evenly spread; all where they are few."""
    if len(points) <= most:
        return list(points)
    places = np.unique(np.linspace(0, len(points) - 1, most).round().astype(int))
    return [points[int(place)] for place in places]


def mean_and_band(
    paths: Sequence[Sequence[tuple[float, float]]],
) -> tuple[list[tuple[float, float]], list[tuple[float, float, float]]]:
    """The mean of paths that share their x, as far as all reach, and its pointwise 95 % t interval (Student 1908)."""
    paths = [path for path in paths if path]
    if len(paths) < 2:
        return (list(paths[0]) if paths else []), []
    mean, band, quantile = [], [], float(stats.t.ppf(0.975, len(paths) - 1))
    for at in range(min(map(len, paths))):
        x = float(np.mean([path[at][0] for path in paths]))
        values = np.array([path[at][1] for path in paths])
        half = quantile * values.std(ddof=1) / math.sqrt(len(values))
        mean.append((x, float(values.mean())))
        band.append((x, float(values.mean() - half), float(values.mean() + half)))
    return mean, band


def ridges(looks: Sequence[Mapping[str, Any]], kind: str, most: int = MOST_RIDGES) -> dict[str, dict[str, Any]]:
    """By layer: the histograms of `most` looks on one scale, as bytes in base64, with the steps and the scale's ends.

    Each look is one row of `RIDGE_BINS` heights, 255 being the highest of the layer.
    """
    by_layer: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for look in looks:
        for layer, histogram in look[kind].items():
            if histogram["counts"]:
                by_layer.setdefault(layer, []).append((look["step"], histogram))
    return {layer: _ridge(thinned(rows, most)) for layer, rows in by_layer.items()}


def _ridge(rows: Sequence[tuple[int, Mapping[str, Any]]]) -> dict[str, Any]:
    low, high = min(h["low"] for _, h in rows), max(h["high"] for _, h in rows)
    edges = np.linspace(low, high if high > low else low + 1e-12, RIDGE_BINS + 1)
    drawn = []
    for _, histogram in rows:
        own = np.linspace(histogram["low"], histogram["high"], len(histogram["counts"]) + 1)
        share = np.concatenate([[0.0], np.cumsum(histogram["counts"])]) / histogram["n"]
        drawn.append(np.diff(np.interp(edges, own, share)))  # a histogram's share between the edges
    heights = np.sqrt(np.array(drawn))  # the tails are what one looks for
    scaled = np.round(255 * heights / max(heights.max(), 1e-12)).astype(np.uint8)
    return {
        "low": float(low),
        "high": float(high),
        "steps": [step for step, _ in rows],
        "rows": base64.b64encode(scaled.tobytes()).decode(),
    }
