"""Simulated searches of the learning rate: response curves of equal arms, and the project's own search on them.

The accuracy of a run falls with the distance of its rate from an optimum, by a drop in logits:

    distance = log10(rate) - optimum of the run,   optimum of the run ~ N(optimum of the study, JITTER²)
    drop = steepness * (BELOW * (-distance - FLAT)₊ + ABOVE * (distance - FLAT)₊), and DIVERGED beyond DIVERGENCE

All arms of a study have the same optimum and steepness, which differ between studies, and with them the same expected
accuracy at each rate. Their selected rates differ by chance only: by the jitter, by the effects of seeds and runs, and
by the noise of 165 images of val. The optima include the best rates of the real records, 0.01 to 1.25. The slopes are
theirs, too: accuracy falls by 2 to 3 points from the best rate to one fifth of it, and by 9 to 14 points to five times
it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median_low

import numpy as np

from headstart.config.study_config import DEFAULT_LR_GRID, StudyConfig
from headstart.experiment.lr_search import SearchSpace, Trial, TrialResult, search
from headstart.storage.schemas.search import SearchGroup
from tests.simulated import VAL_IMAGES
from tests.simulation.populations import Array, ImageSampler, Population

OPTIMA = (-3.5, 0.0)  # log10 of the optima of studies; the grid is from -4 to -1.3, with additional rates to 0.1
STEEPNESS = (0.5, 2.0)
JITTER = 0.15  # decades
BELOW, ABOVE, FLAT = 0.6, 1.2, 0.2  # logits per decade, logits per decade, decades
DIVERGENCE, DIVERGED = 1.2, 4.0  # decades above the optimum, logits
RUNG_LEVEL, RUNG_JITTER = -1.0, 0.2  # a rung is worse by this many logits, and its optimum differs by N(0, 0.2²)
SHARED_BY_RATES = 0.5  # share of the variance of seeds that the runs of one seed at different rates have in common
EPOCHS = 8  # length of a whole run; a rung has 1
SEARCH_SEEDS = 1_000_000_000
SURVIVORS: int = StudyConfig.model_fields["survivors"].default


class Rule(StrEnum):
    """Which rates are searched."""

    PER_SEED = "per seed"  # the default of the project: later seeds near the rates of all arms on the seed before
    WHOLE = "per seed, whole grid"
    MEDIAN = "per seed, near the median"  # of the rates that the seeds before selected
    OWN = "per seed, near the rate of the arm"  # on the seed before
    SHARED = "shared"


class OwnSpace(SearchSpace):
    """Learning rates of a search in which every arm tries the rates near its own."""

    def rates(self, variant: str) -> tuple[float, ...]:
        """Return the rates that a variant tries before the grid is extended."""
        return self.window(self.near[variant]) if variant in self.near else self.grid


@dataclass(frozen=True)
class Curve:
    """Response curve of a study: drop of the accuracy in logits by rate."""

    optimum: float
    steepness: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Curve:
        """Draw the curve of a study."""
        return cls(rng.uniform(*OPTIMA), np.exp(rng.uniform(*np.log(STEEPNESS))))

    def drop(self, rate: float, jitter: float | Array) -> Array:
        """Return the drop of runs whose optimum is `jitter` decades above that of the study."""
        distance = np.log10(rate) - self.optimum - jitter
        slope = BELOW * np.maximum(-distance - FLAT, 0) + ABOVE * np.maximum(distance - FLAT, 0)
        return np.where(distance > DIVERGENCE, DIVERGED, self.steepness * slope)


@dataclass
class Training:
    """Simulated runs of one study; the same run has the same result whenever it is asked for.

    Attributes:
        population: Images of val and test.
        curve: Response curve of all arms.
        rng: Source of random numbers.
        levels: Effect of each whole run, in logits, by arm, seed and rate.
        drops: The part of it that is due to the rate.
        runs: Number of runs by their number of new epochs.
    """

    population: Population
    curve: Curve
    rng: np.random.Generator
    levels: dict[tuple[str, int, float], float] = field(default_factory=dict)
    drops: dict[tuple[str, int, float], float] = field(default_factory=dict)
    runs: Counter[int] = field(default_factory=Counter)
    _rungs: set[tuple[str, int, float]] = field(default_factory=set)
    _seeds: dict[tuple[str, int], tuple[float, float]] = field(default_factory=dict)
    _val: dict[int, tuple[Array, dict[str, Array]]] = field(default_factory=dict)

    def run(self, trials: Sequence[Trial]) -> Mapping[Trial, TrialResult]:
        """Run trials of a search and return their results on val."""
        return {trial: self._result(trial) for trial in trials}

    def level(self, arm: str, seed: int, rate: float) -> float:
        """Return the effect of a whole run; it is trained if it was not."""
        key = arm, seed, rate
        if key not in self.levels:
            jitter, of_seed = self._of_seed(arm, seed)
            own = self.rng.normal(0, self.population.seed_sd * np.sqrt(1 - SHARED_BY_RATES))
            self.drops[key] = float(self.curve.drop(rate, jitter))
            self.levels[key] = of_seed + own - self.drops[key]
            self.runs[EPOCHS - (key in self._rungs)] += 1
        return self.levels[key]

    def _result(self, trial: Trial) -> TrialResult:
        arm, seed, rate = trial.variant, trial.seed, trial.rate
        if trial.rung:
            jitter, of_seed = self._of_seed(arm, seed)
            drop = float(self.curve.drop(rate, jitter + self.rng.normal(0, RUNG_JITTER)))
            own = self.rng.normal(0, self.population.seed_sd * np.sqrt(1 - SHARED_BY_RATES))
            level, is_diverged = RUNG_LEVEL + of_seed + own - drop, drop == DIVERGED
            self._rungs.add((arm, seed, rate))
            self.runs[1] += 1
        else:
            level = self.level(arm, seed, rate)
            is_diverged = self.drops[arm, seed, rate] == DIVERGED
        latent = self._val_latent(arm, seed) + level + self.rng.logistic(size=VAL_IMAGES)
        return TrialResult((float((latent > 0).mean()), float(latent.mean())), is_diverged)

    def _of_seed(self, arm: str, seed: int) -> tuple[float, float]:
        """Return the jitter of the optimum, and the effect of a seed that all its rates share."""
        key = arm, seed
        if key not in self._seeds:
            sd = self.population.seed_sd * np.sqrt(SHARED_BY_RATES)
            self._seeds[key] = self.rng.normal(0, JITTER), self.rng.normal(0, sd)
        return self._seeds[key]

    def _val_latent(self, arm: str, seed: int) -> Array:
        """Return ease and effects of the images of val, which differ between seeds."""
        sampler = ImageSampler(VAL_IMAGES)
        if seed not in self._val:
            self._val[seed] = sampler.ease(self.population, self.rng), {}
        ease, effects = self._val[seed]
        if arm not in effects:
            effects[arm] = sampler.arm_effects(1, self.rng)[0]
        return ease + effects[arm]


@dataclass(frozen=True, eq=False)
class SearchedRuns:
    """The runs that a search selected for the comparison.

    Attributes:
        levels: Effect of each run in logits, [arms, seeds].
        accuracies: Expected accuracy at the selected rates, [arms, seeds].
        regret: Expected accuracy at the best rate of the grid minus that of the selected ones, for each arm.
        epochs: Epochs of the study, per arm.
    """

    levels: Array
    accuracies: Array
    regret: Array
    epochs: float


def searched_runs(
    arms: Sequence[str], seeds: int, rule: Rule, population: Population, rng: np.random.Generator
) -> SearchedRuns:
    """Search the rates of all arms of a study by a rule."""
    training = Training(population, Curve.draw(rng), rng)
    if rule is Rule.SHARED:
        both = range(SEARCH_SEEDS, SEARCH_SEEDS + StudyConfig.model_fields["search_seeds"].default)
        groups = [_search(training, arms, SearchSpace.of(DEFAULT_LR_GRID), both)] * seeds
    else:
        groups = _seed_by_seed(training, arms, seeds, rule)
    rates = {(arm, seed): groups[seed].arm(arm).selected for arm in arms for seed in range(seeds)}
    levels = [[training.level(arm, seed, rates[arm, seed]) for seed in range(seeds)] for arm in arms]
    drops = [[training.drops[arm, seed, rates[arm, seed]] for seed in range(seeds)] for arm in arms]
    jitters = JITTER * np.linspace(-2.4, 2.4, 13)
    density = np.exp(-((jitters / JITTER) ** 2) / 2)
    best = max(
        float(population.accuracy(-training.curve.drop(rate, jitters)) @ density / density.sum())
        for rate in groups[-1].grid
    )
    epochs = sum(length * count for length, count in training.runs.items()) / len(arms)
    accuracies = population.accuracy(-np.array(drops))
    return SearchedRuns(np.array(levels), accuracies, best - accuracies.mean(axis=1), epochs)


def _seed_by_seed(training: Training, arms: Sequence[str], seeds: int, rule: Rule) -> list[SearchGroup]:
    space, groups = SearchSpace.of(DEFAULT_LR_GRID), []
    for seed in range(seeds):
        groups.append(_search(training, arms, space, [seed]))
        space = _next_space(space, groups, arms, rule)
    return groups


def _next_space(space: SearchSpace, groups: Sequence[SearchGroup], arms: Sequence[str], rule: Rule) -> SearchSpace:
    """Return the space of the seed after those in `groups`."""
    after = space.after(groups[-1], [] if rule is Rule.WHOLE else arms)
    if rule is Rule.MEDIAN:
        near = {arm: median_low(group.arm(arm).selected for group in groups) for arm in arms}
        return OwnSpace(after.grid, after.declared, near)
    return OwnSpace(after.grid, after.declared, after.near) if rule is Rule.OWN else after


def _search(training: Training, arms: Sequence[str], space: SearchSpace, seeds: Sequence[int]) -> SearchGroup:
    group = seeds[0] if len(seeds) == 1 else None
    return search(arms, space, seeds, budget=str(EPOCHS), group=group, survivors=SURVIVORS, run=training.run)
