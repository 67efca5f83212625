"""Make optimizers; those with element-wise updates get views of the weights in memory order."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from headstart.factories import load_factory
from headstart.optim.param_groups import ParameterGroup
from headstart.optim.registry import OPTIMIZERS, Kernels, require_options

_EXCLUDED = "__dynamo_disable"  # attribute of a function in which torch keeps its version without compilation


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
    with _without_compiler():
        optimizer: torch.optim.Optimizer = load_factory(spec.factory)(groups, lr, **own, **kernels)
    return optimizer


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Keep torch from importing its compiler when an optimizer is made, which takes two seconds.

    torch imports it to exclude a method from compilations when the method is first called (torch 2.14). Nothing is
    compiled here.
    """
    method = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    if "torch._dynamo" in sys.modules:
        yield
        return
    setattr(method, _EXCLUDED, method)
    try:
        yield
    finally:
        delattr(method, _EXCLUDED)


def step(optimizer: torch.optim.Optimizer) -> None:
    """Update the weights of an optimizer that `build` or `make_optimizer` has returned, and clear their gradients."""
    for group in optimizer.param_groups:
        for view, weight, order in zip(
            group["params"], group.get("weights", ()), group.get("orders", ()), strict=False
        ):
            view.grad = None if weight.grad is None else weight.grad.permute(order)
    update = type(optimizer).step
    if update.__module__.startswith("torch.optim."):  # its wrapper imports torch's compiler; see `_without_compiler`
        with torch.no_grad():
            inspect.unwrap(update)(optimizer)
    else:
        optimizer.step()
    for group in optimizer.param_groups:
        for weight in (*group["params"], *group.get("weights", ())):
            weight.grad = None


def make_optimizer(
    name: str, groups: list[ParameterGroup], lr: float, options: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """Return an optimizer of views of the weights, which `step` updates.

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
    view_groups: list[ParameterGroup] = []
    for group in groups:
        orders = [_memory_order(weight, permuted=OPTIMIZERS[name].elementwise) for weight in group["params"]]
        views = [nn.Parameter(w.detach().permute(order)) for w, order in zip(group["params"], orders, strict=True)]
        view_groups.append({**group, "params": views, "weights": group["params"], "orders": orders})
    return build(name, view_groups, lr, options)


def _memory_order(weight: Tensor, *, permuted: bool) -> tuple[int, ...]:
    """Return the dimensions, from the largest to the smallest stride if they may be permuted."""
    if not permuted:
        return tuple(range(weight.ndim))
    strides = weight.stride()
    return tuple(sorted(range(weight.ndim), key=lambda dimension: -strides[dimension]))
