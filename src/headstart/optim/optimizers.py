"""Optimizers that update views of the weights in memory order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from headstart.factories import load_factory
from headstart.optim.param_groups import ParameterGroup
from headstart.optim.registry import OPTIMIZERS


def build(name: str, groups: list[ParameterGroup], lr: float, options: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Return an optimizer of `OPTIMIZERS`, with fused kernels where it has them and foreach kernels elsewhere.

    Args:
        name: Name of the optimizer.
        groups: Parameter groups, see `param_groups.groups`.
        lr: Learning rate.
        options: Values of options; the optimizer takes those that it supports.
    """
    spec = OPTIMIZERS[name]
    kinds = {p.device.type for group in groups for p in group["params"]}
    kernels = {"fused": True} if spec.fused and kinds <= {"cpu", "cuda"} else {"foreach": True}
    own = {option: options[option] for option in spec.options}
    optimizer: torch.optim.Optimizer = load_factory(spec.factory)(groups, lr, **own, **kernels)
    return optimizer


def make_optimizer(
    name: str, groups: list[ParameterGroup], lr: float, options: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """Return an optimizer that updates views of the weights and clears their gradients after each update.

    The views, and so the optimizer's slots, have their dimensions in memory order. Updates are element-wise, so the
    results are bit-equal. torch's fused CPU kernels copy a gradient in any other layout, such as that of every
    convolution in channels_last, and then take twice the time (torch 2.14).

    Args:
        name: Name of the optimizer.
        groups: Parameter groups, see `param_groups.groups`.
        lr: Learning rate.
        options: Values of options, see `build`.
    """
    bindings: list[tuple[nn.Parameter, nn.Parameter, tuple[int, ...]]] = []
    view_groups: list[ParameterGroup] = []
    for group in groups:
        orders = [_memory_order(weight) for weight in group["params"]]
        views = [nn.Parameter(w.detach().permute(order)) for w, order in zip(group["params"], orders, strict=True)]
        bindings += zip(group["params"], views, orders, strict=True)
        view_groups.append({**group, "params": views})

    def bind_grads(*_: Any) -> None:
        """Give the views the gradients of their weights, in the order of memory."""
        for weight, view, order in bindings:
            view.grad = None if weight.grad is None else weight.grad.permute(order)

    def clear_grads(*_: Any) -> None:
        """Drop the gradients of weights and views."""
        for weight, view, _order in bindings:
            weight.grad = view.grad = None

    optimizer = build(name, view_groups, lr, options)
    optimizer.register_step_pre_hook(bind_grads)
    optimizer.register_step_post_hook(clear_grads)
    return optimizer


def _memory_order(weight: Tensor) -> tuple[int, ...]:
    """Return the dimensions, from the largest to the smallest stride."""
    strides = weight.stride()
    return tuple(sorted(range(weight.ndim), key=lambda dimension: -strides[dimension]))
