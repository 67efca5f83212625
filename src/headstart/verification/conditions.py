"""One budget and fraction of a study, computed from its runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headstart.errors import DataError
from headstart.i18n import _
from headstart.verification.arms import arm_of
from headstart.verification.contrasts import ERROR, MIN_UNITS, Pair, analyses_of, contrasts_of, errors_of, pairs_of
from headstart.verification.copies import without_copies
from headstart.verification.decisions import (
    best_on_val,
    exported,
    grid_rows,
    not_worse,
    pairs_at_values,
    rivals,
    rows_of,
    value_pairs,
    varied_fields,
)
from headstart.verification.declaration import Declaration
from headstart.verification.formulas import Sample, Values, sample_of
from headstart.verification.records import ClassifiedImages, RecordedRun
from headstart.verification.stopping import Stages
from headstart.verification.tree import Tree


def condition_of(runs: Sequence[RecordedRun], declared: Declaration, *, last: bool) -> Tree:
    """Return one budget and fraction from its runs.

    Args:
        runs: Its runs that have ended, in the order of their names.
        declared: What the study declares.
        last: It is the condition of the verdict, which has the interim analyses.

    Raises:
        DataError: No seed is finished in every arm, or the runs were evaluated on different images.
    """
    protocol, names = declared.protocol, declared.names
    by = {(run.variant, run.seed): run for run in runs}
    seeds = sorted(seed for seed in {run.seed for run in runs} if all((name, seed) in by for name in names))
    if not seeds:
        raise DataError(_("No seed has ended in every arm."), _("Restore the runs from a copy."))
    of_arms = {name: [by[name, seed] for seed in seeds] for name in names}
    test = _same_images(of_arms)
    images = test[names[0]][0]
    sample = sample_of(protocol.metric, images.labels, images.units)
    arms = [arm_of(declared.arm(name), of_arms[name], protocol) for name in names]
    tables = {name: np.array([of_run.correct for of_run in test[name]]) for name in names}
    stages = protocol.stages if last else Stages()
    decided = _decided(arms, tables, declared, stages, sample)
    level = decided["contrasts"][0]["level"] if decided["contrasts"] else 1 - ERROR
    copies = np.any([of_run.copies for of_arm in test.values() for of_run in of_arm], axis=0)
    return {
        "budget": runs[0].role.budget,
        "fraction": runs[0].role.fraction,
        "counts": min(runs, key=lambda run: run.seed).plan.facts.split_counts.to_json(),
        "evaluation": {
            "split": "test",
            "images": len(images.labels),
            "units": sample.g,
            "declared": next(iter(declared.variants.values())).declared,
        },
        "n": len(seeds),
        "one_split": len({run.split("val").names for run in runs}) == 1,
        "arms": arms,
        "without_copies": without_copies(tables, images, copies, declared, level),
        **decided,
    }


def recorded_conditions(runs: Sequence[RecordedRun], declared: Declaration) -> list[Tree]:
    """Return every budget and fraction that has runs; the one of the verdict is the last."""
    recorded = []
    for condition in declared.conditions:
        of_condition = [run for run in runs if run.condition == condition]
        if of_condition:
            recorded.append(condition_of(of_condition, declared, last=condition == declared.conditions[-1]))
    return recorded


def _same_images(of_arms: dict[str, list[RecordedRun]]) -> dict[str, list[ClassifiedImages]]:
    """Return the test images of each run, which are the same in all. Raises DataError if they are not."""
    test = {name: [run.split("test") for run in runs] for name, runs in of_arms.items()}
    first = next(iter(test.values()))[0]
    for name, runs in of_arms.items():
        for run, images in zip(runs, test[name], strict=True):
            same = images.names == first.names and np.array_equal(images.units, first.units)
            if not same or not np.array_equal(images.labels, first.labels) or not len(images.labels):
                raise DataError(
                    _("{folder} was evaluated on other images than the other runs.", folder=run.folder),
                    _("Restore the runs from a copy."),
                )
    return test


def _decided(
    arms: Sequence[Tree], tables: dict[str, Values], declared: Declaration, stages: Stages, sample: Sample
) -> Tree:
    """Return the contrasts and analyses of a condition, and what follows from them."""
    names, primary = declared.names, declared.primary
    val = {arm["name"]: arm["val"] for arm in arms}
    leader, rows = best_on_val(arms, names)["name"], rows_of(declared)
    others = [] if declared.protocol.primary else rivals(leader, rows, val)
    fields = value_pairs(declared)
    more: list[Pair] = [(leader, rival) for rival in others]
    pairs = pairs_of(declared, [*more, *pairs_at_values(fields)])
    error = errors_of(len(pairs), declared.protocol.primary_share)[0]
    n = len(tables[primary[0]])
    contrasts = contrasts_of(tables, pairs, declared, stages, sample) if n > 1 and sample.g > 1 else []
    difference = tables[primary[0]] - tables[primary[1]]
    remaining = not_worse(contrasts, names)
    selected = best_on_val(arms, remaining)
    return {
        "primary": list(primary),
        "question": [leader, others[0]] if others else list(primary),
        "not_worse": remaining,
        "selected": selected["name"],
        "grid_rows": grid_rows(rows, val),
        "exported": exported(selected),
        "contrasts": contrasts,
        "varied": varied_fields(fields, contrasts),
        "interim": analyses_of(difference, stages, error, sample) if sample.g >= MIN_UNITS else [],
        "winner": remaining[0] if len(remaining) == 1 else None,
    }
