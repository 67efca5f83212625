"""The optimizers and the schedules, one row each. The rows need no torch; factories are import paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum, auto

from headstart.errors import UsageError
from headstart.i18n import Message, _, join
from headstart.text import join_list


class Kernels(Enum):
    """Arguments for faster kernels that the factory of an optimizer takes."""

    NONE = auto()  # none
    FOREACH = auto()  # `foreach`
    FUSED = auto()  # `foreach` and `fused`, on CPU and CUDA: one pass over memory, half the time on a CPU


@dataclass(frozen=True)
class OptimizerSpec:
    """One optimizer. Its `step` must need no closure, and its updates no sparse gradients.

    Args:
        factory: Import path. It is called with parameter groups, the learning rate, the `options` and the arguments of
            `kernels`.
        label: Name in texts.
        lr: Default learning rate.
        weight_decay: Default weight decay.
        max_advised_lr: Highest learning rate that health checks advise.
        options: Fields of the recipe that it takes as keyword arguments.
        elementwise: The update of an element depends on the history of this element alone, not on the rest of its
            tensor or on the shape. Only then can heads of several seeds share a tensor, and dimensions be permuted.
        kernels: Which arguments for faster kernels the factory takes.
        slots: Most tensors that it has for each weight, for the size of a checkpoint.
    """

    factory: str
    label: str
    lr: float
    weight_decay: float
    max_advised_lr: float
    options: tuple[str, ...] = ()
    elementwise: bool = False
    kernels: Kernels = Kernels.NONE
    slots: int = 2


@dataclass(frozen=True)
class ScheduleSpec:
    """One learning-rate schedule.

    Args:
        factory: Import path. It is called with `total` (steps after the warm-up), `warm_up` (steps) and the `options`.
        options: Fields of the recipe that it takes as keyword arguments; durations are converted to steps.
        uses_history: It depends on the validation losses, not only on the step. Others get no losses.
    """

    factory: str
    options: tuple[str, ...] = ()
    uses_history: bool = False


OPTIMIZERS = {
    "sgd": OptimizerSpec(
        "torch.optim:SGD",
        "SGD",
        lr=0.01,
        weight_decay=1e-4,
        max_advised_lr=0.1,
        options=("momentum", "nesterov"),
        elementwise=True,
        kernels=Kernels.FUSED,
        slots=1,
    ),
    "adam": OptimizerSpec(
        "torch.optim:Adam",
        "Adam",
        lr=0.001,
        weight_decay=0.0,
        max_advised_lr=0.01,
        elementwise=True,
        kernels=Kernels.FUSED,
    ),
    "adamw": OptimizerSpec(
        "torch.optim:AdamW",
        "AdamW",
        lr=0.001,
        weight_decay=0.01,
        max_advised_lr=0.01,
        elementwise=True,
        kernels=Kernels.FUSED,
    ),
    "rmsprop": OptimizerSpec(
        "torch.optim:RMSprop",
        "RMSprop",
        lr=0.001,
        weight_decay=0.0,
        max_advised_lr=0.01,
        options=("momentum",),
        elementwise=True,
        kernels=Kernels.FOREACH,
    ),
    # Chen et al. 2023: a learning rate three to ten times smaller than that of AdamW, and more weight decay.
    "lion": OptimizerSpec(
        "timm.optim.lion:Lion",
        "Lion",
        lr=1e-4,
        weight_decay=0.1,
        max_advised_lr=0.001,
        elementwise=True,
        kernels=Kernels.FOREACH,
        slots=1,
    ),
}
DEFAULT_OPTIMIZER = "adamw"

CONSTANT_SCHEDULE = "constant"
SCHEDULES = {
    CONSTANT_SCHEDULE: ScheduleSpec("headstart.optim.schedules:constant"),
    "step": ScheduleSpec("headstart.optim.schedules:step_decay", ("step_every", "gamma")),
    "multistep": ScheduleSpec("headstart.optim.schedules:multistep", ("milestones", "gamma")),
    "cosine": ScheduleSpec("headstart.optim.schedules:cosine"),
    "linear": ScheduleSpec("headstart.optim.schedules:linear"),
    "one-cycle": ScheduleSpec("headstart.optim.schedules:one_cycle"),
    "plateau": ScheduleSpec("headstart.optim.schedules:plateau", ("gamma", "plateau_epochs"), uses_history=True),
}
DEFAULT_SCHEDULE = "one-cycle"


def require_options(name: str, options: Iterable[str], fields: Collection[str]) -> None:
    """Check that the options of a row are fields of the recipe.

    Args:
        name: Name of the row.
        options: Its options.
        fields: Names of the fields.

    Raises:
        UsageError: An option is no field.
    """
    for option in options:
        if option not in fields:
            raise UsageError(
                _(
                    "The row {name!r} has the option {option!r}, which is no field of the recipe.",
                    name=name,
                    option=option,
                ),
                _("Remove it from `options`, and set its value in a factory function."),
            )


def optimizers_with(option: str) -> Message:
    """Return the names of the optimizers that take a field of the recipe: "sgd and rmsprop"."""
    return join_list(name for name, spec in OPTIMIZERS.items() if option in spec.options)


def optimizer_defaults(field: str) -> Message:
    """Return the defaults of `lr` or `weight_decay` in words: "default: sgd 0.01, lion 0.0001, others 0.001"."""
    values = {name: float(getattr(spec, field)) for name, spec in OPTIMIZERS.items()}
    usual = Counter(values.values()).most_common(1)[0][0]
    own = [f"{name} {value:g}" for name, value in values.items() if value != usual]
    return _("default: {defaults}", defaults=join([*own, _("others {value:g}", value=usual)], ", "))
