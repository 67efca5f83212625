"""Write the results of a run that has ended: the evaluation of its best model, and result.json."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headstart.artifacts import predictions
from headstart.config.run_config import RunConfig
from headstart.storage.files import write_json
from headstart.storage.schemas.metrics import EndLine, Evaluation
from headstart.storage.schemas.result import RESULT_FILE, RunResult, RunSeconds, RunState
from headstart.telemetry.run_logger import RunLogger
from headstart.training import scoring
from headstart.training.setup import TrainingSetup


@dataclass(frozen=True)
class RunEvaluation:
    """Evaluation of the best model of a run.

    Args:
        val: The evaluation on val.
        test: The evaluation on test, if there is one.
        evaluation_split: Name of the split of the final evaluation.
        best_epoch: The epoch of the best model; 0 if there is none.
        epochs: The last epoch.
    """

    val: Evaluation
    test: Evaluation | None
    evaluation_split: str
    best_epoch: int
    epochs: int


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
) -> RunEvaluation:
    """Write the evaluation of the best model to the record and to predictions.npz, and return it.

    Args:
        run_logger: The logger of the run.
        setup: The setup of the run.
        scores: Scores of the best model by split.
        step: The last step.
        epoch: The last epoch.
        best_epoch: The epoch of the best model; 0 if there is none.
    """
    predictions.write_predictions(run_logger.folder, setup, scores)
    by_split = {name: predictions.evaluation(score) for name, score in scores.items()}
    val, test = by_split["val"], by_split.get("test")
    run_logger.write(EndLine(step=step, epoch=epoch, val=val, test=test))
    return RunEvaluation(val, test, setup.split.evaluation, best_epoch, epoch)


def write_result(
    run_logger: RunLogger, plan: RunConfig, evaluation: RunEvaluation, seconds: RunSeconds, diverged: str | None = None
) -> None:
    """Write result.json after the record is durable; `diverged` is the reason why a run diverged."""
    run_logger.sync()
    result = RunResult(
        arm=plan.arm_name,
        seed=plan.seeding.seed,
        plan=plan.hash,
        state=RunState.FINISHED if diverged is None else RunState.DIVERGED,
        reason=diverged,
        best_epoch=evaluation.best_epoch,
        epochs=evaluation.epochs,
        val=evaluation.val,
        test=evaluation.test,
        evaluation_split=evaluation.evaluation_split,
        seconds=seconds,
    )
    write_json(run_logger.folder / RESULT_FILE, result.to_json())
