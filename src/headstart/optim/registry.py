"""The optimizers and the schedules, one row each. The rows need no torch; factories are import paths."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from headstart.i18n import Message, _, join
from headstart.text import join_list


@dataclass(frozen=True)
class OptimizerSpec:
    """One optimizer.

    Args:
        factory: Import path. It is called with parameter groups, the learning rate and the `options`.
        label: Name in texts.
        lr: Default learning rate.
        weight_decay: Default weight decay.
        max_advised_lr: Highest learning rate that health checks advise.
        options: Fields of the recipe that it takes as keyword arguments.
        fused: It has fused kernels on CPU and CUDA, which pass over memory once instead of four to ten times and take
            half the time on a CPU. Others use foreach kernels.
    """

    factory: str
    label: str
    lr: float
    weight_decay: float
    max_advised_lr: float
    options: tuple[str, ...] = ()
    fused: bool = True


@dataclass(frozen=True)
class ScheduleSpec:
    """One learning-rate schedule.

    Args:
        factory: Import path. It is called with `total` (steps after the warm-up), `warm_up` (steps) and the `options`.
        options: Fields of the recipe that it takes as keyword arguments; durations are converted to steps.
        uses_history: It depends on the validation losses, not only on the step.
    """

    factory: str
    options: tuple[str, ...] = ()
    uses_history: bool = False


OPTIMIZERS = {
    "sgd": OptimizerSpec("torch.optim:SGD", "SGD", 0.01, 1e-4, 0.1, ("momentum", "nesterov")),
    "adam": OptimizerSpec("torch.optim:Adam", "Adam", 0.001, 0.0, 0.01),
    "adamw": OptimizerSpec("torch.optim:AdamW", "AdamW", 0.001, 0.01, 0.01),
    "rmsprop": OptimizerSpec("torch.optim:RMSprop", "RMSprop", 0.001, 0.0, 0.01, ("momentum",), fused=False),
    # Chen et al. 2023: a learning rate three to ten times smaller than that of AdamW, and more weight decay.
    "lion": OptimizerSpec("timm.optim.lion:Lion", "Lion", 1e-4, 0.1, 0.001, fused=False),
}
DEFAULT_OPTIMIZER = "sgd"

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
DEFAULT_SCHEDULE = "cosine"


def optimizers_with(option: str) -> Message:
    """Return the names of the optimizers that take a field of the recipe: "sgd and rmsprop"."""
    return join_list(name for name, spec in OPTIMIZERS.items() if option in spec.options)


def optimizer_defaults(field: str) -> Message:
    """Return the defaults of `lr` or `weight_decay` in words: "default: sgd 0.01, lion 0.0001, others 0.001"."""
    values = {name: float(getattr(spec, field)) for name, spec in OPTIMIZERS.items()}
    usual = Counter(values.values()).most_common(1)[0][0]
    own = [f"{name} {value:g}" for name, value in values.items() if value != usual]
    return _("default: {defaults}", defaults=join([*own, _("others {value:g}", value=usual)], ", "))
