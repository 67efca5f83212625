"""What the loop works with, which stands still, and the state of a training, which moves and is saved."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from headstart.data.loader import ImageSubset, TrainingBatches
from headstart.optim.schedules import Schedule
from headstart.training.feature_cache import FeatureCache


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one tuning, optimizer and schedule: steps `begin` to `end`."""

    name: str
    tuning: str
    begin: int
    end: int
    rate: float
    schedule: Schedule
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    augmented_views: int = 0


@dataclass(frozen=True)
class TrainingContext:
    """Everything the loop works with, made by build.py from a plan."""

    network: nn.Module
    device: torch.device
    precision: str
    phases: tuple[Phase, ...]
    batches: TrainingBatches
    fetch: Callable[[int, int, int], tuple[Tensor, Tensor]]  # batch of (epoch, step, views), perhaps made ahead
    val: ImageSubset
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    class_weights: Tensor | None = None
    label_smoothing: float = 0.0
    mixup: float = 0.0
    clip: float = 0.0
    ema: float = 0.0
    patience: int = 0
    select: str = "accuracy"  # or balanced: what the best epoch is chosen by
    backbone: FeatureCache | None = None  # what a frozen trunk made of the photos, where it is kept

    @property
    def steps(self) -> int:
        return self.phases[-1].end

    def kept(self, phase: int) -> FeatureCache | None:
        """The kept trunk, if it stands still in this phase."""
        return self.backbone if self.phases[phase].augmented_views else None


@dataclass
class Progress:
    """How far a run has come: plain numbers, written into each checkpoint."""

    step: int = 0  # updates done
    epoch: int = 0  # epochs done and validated
    phase: int = -1  # whose optimizer is in use; -1 before the first
    loss_sum: float = 0.0  # of the epoch under way
    correct: int = 0
    seen: int = 0
    best_score: float = -1.0
    best_loss: float = math.inf
    best_epoch: int = 0
    stale: int = 0  # epochs since the best
    frozen_digest: str = ""  # of the phase's frozen tensors when it began

    def to_json(self) -> dict[str, Any]:
        """Infinity is not JSON: a best that is not there yet is left out."""
        return {k: v for k, v in asdict(self).items() if v != math.inf}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Progress:
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in value.items() if k in known})


@dataclass
class State:
    """What changes while training."""

    network: nn.Module
    optimizer: torch.optim.Optimizer | None = None
    ema: AveragedModel | None = None
    progress: Progress = field(default_factory=Progress)

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and saved: the moving average where there is one."""
        return self.ema.module if self.ema is not None else self.network
