"""A recipe to the phases of its training: how long each is, what it tunes, its schedule and its optimizer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from headstart.config.duration import Duration
from headstart.config.run_config import RecipeConfig, RunConfig
from headstart.errors import UsageError
from headstart.models import structure
from headstart.optim import optimizers, param_groups, schedules
from headstart.training.state import Phase
from headstart.weights import starts

# name -> (recipe, steps of warm-up, steps after it, a duration's length in steps) -> schedule after warm-up.
# Milestones count from the phase's beginning, warm-up included.
SCHEDULES: dict[str, Callable[[RecipeConfig, int, int, Callable[..., int]], schedules.Schedule]] = {
    "constant": lambda r, warm, n, steps: schedules.constant(),
    "step": lambda r, warm, n, steps: schedules.step_decay(steps(r.step_every), r.gamma, warm),
    "multistep": lambda r, warm, n, steps: schedules.multistep([steps(m) - warm for m in r.milestones], r.gamma),
    "cosine": lambda r, warm, n, steps: schedules.cosine(n),
    "linear": lambda r, warm, n, steps: schedules.linear(n),
    "one-cycle": lambda r, warm, n, steps: schedules.one_cycle(n),
}


def make_phases(plan: RunConfig, per_epoch: int, start: starts.Start) -> tuple[Phase, ...]:
    """One phase, or the head's and then everything's for lp-ft (Kumar et al. 2022)."""
    recipe = plan.recipe
    total = recipe.epochs.steps(per_epoch)
    if total < 1:
        raise UsageError(
            f"{recipe.epochs} is less than one step; an epoch has {per_epoch}.", "Ask for more, e.g. --epochs 1ep."
        )
    make = partial(_optimizer, recipe, start.state is not None)
    if plan.arm.tuning != "lp-ft":
        augmented_views = recipe.augmented_views if plan.arm.tuning == "frozen" else 0
        return (_phase(recipe, plan.arm.tuning, 0, total, per_epoch, make, augmented_views),)
    head = recipe.head_epochs.steps(per_epoch, whole=total)
    if not 0 < head < total:
        raise UsageError(
            f"head-epochs {recipe.head_epochs} leaves nothing for one of the two parts of lp-ft in {recipe.epochs}.",
            "Choose a share between, e.g. --head-epochs 30%.",
        )
    return (
        _phase(recipe, "frozen", 0, head, per_epoch, make, recipe.augmented_views, cut=True),
        _phase(recipe, "full", head, total, per_epoch, make, 0),
    )


def _phase(
    recipe: RecipeConfig,
    tuning: str,
    begin: int,
    end: int,
    per_epoch: int,
    make: Callable[[nn.Module], torch.optim.Optimizer],
    augmented_views: int,
    cut: bool = False,
) -> Phase:
    """One phase; a warm-up that is longer is refused, or with `cut` shortened."""
    length = end - begin
    if recipe.warmup.steps(per_epoch, whole=length) >= length and not cut:
        raise UsageError(
            f"The warm-up of {recipe.warmup} leaves nothing of the {length} steps for the schedule.",
            "Choose a shorter one, e.g. --warmup 10%.",
        )
    warm = min(recipe.warmup.steps(per_epoch, whole=length), length)
    steps = partial(_steps, per_epoch=per_epoch, whole=length)
    schedule = schedules.warm_up(warm, SCHEDULES[recipe.schedule](recipe, warm, length - warm, steps))
    return Phase(tuning, tuning, begin, end, recipe.lr, schedule, make, augmented_views)


def _steps(duration: Duration, *, per_epoch: int, whole: int) -> int:
    return duration.steps(per_epoch, whole=whole)


def _optimizer(recipe: RecipeConfig, pretrained: bool, network: nn.Module) -> torch.optim.Optimizer:
    head = [structure.head_name(network)]
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    backbone = {name for name, _ in named if not structure.in_part(name, head)}
    found = param_groups.groups(
        named,
        weight_decay=recipe.weight_decay,
        backbone=backbone,
        backbone_factor=recipe.backbone_lr if pretrained else 1.0,
    )
    return optimizers.make(recipe.optimizer, found, numbers(recipe))


def numbers(recipe: RecipeConfig) -> optimizers.OptimizerParams:
    """What a recipe says to its optimizer."""
    return optimizers.OptimizerParams(recipe.lr, recipe.momentum, recipe.nesterov)
