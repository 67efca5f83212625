"""Make optimizers; those with element-wise updates get views of the weights in memory order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from headstart.factories import load_factory
from headstart.optim.param_groups import ParameterGroup
from headstart.optim.registry import OPTIMIZERS, Kernels, require_options


def build(name: str, groups: list[ParameterGroup], lr: float, options: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Return an optimizer of `OPTIMIZERS`, with the fastest kernels that it has for the device of the weights.

    Args:
        name: Name of the optimizer.
        groups: Parameter groups, see `param_groups.groups`.
        lr: Learning rate.
        options: Values of options; the optimizer takes those that it supports.

    Raises:
        UsageError: An option of the optimizer has no value.
    """
    spec = OPTIMIZERS[name]
    require_options(name, spec.options, options)
    kinds = {p.device.type for group in groups for p in group["params"]}
    kernels = {}
    if spec.kernels is not Kernels.NONE:
        kernels = {"fused" if spec.kernels is Kernels.FUSED and kinds <= {"cpu", "cuda"} else "foreach": True}
    own = {option: options[option] for option in spec.options}
    optimizer: torch.optim.Optimizer = load_factory(spec.factory)(groups, lr, **own, **kernels)
    return optimizer


def make_optimizer(
    name: str, groups: list[ParameterGroup], lr: float, options: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """Return an optimizer that clears the gradients after each update.

    An optimizer with element-wise updates gets views of the weights. The views, and so the optimizer's slots, have
    their dimensions in memory order, and the results are bit-equal. torch's fused CPU kernels copy a gradient in any
    other layout, such as that of every convolution in channels_last, and then take twice the time (torch 2.14). Other
    optimizers get the weights themselves.

    Args:
        name: Name of the optimizer.
        groups: Parameter groups, see `param_groups.groups`.
        lr: Learning rate.
        options: Values of options, see `build`.
    """
    bindings: list[tuple[nn.Parameter, nn.Parameter, tuple[int, ...]]] = []
    view_groups: list[ParameterGroup] = []
    for group in groups:
        orders = [_memory_order(weight, permuted=OPTIMIZERS[name].elementwise) for weight in group["params"]]
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


def _memory_order(weight: Tensor, *, permuted: bool) -> tuple[int, ...]:
    """Return the dimensions, from the largest to the smallest stride if they may be permuted."""
    if not permuted:
        return tuple(range(weight.ndim))
    strides = weight.stride()
    return tuple(sorted(range(weight.ndim), key=lambda dimension: -strides[dimension]))
