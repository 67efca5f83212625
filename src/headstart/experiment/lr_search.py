"""Search each arm's learning rate on val: equal budgets, no comparison between arms.

The search uses one rung, as in ASHA: every rate is first trained for a few epochs (the rung; `workload.rung_epochs`
gives the number), and the best few rates of each arm, the survivors, are trained to the end. The rate with the best
mean on val is selected. A run continues from its rung, so that no epoch is trained twice. If the best rate of an arm
lies at an edge of the grid, one rate is added there for every arm, at most twice at each edge.

With one search per seed, the first seed tries the whole grid, and a later seed the rates near those that the seed
before it selected: of all arms, so that equal arms have the same chances on each seed. The grid with its additional
rates is that of the later seeds, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headstart.analysis.run_records import RunRecord, epoch_score
from headstart.storage.schemas.arm import Tuning, TuningKind
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.search import ArmSearch, SearchGroup, TrialScores

MAX_EXTENSIONS = 2  # rates that may be added at each end of the grid
NEAR_RATES = 3  # rates that a later seed tries at least: the one that worked and its neighbors

TrialScore = tuple[float, float]  # on val: the metric, and minus the loss for equal metrics


def is_narrow(tuning: Tuning | None) -> bool:
    """Return whether later seeds search an arm near the rates that worked: trials of a frozen backbone cost nothing."""
    return tuning is None or tuning.kind is not TuningKind.FROZEN


@dataclass(frozen=True)
class Trial:
    """One learning rate of one variant on one seed.

    Attributes:
        variant: Name of the arm variant.
        rate: Learning rate.
        seed: Seed.
        rung: Train only the rung, not the whole run.
        extension: How often the search had extended the grid when the trial was requested.
    """

    variant: str
    rate: float
    seed: int
    rung: bool
    extension: int = 0


@dataclass(frozen=True)
class TrialResult:
    """Result of a trial on val.

    Attributes:
        score: The metric after the rung or of the best epoch, and minus the loss after the rung, for equal metrics.
        is_diverged: Whether the run diverged.
    """

    score: TrialScore
    is_diverged: bool = False

    @classmethod
    def of(cls, trial: Trial, record: RunRecord, metric: str) -> TrialResult:
        """Return the result of a trial from the record of its run."""
        score = rung_score(record, metric) if trial.rung else (record.val_score(metric), 0.0)
        return cls(score, record.state is RunState.DIVERGED)


@dataclass(frozen=True)
class SearchSpace:
    """The learning rates of a search.

    Attributes:
        grid: The grid, ascending, with the rates that earlier seeds have added.
        declared: The declared grid, ascending.
        near: The rates near which its variants are searched; a variant that is not in it searches the whole grid.
    """

    grid: tuple[float, ...]
    declared: tuple[float, ...]
    near: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, grid: Iterable[float]) -> SearchSpace:
        """Return the space of the first search on a declared grid."""
        rates = tuple(sorted(set(grid)))
        return cls(rates, rates)

    def after(self, group: SearchGroup, narrow: Iterable[str]) -> SearchSpace:
        """Return the space of the next seed.

        Args:
            group: Result of the search of this seed.
            narrow: Names of the variants that the next seed searches near their selected rates.
        """
        near = {variant: group.arm(variant).selected for variant in narrow}
        return SearchSpace(tuple(group.grid), self.declared, near)

    def rates(self, variant: str) -> tuple[float, ...]:
        """Return the rates that a variant tries before the grid is extended."""
        if variant not in self.near:
            return self.grid
        return tuple(sorted({rate for selected in self.near.values() for rate in self.window(selected)}))

    def window(self, rate: float) -> tuple[float, ...]:
        """Return a rate of the grid and its neighbors; at an end of the grid the last three rates."""
        first = max(0, min(self.grid.index(rate) - NEAR_RATES // 2, len(self.grid) - NEAR_RATES))
        return self.grid[first : first + NEAR_RATES]

    def extended(self, edges: Iterable[float]) -> SearchSpace:
        """Return the space with one more rate beyond each end of the grid that is in `edges`, where it is allowed."""
        added = {
            self.grid[0]: sum(rate < self.declared[0] for rate in self.grid),
            self.grid[-1]: sum(rate > self.declared[-1] for rate in self.grid),
        }
        allowed = [rate for rate in edges if added[rate] < MAX_EXTENSIONS]
        return SearchSpace(tuple(extend_grid(self.grid, allowed)), self.declared, self.near)


def search(
    variants: Sequence[str],
    space: SearchSpace,
    seeds: Sequence[int],
    *,
    budget: str,
    group: int | None,
    survivors: int,
    run: Callable[[Sequence[Trial]], Mapping[Trial, TrialResult]],
) -> SearchGroup:
    """Choose a learning rate for each variant.

    Args:
        variants: Names of the arm variants.
        space: Learning rates to try.
        seeds: Seeds. Rungs use the first one, whole runs all of them.
        budget: Training length of the whole runs, for the result.
        group: Seed whose runs will have the selected rates; None for all seeds.
        survivors: Number of rates per variant that are trained to the end.
        run: Runs trials and returns their results. It may return results of earlier runs.
    """
    rates = {variant: list(space.rates(variant)) for variant in variants}
    rungs: dict[str, dict[float, TrialScore]] = {variant: {} for variant in variants}
    whole: dict[str, dict[float, list[float]]] = {variant: {} for variant in variants}
    diverged: set[tuple[str, float]] = set()
    extension = 0
    while True:
        for trial, result in run(_rung_trials(rungs, rates, seeds[0], extension)).items():
            rungs[trial.variant][trial.rate] = result.score
        best = {variant: best_rates(rungs[variant], survivors) for variant in variants}
        for trial, result in run(_full_trials(whole, best, seeds, extension)).items():
            whole[trial.variant].setdefault(trial.rate, []).append(result.score[0])
            if result.is_diverged:
                diverged.add((trial.variant, trial.rate))
        selected = {variant: _best_mean(whole[variant]) for variant in variants}
        edges = {
            variant: rate
            for variant, rate in selected.items()
            if rate in (space.grid[0], space.grid[-1]) and (variant, rate) not in diverged
        }
        wider = space.extended(edges.values())
        if wider == space:
            break
        for tried in rates.values():
            tried += [rate for rate in wider.grid if rate not in space.grid]
        space, extension = wider, extension + 1
    arms = []
    for variant, rate in selected.items():
        tried_scores = [_scores(value, rungs[variant], whole[variant]) for value in sorted(rates[variant])]
        arms.append(ArmSearch(arm=variant, selected=rate, at_edge=variant in edges, tried=tried_scores))
    return SearchGroup(budget=budget, seed=group, grid=list(space.grid), arms=arms)


def _rung_trials(
    rungs: Mapping[str, Mapping[float, TrialScore]], rates: Mapping[str, Sequence[float]], seed: int, extension: int
) -> list[Trial]:
    """Return the rungs of the variants that are not in `rungs`."""
    return [
        Trial(variant, rate, seed, True, extension)
        for variant, scores in rungs.items()
        for rate in rates[variant]
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
