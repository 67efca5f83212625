"""Write the results of a run that has ended: the evaluation of its best model, and result.json."""

from __future__ import annotations

import numpy as np

from headstart.artifacts import predictions
from headstart.config.plan_file import read_plan_file
from headstart.runs.session import RunSession
from headstart.storage import run_index, seals
from headstart.storage.files import write_json
from headstart.storage.schemas.metrics import EndLine
from headstart.storage.schemas.result import RESULT_FILE, RunResult, RunState
from headstart.storage.schemas.seal import UNSEALED
from headstart.training import scoring
from headstart.training.setup import TrainingSetup


def zero_logit_scores(setup: TrainingSetup) -> dict[str, scoring.Score]:
    """Return the scores of logits of 0 by split, which predict the first class."""
    scores, classes = {}, len(setup.dataset.images.classes)
    for name, images in setup.evaluation_images.items():
        scorer = scoring.Scorer(images.labels, keep=True)
        for rows in scoring.blocks(len(images), classes):
            scorer.add(np.zeros((len(images.labels[rows]), classes), dtype=np.float32))
        scores[name] = scorer.score()
    return scores


def write_evaluation(session: RunSession, scores: dict[str, scoring.Score]) -> EndLine:
    """Write the evaluation of the best model to predictions.npz and to the record, and return its line.

    Args:
        session: The run, which is open.
        scores: Scores of the best model by split.
    """
    predictions.write_predictions(session.run_logger.folder, session.setup, scores)
    by_split = {name: predictions.split_evaluation(score, session.setup, name) for name, score in scores.items()}
    line = EndLine(step=session.step, epoch=session.epoch, val=by_split["val"], test=by_split.get("test"))
    session.write(line)
    return line


def write_result(session: RunSession, evaluation: EndLine) -> None:
    """Write result.json with the seal of the run, after its other files are durable."""
    session.run_logger.sync()
    plan, diverged = session.setup.plan, session.diverged
    result = RunResult(
        arm=plan.arm_name,
        seed=plan.seeding.seed,
        plan=plan.hash,
        state=RunState.FINISHED if diverged is None else RunState.DIVERGED,
        reason=None if diverged is None else diverged.message,
        best_epoch=session.best_epoch,
        epochs=session.epoch,
        val=evaluation.val,
        test=evaluation.test,
        evaluation_split=session.setup.split.evaluation,
        seconds=session.seconds,
        seal=UNSEALED,
    )
    folder = session.run_logger.folder
    sealed = seals.seal_run(folder, result, read_plan_file(folder).sealed)
    write_json(folder / RESULT_FILE, sealed.to_json())
    run_index.add(folder, plan.hash, seal=sealed.seal.digest)
