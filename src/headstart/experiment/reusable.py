"""Find the runs of a planned study that are done already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from headstart.config.run_config import RunConfig
from headstart.config.study_file import StudySpec
from headstart.data.dataset import Dataset
from headstart.experiment.preflight import common_precision, source_arm, source_of
from headstart.experiment.workload import rung_epochs
from headstart.runs import reuse
from headstart.runs.job_protocol import RunRequest
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.study import RunRole, Stage
from headstart.training import setup


def reusable_requests(
    spec: StudySpec, arms: Sequence[setup.ResolvedRun], sources: Mapping[str, setup.ResolvedRun]
) -> list[RunRequest]:
    """Return the runs that a study is certain to request and that are done already.

    Args:
        spec: The study.
        arms: Its resolved arms, in order.
        sources: Its resolved sources, by name.
    """
    return [request for request in certain_requests(spec, arms, sources) if reuse.is_done(request)]


def certain_requests(
    spec: StudySpec, arms: Sequence[setup.ResolvedRun], sources: Mapping[str, setup.ResolvedRun]
) -> Iterator[RunRequest]:
    """Yield the runs that a study requests whatever the results of its other runs are.

    These are the runs on sources, and the first runs of the search, or those of the comparison up to the first interim
    analysis if the learning rates are given. Arms that start from a source have none: their weights do not exist yet.

    The arguments are those of `reusable_requests`.
    """
    precision = common_precision([*arms, *sources.values()])
    for name, source in sources.items():
        role = RunRole(arm=source_arm(name), stage=Stage.SOURCE, budget="", fraction=1.0)
        yield RunRequest(plan=source.plan.changed(precision=precision), role=role)
    for variant, arm in zip(spec.variants, arms, strict=True):
        if source_of(variant.plan(spec.plan)):
            continue
        resolved = arm.plan if "precision" in variant.arm.varied else arm.plan.changed(precision=precision)
        first_runs = _search_runs if spec.searches_lr else _comparison_runs
        for budget in map(str, spec.budgets):
            yield from first_runs(spec, variant.arm, resolved.changed(epochs=budget), arm.dataset)


def _search_runs(spec: StudySpec, arm: ArmSpec, budget_plan: RunConfig, dataset: Dataset) -> Iterator[RunRequest]:
    """Yield the rungs of the declared grid."""
    per_seed, share = spec.protocol.search == "per-seed", spec.largest_fraction
    for seed in spec.seed_range if per_seed else spec.search_seed_range[:1]:
        plan = dataset.with_split_counts(budget_plan.changed(seed=seed, fraction=share))
        role = RunRole(
            arm=arm,
            stage=Stage.SEARCH,
            budget=str(budget_plan.recipe.epochs),
            fraction=share,
            rung=rung_epochs(plan),
            blind=not per_seed,
        )
        for rate in spec.protocol.grid:
            yield RunRequest(plan=plan.changed(lr=rate), role=role)


def _comparison_runs(spec: StudySpec, arm: ArmSpec, budget_plan: RunConfig, dataset: Dataset) -> Iterator[RunRequest]:
    """Yield the runs of the comparison up to the first interim analysis."""
    first = spec.protocol.interim[0] if spec.protocol.interim else spec.protocol.seeds
    for fraction in spec.protocol.fractions:
        role = RunRole(arm=arm, stage=Stage.MAIN, budget=str(budget_plan.recipe.epochs), fraction=fraction)
        for seed in spec.seed_range[:first]:
            plan = budget_plan.changed(seed=seed, fraction=fraction)
            yield RunRequest(plan=dataset.with_split_counts(plan), role=role)
