"""Events that the training loop yields."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from headstart.training.scoring import Score


@dataclass(frozen=True)
class Backward:
    step: int  # the step under way, from 1
    network: nn.Module


@dataclass(frozen=True)
class Step:
    step: int
    epoch: int
    loss: float
    rates: dict[str, float]
    network: nn.Module


@dataclass(frozen=True)
class BatchDone:
    """A batch of an evaluation, or of a frozen trunk's pass over the photos, is done."""


@dataclass(frozen=True)
class FreezeCheck:
    """The digests of everything that was frozen in a phase, before and after it (equal, or the run has failed)."""

    phase: str
    step: int
    trained: int  # how many tensors were not frozen
    before: str
    after: str


@dataclass(frozen=True)
class Epoch:
    epoch: int  # from 1
    step: int
    train: Score
    val: Score
    best: bool
    train_seconds: float
    val_seconds: float
    images: dict[int, int]  # by phase: trained on in train_seconds
    rates: dict[str, float]  # of the epoch's last step


Event = Backward | Step | BatchDone | FreezeCheck | Epoch
