"""Count the runs of a planned study that earlier studies have finished."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headstart.config.study_file import StudySpec
from headstart.experiment.preflight import common_precision, source_of
from headstart.experiment.workload import rung_epochs
from headstart.runs import reuse
from headstart.runs.job_protocol import RunRequest
from headstart.storage.schemas.study import RunRole, Stage
from headstart.training import setup


def count_reusable(spec: StudySpec, arms: Sequence[setup.ResolvedRun], sources: Sequence[setup.ResolvedRun]) -> int:
    """Return how many runs that a study is certain to request are finished already.

    These are the first runs of its search, or those of the comparison if the learning rates are given. Which runs
    follow them depends on their results.

    Args:
        spec: The study.
        arms: Its resolved arms, in order.
        sources: Its resolved sources. Arms that start from a source are not counted: their weights do not exist yet.
    """
    precision = common_precision([*arms, *sources])
    return sum(reuse.is_finished(request) for request in _certain_requests(spec, arms, precision))


def _certain_requests(spec: StudySpec, arms: Sequence[setup.ResolvedRun], precision: str) -> Iterator[RunRequest]:
    protocol = spec.protocol
    per_seed = protocol.search == "per-seed"
    for variant, arm in zip(spec.variants, arms, strict=True):
        if source_of(variant.plan(spec.plan)):
            continue
        resolved = arm.plan.changed(precision=precision)
        for budget in map(str, spec.budgets):
            if spec.searches_lr:
                plan = resolved.changed(epochs=budget, fraction=spec.largest_fraction)
                role = RunRole(
                    arm=variant.arm, stage=Stage.SEARCH, budget=budget, fraction=spec.largest_fraction,
                    rung=rung_epochs(plan), blind=not per_seed,
                )  # fmt: skip
                for seed in spec.seed_range if per_seed else spec.search_seed_range[:1]:
                    for rate in protocol.grid:
                        trial = arm.dataset.with_split_counts(plan.changed(seed=seed)).changed(lr=rate)
                        yield RunRequest(plan=trial, role=role)
                continue
            for fraction in protocol.fractions:
                role = RunRole(arm=variant.arm, stage=Stage.MAIN, budget=budget, fraction=fraction)
                for seed in spec.seed_range:
                    plan = resolved.changed(epochs=budget, fraction=fraction, seed=seed)
                    yield RunRequest(plan=arm.dataset.with_split_counts(plan), role=role)
