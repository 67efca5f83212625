"""Schema of result.json."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field

from headstart.storage.schemas.metrics import Evaluation
from headstart.storage.schemas.schema import Count, Positive, Schema, VersionedSchema
from headstart.storage.schemas.seal import Seal

RESULT_FILE = "result.json"


class RunState(StrEnum):
    """State of a run."""

    UNFINISHED = "unfinished"
    FINISHED = "finished"
    DIVERGED = "diverged"


class RunSeconds(Schema):
    """Duration of a run."""

    training: Positive = Field(description="seconds of training and validation")
    logging: Positive = Field(description="seconds of logging")


class RunResult(VersionedSchema):
    """Result of a run that has ended."""

    arm: str = Field(description="name of the arm")
    seed: Count = Field(description="seed of the run")
    plan: str = Field(description="hash of the plan")
    state: RunState = Field(description="`finished` or `diverged`")
    reason: str | None = Field(None, description="why the run diverged; null if it did not")
    best_epoch: Count = Field(description="epoch of the best model; 0 if no epoch was validated")
    epochs: Count = Field(description="last epoch")
    val: Evaluation = Field(description="evaluation on val")
    test: Evaluation | None = Field(None, description="evaluation on test; null if the run was not evaluated on it")
    evaluation_split: str = Field(
        description="split of the final evaluation: `test`, or `val` if there are no unseen images"
    )
    seconds: RunSeconds = Field(description="duration of the run")
    seal: Seal = Field(description="what the run had when it ended")

    @property
    def final(self) -> Evaluation:
        """Evaluation on test, or on val if the run was not evaluated on test."""
        return self.test or self.val

    @property
    def without_test(self) -> Self:
        """The same result without the evaluation on test."""
        return self.model_copy(update={"test": None})
