"""Runs loaded for plotting: their records, unique names and curves. All numbers come from the run records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from headstart.analysis.run_records import RunRecord, elapsed, epoch_score
from headstart.analysis.statistics import t_interval
from headstart.analysis.wording import arm_words, data_key, data_names, labels_share, length_words, network_words
from headstart.diagnostics.history import History
from headstart.i18n import Message, _, join
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.metrics import BeginLine, EpochLine, SnapshotLine, StepLine


@dataclass
class PlottedRun:
    """One run with its record.

    Args:
        run: The run.
        name: Name on the page.
        arm: Name of its arm.
        history: Lines of its record that concern health.
        started: Seconds since 1970 at which its record begins; 0 without a record.
        rates: Learning rates [(step, rate), …] of each part of the network.
        snapshots: Lines of the record with histograms of weights and gradients.
    """

    run: RunRecord
    name: Message
    arm: str
    history: History
    started: float = 0.0
    rates: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    snapshots: list[SnapshotLine] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.run.folder

    @property
    def spec(self) -> ArmSpec:
        """Variant in its study, else arm."""
        return self.run.spec

    @property
    def epochs(self) -> Sequence[EpochLine]:
        """Epoch lines of the record."""
        return self.history.epochs

    def curve(self, unit: str, metric: str) -> list[tuple[float, float]]:
        """Return a metric on val in per cent over epochs, images or seconds.

        Args:
            unit: "epochs", "images" or "seconds".
            metric: Name of the metric.
        """
        points = []
        for line, images, seconds in elapsed(self.epochs, self.run.plan.recipe.batch_size):
            x = {"epochs": float(line.epoch), "images": float(images), "seconds": round(seconds, 2)}[unit]
            points.append((x, 100 * epoch_score(line, metric)))
        return points


def load_run(run: RunRecord) -> PlottedRun:
    """Return the run with its record, read in one pass."""
    history = History(run.plan, state=run.state)
    name = _("{arm}, seed {seed}", arm=arm_words(run.spec), seed=run.seed)
    plotted = PlottedRun(run, name, run.arm, history)
    for line in run.lines():
        history.add(line)
        if isinstance(line, StepLine):
            for part, rate in line.lr.items():
                plotted.rates.setdefault(part, []).append((line.step, rate))
        elif isinstance(line, SnapshotLine):
            plotted.snapshots.append(line)
        elif isinstance(line, BeginLine):
            plotted.started = line.time
    return plotted


def with_unique_names(runs: Sequence[PlottedRun]) -> list[PlottedRun]:
    """Return the runs with what distinguishes runs of equal names added to them.

    This is the length and the share of the images, else the learning rate, else the folder.
    """
    for suffix in (_condition, lambda run: f"{run.run.rate:g}", lambda run: run.run.folder.name):
        by_name: dict[str, list[PlottedRun]] = {}
        for run in runs:
            by_name.setdefault(run.name, []).append(run)
        distinguished = {
            name for name, group in by_name.items() if len({suffix(run) for run in group}) == len(group) > 1
        }
        runs = [
            replace(run, name=join([run.name, suffix(run)], ", ")) if run.name in distinguished else run for run in runs
        ]
    return list(runs)


def _condition(run: PlottedRun) -> str:
    plan = run.run.plan
    return join([length_words(plan.recipe.epochs), labels_share(plan.data.fraction)], ", ")


def mean_and_band(
    paths: Sequence[Sequence[tuple[float, float]]],
) -> tuple[list[tuple[float, float]], list[tuple[float, float, float]]]:
    """Return the mean of paths, point by point, and its pointwise 95 % t interval (Student 1908).

    Each point is the mean of the paths that reach it. x advances by the mean step of these paths: the mean of their x
    could lie before the previous point after the slowest path has ended. A single path has a mean and no interval.

    Args:
        paths: Paths [(x, y), …].

    Returns:
        Mean [(x, y), …] and band [(x, low, high), …].
    """
    mean: list[tuple[float, float]] = []
    band: list[tuple[float, float, float]] = []
    x = 0.0
    for index in range(max(map(len, paths), default=0)):
        active = [path for path in paths if len(path) > index]
        x += float(np.mean([path[index][0] - (path[index - 1][0] if index else 0.0) for path in active]))
        values = [path[index][1] for path in active]
        mean.append((x, float(np.mean(values))))
        if len(active) > 1:
            band.append((x, *t_interval(values)))
    return mean, band


def group_by_recipe(runs: Sequence[PlottedRun]) -> dict[Message, list[PlottedRun]]:
    """Return the runs by arm and by what varies between the runs of this arm other than the seed."""
    data = data_names([run.run.plan for run in runs])
    recipes: dict[str, list[tuple[Message, ...]]] = {}
    for run in runs:
        recipes.setdefault(run.arm, []).append(_recipe_words(run, data))
    groups: dict[Message, list[PlottedRun]] = {}
    for run in runs:
        varies = [len(set(words)) > 1 for words in zip(*recipes[run.arm], strict=True)]
        suffixes = [words for words, differs in zip(_recipe_words(run, data), varies, strict=True) if differs]
        groups.setdefault(join([arm_words(run.spec), *suffixes], ", "), []).append(run)
    return groups


def _recipe_words(run: PlottedRun, data: Mapping[str, Message]) -> tuple[Message, ...]:
    """Return data, network, learning rate, length and share of the labels of a run.

    Args:
        run: The run.
        data: Names of the data of all runs, by `data_key`.
    """
    plan = run.run.plan
    return (
        _("on {data}", data=data[data_key(plan)]),
        network_words(plan.network),
        _("at {rate:g}", rate=run.run.rate),
        length_words(plan.recipe.epochs),
        labels_share(plan.data.fraction),
    )
