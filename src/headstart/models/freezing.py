"""Freeze parts of a network and verify that they did not change."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import torch
from torch import Tensor, nn

from headstart.errors import UsageError
from headstart.i18n import _
from headstart.models.structure import in_part, stages


def trainable(network: nn.Module, trained_stages: int | None) -> list[str]:
    """Return the names of the parameters that are trained.

    Args:
        network: The network.
        trained_stages: Number of the last stages of `structure.stages` that are trained besides the head; 0 for the
            head alone, None for all parameters. The stem is not a stage, because with the stem that is all.

    Returns:
        Parameter names in network order.

    Raises:
        UsageError: The network has fewer stages; the hint has their number.
    """
    names = [name for name, _unused in network.named_parameters()]
    if trained_stages is None:
        return names
    parts = stages(network)
    last = len(parts) - 2
    if trained_stages > max(last, 0):
        raise UsageError(
            _("This network has no stages:{number}.", number=trained_stages),
            _("Use stages:N with N from 1 to {last}.", last=last)
            if last > 0
            else _("Use another fine-tuning mode: this network has no stages."),
        )
    trained = parts[-1 - trained_stages :]
    return [n for n in names if any(in_part(n, prefixes) for _unused, prefixes in trained)]


def freeze(network: nn.Module, names: Collection[str]) -> None:
    """Enable gradients for exactly the parameters in `names`, in place, and drop the gradients of the others.

    Raises:
        ValueError: If the network has no parameter of a name.
    """
    trained = set(names)
    if unknown := trained - {name for name, _unused in network.named_parameters()}:
        raise ValueError(f"the network has no parameter {sorted(unknown)[0]}")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in trained)
        if name not in trained:
            parameter.grad = None


def train_mode(network: nn.Module, trained_stages: int | None) -> None:
    """Put the network in train mode, in place, and the modules that are not trained (see `trainable`) in eval mode.

    A module is frozen when it, or a module that contains it, has parameters and none of them is trained. Its BatchNorm
    statistics do not change and its dropout is off, so a frozen backbone is a fixed function.
    """
    network.train()
    for module in _frozen_modules(network, trainable(network, trained_stages)).values():
        module.eval()


def _frozen_modules(network: nn.Module, names: Collection[str]) -> dict[str, nn.Module]:
    """Return, by name, the outermost modules with parameters of which none is in `names`."""
    trained = set(names)
    frozen: dict[str, nn.Module] = {}
    for name, module in network.named_modules():
        parameters = [f"{name}.{n}" if name else n for n, _unused in module.named_parameters()]
        if parameters and trained.isdisjoint(parameters) and not in_part(name, list(frozen)):
            frozen[name] = module
    return frozen


def frozen_digest(network: nn.Module, trainable_names: Collection[str]) -> str:
    """Return the SHA-256 of all tensors that must not change while `trainable_names` are trained, in name order.

    These are all other parameters and all buffers (BatchNorm statistics and counters) of frozen modules, with name,
    type and shape. Memory format and device do not change the digest.
    """
    trained = set(trainable_names)
    frozen = list(_frozen_modules(network, trained))
    tensors: dict[str, Tensor] = {name: p for name, p in network.named_parameters() if name not in trained}
    tensors |= {name: b for name, b in network.named_buffers() if frozen == [""] or in_part(name, frozen)}
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
