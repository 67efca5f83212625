"""What is written when a run has ended: how its best model was judged, result.json, and both in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart.artifacts import predictions
from headstart.config.run_config import RunConfig
from headstart.storage import files
from headstart.telemetry.run_logger import RunLogger
from headstart.training import scoring
from headstart.training.setup import TrainingSetup


def zero_logit_scores(prepared: TrainingSetup) -> dict[str, scoring.Score]:
    """The scores of logits of 0, by split."""
    found = {}
    for name, photos in prepared.judging.items():
        logits = np.zeros((len(photos), len(prepared.listing.classes)), dtype=np.float32)
        found[name] = scoring.score(logits, photos.labels)
    return found


def judged(
    run_logger: RunLogger,
    prepared: TrainingSetup,
    scores: dict[str, scoring.Score],
    step: int,
    epoch: int,
    best_epoch: int,
) -> dict[str, Any]:
    """Leave the judgement in the record and as evidence; returns what result.json says of it."""
    predictions.write_predictions(run_logger.folder, prepared, scores)
    results = {name: predictions.summary(found, prepared.judging[name].labels) for name, found in scores.items()}
    run_logger.write({"kind": "end", "step": step, "epoch": epoch, **results})
    return {**results, "best_epoch": best_epoch, "evaluation_split": prepared.split.judge}


def conclude(
    run_logger: RunLogger, plan: RunConfig, result: dict[str, Any], epochs: int, seconds: dict[str, float]
) -> None:
    """Write result.json, once."""
    run_logger.sync()
    about = {"schema": files.SCHEMA, "arm": plan.arm_name, "seed": plan.seeding.seed, "plan": plan.hash}
    files.write_json(run_logger.folder / "result.json", {**about, **result, "epochs": epochs, "seconds": seconds})
