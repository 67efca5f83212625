"""Make the phases of a training from a recipe: length, fine-tuning mode, schedule and optimizer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from headstart.config.duration import Duration, head_steps
from headstart.config.recipe_config import RecipeConfig
from headstart.config.run_config import RunConfig
from headstart.errors import UsageError
from headstart.factories import load_factory
from headstart.i18n import _, ngettext
from headstart.models import structure
from headstart.optim import optimizers, param_groups, schedules
from headstart.optim.registry import OPTIMIZERS, SCHEDULES, require_options
from headstart.storage.schemas.arm import FROZEN, FULL, Tuning, TuningKind
from headstart.training.state import Phase
from headstart.weights import starts


def make_phases(plan: RunConfig, per_epoch: int, start: starts.Start) -> tuple[Phase, ...]:
    """Return one phase, or for LP-FT (Kumar et al. 2022) a phase for the head and a phase for all parameters.

    Args:
        plan: The plan.
        per_epoch: Steps of an epoch.
        start: The start, which decides whether the backbone has its own learning rate.

    Raises:
        UsageError: If the recipe has less than one step, or a phase or the schedule after the warm-up has none, or the
            row of the optimizer or the schedule has an option that is no field of the recipe.
    """
    recipe = plan.recipe
    require_options(recipe.optimizer, OPTIMIZERS[recipe.optimizer].options, RecipeConfig.model_fields)
    require_options(recipe.schedule, SCHEDULES[recipe.schedule].options, RecipeConfig.model_fields)
    total = recipe.epochs.steps(per_epoch)
    if total < 1:
        raise UsageError(
            _(
                "--epochs {epochs} is less than one step; an epoch has {steps}.",
                epochs=str(recipe.epochs),
                steps=per_epoch,
            ),
            _("Use more, e.g. --epochs 1ep."),
        )
    make_optimizer = partial(_make_optimizer, recipe, start.state is not None)
    if plan.arm.tuning.kind is not TuningKind.LP_FT:
        augmented_views = recipe.augmented_views if plan.arm.tuning.kind is TuningKind.FROZEN else 0
        return (_phase(recipe, plan.arm.tuning, 0, total, per_epoch, make_optimizer, augmented_views),)
    head = head_steps(recipe.epochs, recipe.head_epochs, per_epoch)
    if not 0 < head < total:
        raise UsageError(
            _(
                "--head-epochs {head_epochs} leaves no step for the head or for the fine-tuning that follows it "
                "(--epochs {epochs}).",
                head_epochs=str(recipe.head_epochs),
                epochs=str(recipe.epochs),
            ),
            _("Use a share between 0 and 100%, e.g. --head-epochs 30%."),
        )
    return (
        _phase(recipe, FROZEN, 0, head, per_epoch, make_optimizer, recipe.augmented_views, shorten_warmup=True),
        _phase(recipe, FULL, head, total, per_epoch, make_optimizer, 0),
    )


def _phase(
    recipe: RecipeConfig,
    tuning: Tuning,
    begin: int,
    end: int,
    per_epoch: int,
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    augmented_views: int,
    shorten_warmup: bool = False,
) -> Phase:
    """Return one phase; a warm-up of the whole phase or more is an error, or is shortened to the phase."""
    length = end - begin
    if recipe.warmup.steps(per_epoch, whole=length) >= length and not shorten_warmup:
        raise UsageError(
            ngettext(
                "--warmup {warmup} leaves none of the {count} step for the schedule.",
                "--warmup {warmup} leaves none of the {count} steps for the schedule.",
                length,
                warmup=str(recipe.warmup),
            ),
            _("Use a shorter one, e.g. --warmup 10%."),
        )
    warm_up = min(recipe.warmup.steps(per_epoch, whole=length), length)
    spec = SCHEDULES[recipe.schedule]
    options = {name: _in_steps(getattr(recipe, name), per_epoch, length) for name in spec.options}
    schedule: schedules.Schedule = load_factory(spec.factory)(length - warm_up, warm_up, **options)
    if not spec.uses_history:
        schedule = schedules.without_history(schedule)
    schedule = schedules.with_warm_up(warm_up, schedule)
    slots = OPTIMIZERS[recipe.optimizer].slots
    return Phase(tuning, begin, end, recipe.lr, schedule, make_optimizer, slots, augmented_views)


def _in_steps(
    value: Duration | tuple[Duration, ...] | float, per_epoch: int, length: int
) -> int | tuple[int, ...] | float:
    """Return an option of a schedule with its durations in steps of a phase of `length` steps."""
    if isinstance(value, tuple):
        return tuple(part.steps(per_epoch, whole=length) for part in value)
    return value.steps(per_epoch, whole=length) if isinstance(value, Duration) else value


def _make_optimizer(recipe: RecipeConfig, pretrained: bool, network: nn.Module) -> torch.optim.Optimizer:
    head = [structure.head_name(network)]
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    backbone = {name for name, _unused in named if not structure.in_part(name, head)}
    groups = param_groups.groups(
        named,
        weight_decay=recipe.weight_decay,
        backbone=backbone,
        backbone_factor=recipe.backbone_lr if pretrained else 1.0,
    )
    return optimizers.make_optimizer(recipe.optimizer, groups, recipe.lr, recipe.model_dump())
