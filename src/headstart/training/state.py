"""The fixed context of a training and its mutable state, which checkpoints save."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from headstart.data.loader import ImageSubset, TrainingBatches
from headstart.data.mixing import RecipeMixer
from headstart.optim.schedules import Schedule
from headstart.storage.schemas.arm import Tuning
from headstart.storage.schemas.checkpoint import TrainingProgress
from headstart.training.feature_cache import FeatureCache
from headstart.training.objective import Objective


@dataclass(frozen=True)
class Phase:
    """The steps `begin` to `end` of a training, with one fine-tuning mode, optimizer and schedule."""

    tuning: Tuning
    begin: int  # steps before the phase
    end: int  # steps up to its end
    rate: float  # peak learning rate; a step uses it times the schedule
    schedule: Schedule
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    slots: int  # most tensors that the optimizer has for each weight
    augmented_views: int = 0  # number of cached views per image; 0 if the features are not cached


@dataclass(frozen=True)
class TrainingContext:
    """The fixed inputs of the training loop, made from a plan by `setup`."""

    network: nn.Module
    device: torch.device
    precision: str
    phases: tuple[Phase, ...]
    batches: TrainingBatches
    fetch: Callable[
        [int, int, int], tuple[Tensor, Tensor]
    ]  # (epoch, step, augmented views) -> batch, which may be prefetched
    val: ImageSubset
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    objective: Objective = field(default_factory=Objective)
    mixer: RecipeMixer | None = None
    ema: float = 0.0  # decay per step of the moving average of the weights; 0 for no average
    patience: int = 0  # epochs without improvement after which the run ends; 0 for no early stopping
    backbone: FeatureCache | None = None  # the cached features of a frozen backbone

    @property
    def steps(self) -> int:
        """Number of steps in all phases."""
        return self.phases[-1].end

    def cached_backbone(self, phase: int) -> FeatureCache | None:
        """Return the feature cache if the backbone is frozen in this phase."""
        return self.backbone if self.phases[phase].augmented_views else None


@dataclass
class State:
    """The mutable state of a training."""

    network: nn.Module
    optimizer: torch.optim.Optimizer | None = None
    ema: AveragedModel | None = None
    progress: TrainingProgress = field(default_factory=TrainingProgress)

    @property
    def evaluated_network(self) -> nn.Module:
        """The network that is validated and saved: the moving average if there is one."""
        return self.ema.module if self.ema is not None else self.network
