"""The runs that a planned study is certain to request, some of which may be done already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from headstart.config.study_file import StudySpec
from headstart.experiment.lr_search import Trial
from headstart.experiment.planned_runs import PlannedRuns, seed_parts
from headstart.experiment.preflight import common_precision, source_arm, source_of
from headstart.runs.job_protocol import RunRequest
from headstart.storage.schemas.study import RunRole, Stage
from headstart.training import setup


def certain_requests(
    spec: StudySpec, arms: Sequence[setup.ResolvedRun], sources: Mapping[str, setup.ResolvedRun]
) -> Iterator[RunRequest]:
    """Yield the runs that a study requests whatever the results of its other runs are.

    These are the runs on sources, and the first runs of the search, or those of the comparison up to the first interim
    analysis if the learning rates are given. Arms that start from a source have none: their weights do not exist yet.

    Args:
        spec: The study.
        arms: Its resolved arms, in order.
        sources: Its resolved sources, by name.
    """
    precision = common_precision([*arms, *sources.values()])
    for name, source in sources.items():
        role = RunRole(arm=source_arm(name), stage=Stage.SOURCE, budget="", fraction=1.0)
        yield RunRequest(plan=source.plan.changed(precision=precision), role=role)
    planned = PlannedRuns(spec)
    for variant, arm in zip(spec.variants, arms, strict=True):
        if not source_of(variant.plan(spec.plan)):
            plan = arm.plan if "precision" in variant.arm.varied else arm.plan.changed(precision=precision)
            planned.add_variant(variant.name, plan, arm.dataset)
    protocol = spec.protocol
    if not spec.searches_lr:
        yield from planned.comparison_requests(seed_parts(spec)[0])
        return
    for budget in map(str, spec.budgets):
        seed = (spec.seed_range if spec.searches_each_seed else spec.search_seed_range)[0]
        trials = [Trial(variant, rate, seed, rung=True) for variant in planned.plans for rate in protocol.grid]
        yield from planned.trial_requests(budget, trials)
