"""Parameter groups: weight decay and learning rate per group."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import nn


def groups(
    named: Iterable[tuple[str, nn.Parameter]], *, weight_decay: float, backbone: Collection[str], backbone_factor: float
) -> list[dict[str, Any]]:
    """Parameter groups `trunk`, `trunk-no-decay`, `head`, `head-no-decay` (empty ones left out), in network order.

    Tensors of fewer than two dimensions (norms and biases) get no weight decay (He et al. 2019, "Bag of tricks").
    `trunk` holds the names whose learning rate is `trunk_factor` times the plan's; each group carries its `factor`.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, parameter in named:
        part = "backbone" if name in backbone else "head"
        spared = parameter.ndim < 2
        key = f"{part}-no-decay" if spared else part
        group = found.setdefault(
            key,
            {
                "name": key,
                "params": [],
                "weight_decay": 0.0 if spared else weight_decay,
                "factor": backbone_factor if part == "backbone" else 1.0,
            },
        )
        group["params"].append(parameter)
    return [found[key] for key in ("backbone", "backbone-no-decay", "head", "head-no-decay") if key in found]


def set_rates(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group `rate` times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The learning rates in the optimizer, by part of the network: `trunk` and `head`."""
    return {group["name"].removesuffix("-no-decay"): float(group["lr"]) for group in optimizer.param_groups}
