"""The slots of an optimizer in a checkpoint, and whether they are those that it would have made.

Kernels of optimizers use the memory of a slot as that of its parameter. A slot of another shape is found here, before
such a kernel reads or writes beyond it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from headstart.optim import optimizers
from headstart.storage.schemas.checkpoint import OptimizerNumbers
from headstart.training.state import Phase

Slot: TypeAlias = Tensor | bool | int | float


def flatten(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], OptimizerNumbers]:
    """Return an optimizer's slots that are tensors, named `3.exp_avg`, and its numbers."""
    tensors: dict[str, Tensor] = {}
    slots: dict[str, bool | int | float] = {}
    for index, (parameter, _unused) in enumerate(_parameters(optimizer)):
        for name, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                slots[f"{index}.{name}"] = value
    return tensors, OptimizerNumbers(slots=slots, lr=[group["lr"] for group in optimizer.param_groups])


def slots_after_a_step(phase: Phase, network: nn.Module) -> list[dict[str, Slot]]:
    """Return what the optimizer of a phase keeps of each parameter after one step with gradients of 0.

    The weights of the network change, if the optimizer has weight decay.
    """
    optimizer = phase.make_optimizer(network)
    for group in optimizer.param_groups:
        for weight in group.get("weights", group["params"]):
            weight.grad = torch.zeros_like(weight)
    optimizers.step(optimizer)
    return [dict(optimizer.state.get(parameter, {})) for parameter, _unused in _parameters(optimizer)]


def weight_digests(network: nn.Module) -> dict[int, bytes]:
    """Return a hash of each parameter of a network, by the `id` of the parameter."""
    return {id(weight): _digest(weight) for weight in network.parameters()}


def require_slots_of_trained(
    optimizer: torch.optim.Optimizer, expected: list[dict[str, Slot]], initial: Mapping[int, bytes]
) -> None:
    """Raise ValueError if a weight that has been trained has no slots; the optimizer is restored, after a step.

    A weight that never had a gradient, such as one that the network does not use, has no slots and its first value.

    Args:
        optimizer: The optimizer.
        expected: What it keeps of each parameter, see `slots_after_a_step`.
        initial: Hashes of the weights before the training, see `weight_digests`.
    """
    weights = [weight for group in optimizer.param_groups for weight in group.get("weights", group["params"])]
    for index, ((parameter, _unused), weight) in enumerate(zip(_parameters(optimizer), weights, strict=True)):
        if expected[index] and not optimizer.state.get(parameter) and _digest(weight) != initial[id(weight)]:
            raise ValueError(f"parameter {index} has no slots")


def restore(
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
    numbers: OptimizerNumbers,
    expected: list[dict[str, Slot]],
) -> None:
    """Restore the slots on their parameter's device; step counts stay on the CPU except for fused kernels.

    Args:
        optimizer: A new optimizer.
        tensors: Its slots that are tensors, see `flatten`.
        numbers: Its numbers.
        expected: What it keeps of each parameter, see `slots_after_a_step`.

    Raises:
        ValueError: A slot is not one that the optimizer has made.
    """
    for group, rate in zip(optimizer.param_groups, numbers.lr, strict=True):
        group["lr"] = rate
    slots = {**tensors, **numbers.slots}
    by_index: dict[str, list[str]] = {}
    for key in slots:
        place, _unused, name = key.partition(".")
        by_index.setdefault(place, []).append(name)
    for index, (parameter, group) in enumerate(_parameters(optimizer)):
        own = {name: slots.pop(f"{index}.{name}") for name in by_index.pop(str(index), ())}
        if own and not own.keys() >= expected[index].keys():
            raise ValueError(f"parameter {index} has not all slots")
        for name, value in own.items():
            # an optimizer of a plug-in may make a slot later: one that is a number, or like the parameter
            is_known = name in expected[index]
            if not (_fits(value, expected[index][name]) if is_known else _is_late(value, parameter)) or (
                name == "step" and float(value) < 1  # a kernel divides by a power of its distance from 0
            ):
                raise ValueError(f"slot {index}.{name} has another shape, type or range")
            if isinstance(value, Tensor) and (value.ndim or group.get("fused")):
                value = value.to(parameter.device)
            optimizer.state[parameter][name] = value
    if slots:
        raise ValueError(f"slot {min(slots)} is not one of this optimizer")


def _fits(value: Slot, expected: Slot) -> bool:
    """Return whether a slot has the type and the shape of another; one of a single number must be finite."""
    if isinstance(value, Tensor) and isinstance(expected, Tensor):
        if value.shape != expected.shape or value.dtype != expected.dtype:
            return False
        return bool(value.ndim) or _is_finite(value)
    return type(value) is type(expected)


def _is_late(value: Slot, parameter: Tensor) -> bool:
    """Return whether a slot that an optimizer does not make in the first step is a finite number or like its weight."""
    if not isinstance(value, Tensor):
        return True
    return _fits(value, parameter) if value.ndim else _is_finite(value)


def _is_finite(value: Tensor) -> bool:
    """Return whether a tensor of one number is a finite real one."""
    return not value.is_complex() and math.isfinite(value.item())


def _digest(weight: Tensor) -> bytes:
    content = weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(content.numpy().tobytes()).digest()


def _parameters(optimizer: torch.optim.Optimizer) -> list[tuple[Tensor, dict[str, object]]]:
    return [(parameter, group) for group in optimizer.param_groups for parameter in group["params"]]
