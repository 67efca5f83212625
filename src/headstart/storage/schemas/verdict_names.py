"""Check that the names in a verdict are those of its arms, runs and contrasts."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

from headstart.i18n import Message, _
from headstart.metrics.registry import METRICS

if TYPE_CHECKING:
    from headstart.storage.schemas.contrast import Contrast
    from headstart.storage.schemas.verdict import Condition, Verdict


def name_fault(verdict: Verdict) -> Message | None:
    """Return the first name in a verdict that refers to nothing, or the first list without what it must have.

    Whoever reads a verdict looks arms and contrasts up by their names.
    """
    return next(_faults(verdict), None)


def _faults(verdict: Verdict) -> Iterator[Message]:
    if verdict.metric not in METRICS:
        yield _("{name!r} is not a metric", name=verdict.metric)
    for condition in verdict.all_conditions:
        yield from _condition_faults(condition)
    arms = {arm.name for arm in verdict.arms}
    names = [*verdict.exposure, *((verdict.labels.first, verdict.labels.reference) if verdict.labels else ())]
    yield from _unknown(arms, names)
    budgets = {condition.budget for condition in verdict.all_conditions}
    yield from _unknown(budgets, [group.budget for group in verdict.search])
    for group in verdict.search:
        yield from _unknown(arms, [arm.arm for arm in group.arms])
    for condition in verdict.conditions:  # charts follow the arms of the verdict over all conditions
        if {arm.name for arm in condition.arms} != arms:
            yield _("the arms of {budget} are not those of the verdict", budget=condition.budget)
    keys = [(condition.budget, condition.fraction) for condition in verdict.all_conditions]
    if len(set(keys)) != len(keys):
        yield _("two conditions are the same")


def _condition_faults(condition: Condition) -> Iterator[Message]:
    """Yield the faults of one budget and fraction."""
    arms = {arm.name: arm for arm in condition.arms}
    if len(arms) < max(len(condition.arms), 2):
        yield _("it has not two arms with different names")
    for arm in condition.arms:
        if arm.name != arm.spec.name:
            yield _("{name!r} is not the name of its arm", name=arm.name)
        if len({run.seed for run in arm.seeds}) != len(arm.seeds) or len(arm.seeds) != condition.n or not arm.seeds:
            yield _("{name!r} has other seeds than the condition", name=arm.name)
    names = [
        *condition.primary,
        condition.selected,
        *condition.question,
        *condition.not_worse,
        *(row.variant for row in condition.grid_rows),
    ]
    yield from _unknown(arms, [*names, *([condition.winner] if condition.winner is not None else [])])
    alone = condition.not_worse[0] if len(condition.not_worse) == 1 else None
    if condition.winner not in (None, alone) or (condition.contrasts and condition.winner != alone):
        yield _("the winner is not the only arm that is not shown to be worse")
    if condition.selected not in condition.not_worse:
        yield _("the exported arm is not among those that are not shown to be worse")
    yield from _contrast_faults(condition)
    runs = {run.run for arm in condition.arms if arm.name == condition.selected for run in arm.seeds}
    yield from _unknown(runs, [condition.exported.run])


def _contrast_faults(condition: Condition) -> Iterator[Message]:
    """Yield the faults of the contrasts of a condition, and of what refers to them."""
    arms = {arm.name for arm in condition.arms}
    without = condition.without_copies
    contrasts: list[Contrast] = [*condition.contrasts]
    if without is not None:
        yield from _unknown(arms, [*without.scores])
        contrasts += [without.contrast] if without.contrast is not None else []
    for contrast in contrasts:
        yield from _unknown(arms, [contrast.first, contrast.second])
        if contrast.first == contrast.second:
            yield _("{name!r} is compared with itself", name=contrast.first)
    pairs = [contrast.pair for contrast in condition.contrasts]
    if len(set(pairs)) != len(pairs):
        yield _("two contrasts are of the same arms")
    if pairs and [c.pair for c in condition.contrasts if c.primary] != [frozenset(condition.primary)]:
        yield _("its primary contrast is another one")
    needed = [frozenset((value.first, value.second)) for field in condition.varied for value in field.values]
    if pairs:
        needed += [frozenset(condition.primary), frozenset(condition.question)]
    for missing in (pair for pair in needed if pair not in pairs):
        yield _("it has no contrast of {arms}", arms=", ".join(sorted(missing)))


def _unknown(known: Container[str], names: list[str]) -> Iterator[Message]:
    """Yield the names that are not among the known ones."""
    for name in names:
        if name not in known:
            yield _("{name!r} is not a name of this verdict", name=name)
