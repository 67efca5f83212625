"""The runs that a study requests, in a study in progress and in a dry run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from headstart.config.run_config import RunConfig
from headstart.config.study_file import StudySpec
from headstart.data.dataset import Dataset
from headstart.experiment.lr_search import Trial
from headstart.experiment.workload import rung_epochs
from headstart.runs.job_protocol import RunRequest
from headstart.storage.schemas.search import SearchResults
from headstart.storage.schemas.study import RunRole, Stage

NO_SEARCH = SearchResults()


@dataclass
class PlannedRuns:
    """The runs of a study. Dictionaries are by name of the arm variant; runs of variants without a plan are left out.

    Attributes:
        spec: The study.
        stage: Stage of the runs that are compared.
        plans: Resolved configurations, for the first seed.
        datasets: Their images.
    """

    spec: StudySpec
    stage: Stage = Stage.MAIN
    plans: dict[str, RunConfig] = field(default_factory=dict)
    datasets: dict[str, Dataset] = field(default_factory=dict)

    def add_variant(self, name: str, plan: RunConfig, dataset: Dataset) -> None:
        """Add a variant with its resolved configuration and its images."""
        self.plans[name], self.datasets[name] = plan, dataset

    def trial_requests(self, budget: str, trials: Sequence[Trial]) -> list[RunRequest]:
        """Return the runs of trials of the learning-rate search, in order."""
        share = self.spec.largest_fraction
        requests: list[RunRequest] = []
        for trial in trials:
            plan = self._plan(trial.variant, budget, share, trial.seed, trial.rate)
            arm, rung = self.spec.arm(trial.variant), rung_epochs(plan)
            role = RunRole(arm=arm, stage=Stage.SEARCH, budget=budget, fraction=share, rung=rung)
            requests.append(RunRequest(plan=plan, role=role))
        return requests

    def comparison_requests(self, seeds: Sequence[int], results: SearchResults = NO_SEARCH) -> list[RunRequest]:
        """Return the runs on paired seeds, seed by seed, so that an interrupted study still has pairs.

        Args:
            seeds: The seeds.
            results: Results of the learning-rate search; without groups if the rates are given.
        """
        spec = self.spec
        requests: list[RunRequest] = []
        for budget in map(str, spec.budgets):
            for fraction in spec.protocol.fractions:
                for seed in seeds:
                    for variant in spec.variants:
                        if variant.name in self.plans:
                            rate = results.selected_rate(variant.name, budget, seed)
                            role = RunRole(arm=variant.arm, stage=self.stage, budget=budget, fraction=fraction)
                            plan = self._plan(variant.name, budget, fraction, seed, rate)
                            requests.append(RunRequest(plan=plan, role=role))
        return requests

    def _plan(self, variant: str, budget: str, fraction: float, seed: int, rate: float | None) -> RunConfig:
        """Return the resolved configuration of one run."""
        plan = self.plans[variant].changed(seed=seed, fraction=fraction, epochs=budget)
        return self.datasets[variant].with_split_counts(plan if rate is None else plan.changed(lr=rate))


def seed_parts(spec: StudySpec) -> list[Sequence[int]]:
    """Return the paired seeds of a study in the parts in which they are compared.

    With a search for each seed a part is one seed, else the seeds up to an interim analysis.
    """
    protocol, seeds = spec.protocol, spec.seed_range
    counts = range(1, len(seeds) + 1) if spec.searches_each_seed else sorted({*protocol.interim, len(seeds)})
    return [seeds[start:end] for start, end in itertools.pairwise((0, *counts))]
