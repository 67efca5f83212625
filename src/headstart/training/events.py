"""Events that the training loop yields."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from headstart.training.scoring import Score


@dataclass(frozen=True)
class Backward:
    """The gradients of a step exist and are not clipped yet."""

    step: int  # the current step, from 1
    network: nn.Module


@dataclass(frozen=True)
class Step:
    """An update is done."""

    step: int
    epoch: int
    loss: float
    rates: dict[str, float]
    network: nn.Module


@dataclass(frozen=True)
class BatchDone:
    """One batch of an evaluation, or of features of the frozen backbone, is done."""


@dataclass(frozen=True)
class FreezeCheck:
    """The digests of all frozen tensors of a phase, before and after it; the run fails if they differ."""

    phase: str
    step: int
    trained_tensors: int  # number of tensors that were not frozen
    before: str
    after: str


@dataclass(frozen=True)
class Epoch:
    """An epoch is trained and validated."""

    epoch: int  # from 1
    step: int
    train: Score
    val: Score
    best: bool
    train_seconds: float
    val_seconds: float
    images: dict[int, int]  # images trained on in train_seconds, by phase
    rates: dict[str, float]  # of the epoch's last step


Event = Backward | Step | BatchDone | FreezeCheck | Epoch
