"""The results of arms and their runs: scores on val and test, divergence, augmentation, and time to the target.

A run that ended without the target never reaches it: these are competing events, after which a run stays among those
that count (Fine & Gray 1999, *JASA* 94, 496-509).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.result import RunState
from headstart.verification.declaration import DeclaredRules
from headstart.verification.formulas import sample_of
from headstart.verification.records import ClassifiedImages, RecordedRun, images, score, seconds
from headstart.verification.tree import Tree

_UNITS = ("epochs", "images", "seconds")


def arm_of(spec: ArmSpec, runs: Sequence[RecordedRun], protocol: DeclaredRules) -> Tree:
    """Return the results of an arm from its runs, in the order of their seeds."""
    rows = [_seed(run, protocol) for run in runs]
    val, test = (np.array([row[key] for row in rows]) for key in ("val", "test"))
    deviation = float(np.sqrt(((test - test.mean()) ** 2).sum() / (len(test) - 1))) if len(test) > 1 else None
    return {
        "name": spec.name,
        "spec": spec.to_json(),
        "val": float(val.mean()),
        "test": float(test.mean()),
        "test_sd": deviation,
        "optimism": float(val.mean() - test.mean()),
        "diverged": [run.seed for run in runs if run.state is RunState.DIVERGED],
        "too_augmented": [run.seed for run in runs if is_too_augmented(run)],
        "to_target": _times(rows) if protocol.target else None,
        "seeds": rows,
    }


def score_of(images: ClassifiedImages, metric: str) -> float:
    """Return the metric of classified images."""
    return float((images.correct * sample_of(metric, images.labels, images.units).weights).mean())


def is_too_augmented(run: RecordedRun) -> bool:
    """Return whether val stayed 7 percentage points above train in the last three of at least five epochs.

    Not for runs with fewer than 100 val images, with mixed images or averaged weights, or without augmentation.
    """
    recipe = run.plan.recipe
    if len(run.epochs) < 5 or run.epochs[-1].val.n < 100 or recipe.mixup or recipe.cutmix or recipe.ema:
        return False
    gaps = [line.val.accuracy - line.train.accuracy for line in run.epochs[-3:]]
    return min(gaps) >= 0.07 and (recipe.crop != 1 or recipe.jitter > 0)


def median_time(times: Sequence[float | None]) -> float | None:
    """Return the first time by which half of all runs, including those with None, have reached the target."""
    reached = sorted(time for time in times if time is not None)
    return next((float(time) for time in reached if 2 * sum(t <= time for t in reached) >= len(times)), None)


def _seed(run: RecordedRun, protocol: DeclaredRules) -> Tree:
    """Return the result of a run. One that diverged before its first validation scores by its predictions."""
    best = run.best
    return {
        "seed": run.seed,
        "run": run.folder.name,
        "state": str(run.state),
        "lr": run.rate,
        "best_epoch": best.epoch if best else 0,
        "val": score(best, protocol.metric) if best else score_of(run.split("val"), protocol.metric),
        "test": score_of(run.split("test"), protocol.metric),
        "to_target": _to_target(run, protocol),
        "epochs": len(run.epochs),
        "images": run.images,
        "seconds": run.seconds,
    }


def _to_target(run: RecordedRun, protocol: DeclaredRules) -> Tree | None:
    passed = [place for place, line in enumerate(run.epochs) if score(line, protocol.metric) >= protocol.target]
    if not protocol.target or not passed:
        return None
    until = run.epochs[: passed[0] + 1]
    return {
        "epochs": until[-1].epoch,
        "images": images(until, run.plan.recipe.batch_size),
        "seconds": seconds(until),
    }


def _times(rows: Sequence[Tree]) -> Tree:
    times = {unit: [row["to_target"][unit] if row["to_target"] else None for row in rows] for unit in _UNITS}
    reached = sum(row["to_target"] is not None for row in rows)
    return {
        unit: {"median": median_time(of_unit), "reached": reached, "n": len(rows)} for unit, of_unit in times.items()
    }
