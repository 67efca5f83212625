"""Schema of result.json."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from headstart.storage.files import SCHEMA_VERSION
from headstart.storage.schemas.base import Schema
from headstart.storage.schemas.metrics import Evaluation

RESULT_FILE = "result.json"


class RunState(StrEnum):
    """State of a run."""

    UNFINISHED = "unfinished"
    FINISHED = "finished"
    DIVERGED = "diverged"


class RunSeconds(Schema):
    """Duration of a run."""

    training: float
    logging: float


class RunResult(Schema):
    """Result of a run that has ended."""

    schema_version: int = SCHEMA_VERSION
    arm: str
    seed: int
    plan: str = Field(description="hash of the plan")
    state: RunState
    reason: str | None = Field(None, description="why the run diverged")
    best_epoch: int = Field(description="0 if no epoch was validated")
    epochs: int
    val: Evaluation
    test: Evaluation | None = Field(None, description="null if the run was not evaluated on test")
    evaluation_split: str = Field(description="`test`, or `val` if there are no unseen images")
    seconds: RunSeconds

    @property
    def final(self) -> Evaluation:
        """Evaluation on test, or on val if the run was not evaluated on test."""
        return self.test or self.val
