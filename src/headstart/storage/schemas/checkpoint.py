"""Schemas of the JSON files of a checkpoint: MANIFEST.json and the parts of state.json that need no plan."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from headstart.i18n import _
from headstart.storage.schemas.schema import Count, Positive, Schema, StoredFile, VersionedSchema

MANIFEST_FILE = "MANIFEST.json"
STATE_FILE = "state.json"
MODEL_FILE, OPTIMIZER_FILE, EMA_FILE = "model.safetensors", "optimizer.safetensors", "ema.safetensors"
FILES = frozenset({MODEL_FILE, OPTIMIZER_FILE, STATE_FILE})  # of every checkpoint


class Manifest(VersionedSchema):
    """The files of a complete checkpoint."""

    files: dict[str, StoredFile] = Field(description="size and sha256 by file name")

    @model_validator(mode="after")
    def _require_files(self) -> Self:
        if self.files.keys() - {EMA_FILE} != FILES:
            raise ValueError(_("a checkpoint has the files {files}", files=", ".join(sorted(FILES))))
        return self


class TrainingProgress(Schema):
    """The progress of a training as plain numbers; the training changes it in place."""

    model_config = ConfigDict(frozen=False)

    step: Count = Field(0, description="updates done")
    epoch: Count = Field(0, description="epochs done and validated")
    phase: int = Field(-1, ge=-1, description="the phase of the current optimizer; -1 before the first")
    loss_sum: float = Field(0.0, description="of the current epoch")
    correct: Count = Field(0, description="of the current epoch")
    seen: Count = Field(0, description="of the current epoch")
    best_score: float | None = Field(None, description="metric of the best epoch; null before the first")
    best_loss: float = Field(0.0, description="val loss of the best epoch; 0 before the first")
    best_epoch: Count = Field(0, description="epoch of the best model; 0 before the first")
    stale: Count = Field(0, description="epochs since the best")
    val_losses: list[float] = Field(default_factory=list, description="of the epochs of the phase")
    frozen_digest: str = Field("", description="of the frozen tensors at the start of the phase")


class OptimizerNumbers(Schema):
    """The state of an optimizer that is not in tensors."""

    slots: dict[str, bool | int | float] = Field(description="values by parameter and name, as `3.step`")
    lr: list[Positive] = Field(description="learning rates of the parameter groups")
