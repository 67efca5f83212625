"""Write the results of a run that has ended: the evaluation of its best model, and result.json."""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart.artifacts import predictions
from headstart.config.run_config import RunConfig
from headstart.storage import files
from headstart.telemetry.run_logger import RunLogger
from headstart.training import scoring
from headstart.training.setup import TrainingSetup


def zero_logit_scores(setup: TrainingSetup) -> dict[str, scoring.Score]:
    """Return the scores of logits of 0 by split, which predict the first class."""
    scores = {}
    for name, images in setup.evaluation_images.items():
        logits = np.zeros((len(images), len(setup.index.classes)), dtype=np.float32)
        scores[name] = scoring.score(logits, images.labels)
    return scores


def evaluation_result(
    run_logger: RunLogger,
    setup: TrainingSetup,
    scores: dict[str, scoring.Score],
    step: int,
    epoch: int,
    best_epoch: int,
) -> dict[str, Any]:
    """Write the evaluation of the best model to the record and to predictions.npz.

    Args:
        run_logger: The logger of the run.
        setup: The setup of the run.
        scores: Scores of the best model by split.
        step: The last step.
        epoch: The last epoch.
        best_epoch: The epoch of the best model; 0 if there is none.

    Returns:
        The fields of result.json that contain the evaluation.
    """
    predictions.write_predictions(run_logger.folder, setup, scores)
    images = setup.evaluation_images
    results = {name: predictions.score_summary(score, images[name].labels) for name, score in scores.items()}
    run_logger.write({"kind": "end", "step": step, "epoch": epoch, **results})
    return {**results, "best_epoch": best_epoch, "evaluation_split": setup.split.evaluation}


def write_result(
    run_logger: RunLogger, plan: RunConfig, result: dict[str, Any], epochs: int, seconds: dict[str, float]
) -> None:
    """Write result.json after the record is durable."""
    run_logger.sync()
    identity = {"schema": files.SCHEMA_VERSION, "arm": plan.arm_name, "seed": plan.seeding.seed, "plan": plan.hash}
    files.write_json(run_logger.folder / "result.json", {**identity, **result, "epochs": epochs, "seconds": seconds})
