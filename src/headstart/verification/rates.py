"""The learning rates that the search selects: one rung of successive halving, as in ASHA.

Each rate is trained for a rung; the best of each arm, the survivors, are trained to the end, and the best mean on val
is selected (Li et al. 2020, *A System for Massively Parallel Hyperparameter Tuning*). A best rate at an edge of the
grid adds a rate there, with the ratio of the last two, at most twice. With a search for each seed, a later seed tries
the rates of the seed before, of all arms, and their neighbors, and an arm with a frozen backbone the whole grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from headstart.errors import DataError
from headstart.i18n import _
from headstart.storage.schemas.result import RunState
from headstart.verification.declaration import Declaration
from headstart.verification.records import RecordedPlan, RecordedRun, score
from headstart.verification.tree import Tree

MAX_EXTENSIONS = 2  # of each end of the grid
NEAR_RATES = 3  # that a later seed tries
Trials = dict[tuple[str, float, int], RecordedRun]  # by variant, rate and seed


def rung_of(plan: RecordedPlan) -> int:
    """Return the epochs of the first rung: 1, or for lp-ft the first epoch that is at least half fine-tuning."""
    if plan.arm.tuning != "lp-ft":
        return 1
    epoch = math.ceil(plan.facts.split_counts.train / plan.recipe.batch_size)
    whole = _steps(plan.recipe.epochs, epoch, 0)
    head = _steps(plan.recipe.head_epochs, epoch, whole)
    last = math.ceil(whole / epoch) - 1
    return next((k for k in range(1, last) if 2 * (k * epoch - head) >= epoch), max(last, 1))


def search_groups(declared: Declaration, runs: Sequence[RecordedRun]) -> list[Tree]:
    """Return what the searches of a study selected, from the runs in its folder `search`; none without runs."""
    groups = []
    grid = sorted(set(declared.protocol.grid))
    grids, near = dict.fromkeys(declared.budgets, grid), {budget: dict[str, float]() for budget in declared.budgets}
    seeds = sorted({run.seed for run in runs})
    is_own = declared.protocol.search == "per-seed"  # each seed has its own search
    parts = [[seed] for seed in seeds] if is_own else [seeds] if seeds else []
    narrow = [name for name in declared.names if str(declared.arm(name).tuning) != "frozen"]
    for part in parts:
        for budget in declared.budgets:
            trials = {
                (run.variant, run.rate, run.seed): run
                for run in runs
                if run.condition[0] == budget and run.seed in part
            }
            result = _search(declared, trials, part, grids[budget], near[budget])
            groups.append({"budget": budget, "seed": part[0] if is_own else None, **result})
            grids[budget] = result["grid"]
            near[budget] = {arm["arm"]: arm["selected"] for arm in result["arms"] if arm["arm"] in narrow}
    return groups


def rate_faults(groups: Sequence[Tree], runs: Iterable[RecordedRun]) -> list[str]:
    """Return the folders of the runs that were trained with another rate than the selected one."""
    selected = {
        (group["budget"], arm["arm"], group["seed"]): arm["selected"] for group in groups for arm in group["arms"]
    }
    wrong = []
    for run in runs if groups else ():
        keys = [(run.condition[0], run.variant, seed) for seed in (None, run.seed)]
        if run.rate not in [selected[key] for key in keys if key in selected]:
            wrong.append(run.folder.name)
    return wrong


def _search(
    declared: Declaration, trials: Trials, seeds: Sequence[int], grid: list[float], near: dict[str, float]
) -> Tree:
    """Return the result of one search. Raises DataError if a run of it is missing.

    Args:
        declared: What the study declares.
        trials: Runs of the search.
        seeds: Their seeds.
        grid: The grid, with the rates that earlier seeds have added.
        near: Rate of the seed before, of the variants that are searched near it.
    """
    protocol, rates = declared.protocol, grid
    common = sorted({rate for selected in near.values() for rate in _near(grid, selected)})
    tried = {name: list(common if name in near else grid) for name in declared.names}
    whole: dict[str, dict[float, list[float]]] = {name: {} for name in declared.names}
    while True:
        for name, scores in whole.items():
            ranked = sorted(tried[name], key=lambda rate: (_rung(trials, name, rate, seeds[0], protocol.metric), -rate))
            for rate in reversed(ranked[-protocol.survivors :]):
                scores[rate] = [_whole(_trial(trials, name, rate, seed), protocol.metric) for seed in seeds]
        best = {name: _best(scores) for name, scores in whole.items()}
        finished = {
            name for name, rate in best.items()
            if all(trials[name, rate, seed].state is RunState.FINISHED for seed in seeds)
        }  # fmt: skip
        edges = {name: best[name] for name in best if best[name] in (rates[0], rates[-1]) and name in finished}
        wider = _extended(rates, {rate for rate in edges.values() if _may_grow(rates, rate, protocol.grid)})
        if wider == rates:
            break
        for name in tried:
            tried[name] += [rate for rate in wider if rate not in rates]
        rates = wider
    arms = []
    for name, scores in whole.items():
        rows = [
            {
                "lr": rate,
                "rung": _rung(trials, name, rate, seeds[0], protocol.metric)[0],
                "full_runs": scores.get(rate, []),
            }
            for rate in sorted(tried[name])
        ]
        arms.append({"arm": name, "selected": best[name], "at_edge": name in edges, "tried": rows})
    return {"grid": rates, "arms": arms}


def _near(grid: list[float], rate: float) -> list[float]:
    """Return a rate of the grid and its neighbors; at an end of the grid the last three rates."""
    middle = min(max(grid.index(rate), 1), max(len(grid) - 2, 1))
    return grid[middle - 1 : middle - 1 + NEAR_RATES]


def _may_grow(rates: list[float], end: float, declared: Sequence[float]) -> bool:
    """Return whether the grid may have a further rate beyond one of its ends."""
    beyond = [rate for rate in rates if (rate < min(declared) if end == rates[0] else rate > max(declared))]
    return len(beyond) < MAX_EXTENSIONS


def _best(scores: dict[float, list[float]]) -> float:
    return max(scores, key=lambda rate: (sum(scores[rate]) / len(scores[rate]), -rate))


def _extended(rates: list[float], ends: set[float]) -> list[float]:
    """Return the grid with a rate beyond each of its ends that is in `ends`, rounded to three digits."""
    below = [rates[0] ** 2 / rates[1] if len(rates) > 1 else rates[0] / 10] if rates[0] in ends else []
    above = [rates[-1] ** 2 / rates[-2] if len(rates) > 1 else rates[-1] * 10] if rates[-1] in ends else []
    rounded = [float(f"{rate:.3g}") if len(rates) > 1 else rate for rate in (*below, *above)]
    return [*rounded[: len(below)], *rates, *rounded[len(below) :]]


def _rung(trials: Trials, name: str, rate: float, seed: int, metric: str) -> tuple[float, float]:
    """Return the metric at the end of the rung, and minus the loss; the lowest if the run diverged before."""
    run = _trial(trials, name, rate, seed)
    rung = rung_of(run.plan)
    if not run.epochs or (len(run.epochs) < rung and run.state is not RunState.FINISHED):
        return -1.0, 0.0
    line = run.epochs[:rung][-1]
    return score(line, metric), -line.val.loss


def _whole(run: RecordedRun, metric: str) -> float:
    """Return the metric of the best epoch of a run that has ended; 0 if none was validated."""
    if run.result is None:
        raise _missing(run.folder.parent.parent, run.variant, run.rate, run.seed)
    return score(run.best, metric) if run.best else 0.0


def _trial(trials: Trials, name: str, rate: float, seed: int) -> RecordedRun:
    if (run := trials.get((name, rate, seed))) is None:
        study = next(iter(trials.values())).folder.parent.parent
        raise _missing(study, name, rate, seed)
    return run


def _missing(study: Path, name: str, rate: float, seed: int) -> DataError:
    return DataError(
        _(
            "The search of {study} has no whole run of {arm} with the rate {rate:g} and the seed {seed}.",
            study=study,
            arm=name,
            rate=rate,
            seed=seed,
        ),
        _("Restore the folder `search` from a copy."),
    )


def _steps(length: str, epoch: int, whole: int) -> int:
    """Return a length such as `10ep`, `500st` or `30%` in steps, rounded to the nearest."""
    if length.endswith("%"):
        return math.floor(float(length[:-1]) / 100 * whole + 0.5)
    value = float(length[:-2])
    return math.floor(value * epoch + 0.5) if length.endswith("ep") else int(value)
