"""Search each arm's learning rate: equal budgets, separate seeds, no comparison between arms.

The search uses one rung, as in ASHA: every rate is first trained for a few epochs (the rung; `workload.rung_epochs`
gives the number), and the best few rates of each arm, the survivors, are trained to the end on the search seeds. The
rate with the best mean on val is selected. A run continues from its rung, so that no epoch is trained twice. If the
best rate of an arm lies at an edge of the grid, one rate is added there for every arm, at most twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from headstart.analysis.run_records import RunRecord, epoch_score
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.search import ArmSearch, SearchGroup, TrialScores

MAX_EXTENSIONS = 2  # rates that may be added at each end of the grid
TrialScore = tuple[float, float]  # on val: the metric, and minus the loss for equal metrics


@dataclass(frozen=True)
class Trial:
    """One learning rate of one variant on one search seed.

    Attributes:
        variant: Name of the arm variant.
        rate: Learning rate.
        seed: Search seed.
        rung: Train only the rung, not the whole run.
        extension: How often the grid had been extended when the trial was requested.
    """

    variant: str
    rate: float
    seed: int
    rung: bool
    extension: int = 0


def search(
    variants: Sequence[str],
    grid: Iterable[float],
    seeds: Sequence[int],
    *,
    budget: str,
    group: int | None,
    survivors: int,
    metric: str,
    run: Callable[[Sequence[Trial]], Mapping[Trial, RunRecord]],
) -> SearchGroup:
    """Choose a learning rate for each variant.

    Args:
        variants: Names of the arm variants.
        grid: Learning rates to try.
        seeds: Search seeds. Rungs use the first one, whole runs all of them.
        budget: Training length of the whole runs, for the result.
        group: Seed whose runs will have the selected rates; None for all seeds.
        survivors: Number of rates per variant that are trained to the end.
        metric: Name of the metric on val.
        run: Runs trials and returns their records. It may return records of earlier runs.
    """
    rates = sorted(set(grid))
    rungs: dict[str, dict[float, TrialScore]] = {variant: {} for variant in variants}
    whole: dict[str, dict[float, list[float]]] = {variant: {} for variant in variants}
    diverged: set[tuple[str, float]] = set()
    selected: dict[str, float] = {}
    edges: dict[str, float] = {}
    for extension in range(MAX_EXTENSIONS + 1):
        for trial, record in run(_rung_trials(rungs, rates, seeds[0], extension)).items():
            rungs[trial.variant][trial.rate] = rung_score(record, metric)
        best = {variant: best_rates(rungs[variant], survivors) for variant in variants}
        for trial, record in run(_full_trials(whole, best, seeds, extension)).items():
            whole[trial.variant].setdefault(trial.rate, []).append(record.val_score(metric))
            if record.state is RunState.DIVERGED:
                diverged.add((trial.variant, trial.rate))
        selected = {variant: _best_mean(whole[variant]) for variant in variants}
        edges = {
            variant: rate
            for variant, rate in selected.items()
            if rate in (rates[0], rates[-1]) and (variant, rate) not in diverged
        }
        if not edges or extension == MAX_EXTENSIONS:
            break
        rates = extend_grid(rates, edges.values())
    arms = []
    for variant, rate in selected.items():
        tried = [_scores(value, rungs[variant], whole[variant]) for value in rates]
        arms.append(ArmSearch(arm=variant, selected=rate, at_edge=variant in edges, tried=tried))
    return SearchGroup(budget=budget, seed=group, grid=rates, arms=arms)


def _rung_trials(
    rungs: Mapping[str, Mapping[float, TrialScore]], rates: Sequence[float], seed: int, extension: int
) -> list[Trial]:
    """Return the rungs of the variants that are not in `rungs`."""
    return [
        Trial(variant, rate, seed, True, extension)
        for variant, scores in rungs.items()
        for rate in rates
        if rate not in scores
    ]


def _full_trials(
    whole: Mapping[str, Mapping[float, list[float]]],
    survivors: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    extension: int,
) -> list[Trial]:
    """Return the whole runs of the surviving rates that are not in `whole`."""
    return [
        Trial(variant, rate, seed, False, extension)
        for variant, scores in whole.items()
        for rate in survivors[variant]
        if rate not in scores
        for seed in seeds
    ]


def _best_mean(scores: Mapping[float, Sequence[float]]) -> float:
    """Return the rate with the best mean score."""
    return best_rates({rate: (sum(values) / len(values), 0.0) for rate, values in scores.items()}, 1)[0]


def _scores(rate: float, rungs: Mapping[float, TrialScore], whole: Mapping[float, list[float]]) -> TrialScores:
    """Return the scores of one learning rate of a variant."""
    return TrialScores(lr=rate, rung=rungs[rate][0], full_runs=whole.get(rate, []))


def rung_score(record: RunRecord, metric: str) -> TrialScore:
    """Return the score of the rung's last epoch on val; the lowest score if the run diverged before that epoch."""
    if len(record.epochs) < record.rung and record.state is not RunState.FINISHED:
        return (-1.0, 0.0)
    last = record.epochs[: record.rung][-1]
    return epoch_score(last, metric), -last.val.loss


def best_rates(scores: Mapping[float, TrialScore], survivors: int) -> list[float]:
    """Return the `survivors` best rates, best first; of rates with equal scores, the smaller one is better."""
    return sorted(scores, key=lambda rate: (scores[rate], -rate), reverse=True)[:survivors]


def extend_grid(rates: Sequence[float], edges: Iterable[float]) -> list[float]:
    """Return the grid with one more rate beyond each end that is in `edges`.

    The new rate keeps the ratio of the last two rates at that end; a grid of one rate is extended by a factor of 10.
    """
    ends, ordered = set(edges), sorted(rates)
    extended = list(ordered)
    if ordered[0] in ends:
        extended.insert(0, float(f"{ordered[0] ** 2 / ordered[1]:.3g}") if len(ordered) > 1 else ordered[0] / 10)
    if ordered[-1] in ends:
        extended.append(float(f"{ordered[-1] ** 2 / ordered[-2]:.3g}") if len(ordered) > 1 else ordered[-1] * 10)
    return extended
