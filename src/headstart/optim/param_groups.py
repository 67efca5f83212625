"""Parameter groups with their weight decay and learning rate."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NotRequired, TypedDict

import torch
from torch import nn


class ParameterGroup(TypedDict):
    """One parameter group of an optimizer; `factor` is relative to the learning rate of the plan.

    In a group of views, `weights` are the parameters of the network, and `orders` their dimensions in each view.
    """

    name: str
    params: list[nn.Parameter]
    weight_decay: float
    factor: float
    weights: NotRequired[list[nn.Parameter]]
    orders: NotRequired[list[tuple[int, ...]]]


def groups(
    named: Iterable[tuple[str, nn.Parameter]], *, weight_decay: float, backbone: Collection[str], backbone_factor: float
) -> list[ParameterGroup]:
    """Return the parameter groups `backbone`, `backbone-no-decay`, `head` and `head-no-decay`, without empty ones.

    Tensors with fewer than two dimensions (norms and biases) get no weight decay (He et al. 2019, "Bag of tricks").
    Parameters keep the order of the network.

    Args:
        named: Names and parameters to train.
        weight_decay: Weight decay of the groups with decay.
        backbone: Names of the parameters in the backbone.
        backbone_factor: Learning rate of the backbone relative to the plan's; stored as the `factor` of a group.
    """
    group_of: dict[str, ParameterGroup] = {}
    for name, parameter in named:
        part = "backbone" if name in backbone else "head"
        no_decay = parameter.ndim < 2
        key = f"{part}-no-decay" if no_decay else part
        group = group_of.setdefault(
            key,
            {
                "name": key,
                "params": [],
                "weight_decay": 0.0 if no_decay else weight_decay,
                "factor": backbone_factor if part == "backbone" else 1.0,
            },
        )
        group["params"].append(parameter)
    return [group_of[key] for key in ("backbone", "backbone-no-decay", "head", "head-no-decay") if key in group_of]


def set_rates(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each group to `rate` times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the optimizer's learning rates by part of the network, `backbone` and `head`."""
    return {group["name"].removesuffix("-no-decay"): float(group["lr"]) for group in optimizer.param_groups}
