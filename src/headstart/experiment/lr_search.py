"""Finding each arm's learning rate before the comparison: equal budgets, seeds of its own, no arm against another.

A rung keeps the best few rates within an arm; they run whole on the search seeds, and the best mean on val is taken.
Where an arm's best lies at the edge of the grid, one more point is added, for every arm alike, at most twice. A rung is
the beginning of the whole run, which goes on from there: nothing is trained twice. How long it is, `eta.rung_epochs`
says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headstart.analysis.run_records import RunRecord, epoch_score

EXTENSIONS = 2
Score = tuple[float, float]  # of val: the metric, and minus the loss, which breaks ties


@dataclass(frozen=True)
class Trial:
    """One learning rate of one cell on one search seed; with `rung` only as much of it as a rung has.

    `extension` counts how often the grid had been widened when it was asked for.
    """

    cell: str
    rate: float
    seed: int
    rung: bool
    extension: int = 0


@dataclass
class Outcome:
    """What a search found: `chosen` rates, best rates at an `edges` of the grid, and everything that was tried."""

    chosen: dict[str, float]
    edges: dict[str, float]
    tried: dict[str, dict[str, Any]] = field(default_factory=dict)
    grid: list[float] = field(default_factory=list)


def search(
    cells: Sequence[str],
    grid: Iterable[float],
    seeds: Sequence[int],
    *,
    survivors: int,
    metric: str,
    run: Callable[[Sequence[Trial]], Mapping[Trial, RunRecord]],
) -> Outcome:
    """Choose a rate for each cell. `run` carries trials out and gives their records; it may know them already."""
    points = sorted(set(grid))
    rungs: dict[str, dict[float, Score]] = {cell: {} for cell in cells}
    whole: dict[str, dict[float, list[float]]] = {cell: {} for cell in cells}
    diverged: set[tuple[str, float]] = set()
    chosen: dict[str, float] = {}
    edges: dict[str, float] = {}
    for extension in range(EXTENSIONS + 1):
        wanted = [
            Trial(cell, rate, seeds[0], True, extension) for cell in cells for rate in points if rate not in rungs[cell]
        ]
        for trial, record in run(wanted).items():
            rungs[trial.cell][trial.rate] = rung_score(record, metric)
        kept = {cell: best_rates(rungs[cell], survivors) for cell in cells}
        trials = [
            Trial(cell, rate, seed, False, extension)
            for cell in cells
            for rate in kept[cell]
            if rate not in whole[cell]
            for seed in seeds
        ]
        for trial, record in run(trials).items():
            whole[trial.cell].setdefault(trial.rate, []).append(record.val_score(metric))
            if record.result.get("state") == "diverged":
                diverged.add((trial.cell, trial.rate))
        means = {cell: {rate: sum(s) / len(s) for rate, s in whole[cell].items()} for cell in cells}
        chosen = {cell: best_rates({rate: (mean, 0.0) for rate, mean in means[cell].items()}, 1)[0] for cell in cells}
        edges = {
            cell: rate
            for cell, rate in chosen.items()
            if rate in (points[0], points[-1]) and (cell, rate) not in diverged
        }
        if not edges or extension == EXTENSIONS:
            break
        points = extended(points, edges.values())
    tried = {
        cell: {
            f"{rate:g}": {"rung": rungs[cell][rate][0], "whole": whole[cell].get(rate, [])} for rate in sorted(points)
        }
        for cell in cells
    }
    return Outcome(chosen, edges, tried, points)


def rung_score(record: RunRecord, metric: str) -> Score:
    """Of the rung's last epoch on val; the lowest there is where the run diverged before that was validated."""
    if len(record.epochs) < record.rung and record.result.get("state") != "finished":
        return (-1.0, 0.0)
    last = record.epochs[: record.rung][-1]
    return epoch_score(last, metric), -float(last["val"]["loss"])


def best_rates(scores: Mapping[float, Score], survivors: int) -> list[float]:
    """The `survivors` best rates; of equals the smaller one."""
    return sorted(scores, key=lambda rate: (scores[rate], -rate), reverse=True)[:survivors]


def extended(points: Sequence[float], at: Iterable[float]) -> list[float]:
    """The grid with one more point beyond each end that is in `at`, as far as the last two points are apart."""
    ends, ordered = set(at), sorted(points)
    found = list(ordered)
    if ordered[0] in ends:
        found.insert(0, float(f"{ordered[0] ** 2 / ordered[1]:.3g}") if len(ordered) > 1 else ordered[0] / 10)
    if ordered[-1] in ends:
        found.append(float(f"{ordered[-1] ** 2 / ordered[-2]:.3g}") if len(ordered) > 1 else ordered[-1] * 10)
    return found
