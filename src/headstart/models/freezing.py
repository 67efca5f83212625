"""Freeze parts of a network and prove that they did not change."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

import torch
from torch import Tensor, nn

from headstart.errors import UsageError
from headstart.models.structure import in_part, stages


def trainable(network: nn.Module, tuning: str) -> list[str]:
    """Names of the parameters that `tuning` trains: `full` all, `frozen` the head, `stages:N` the last N stages and it.

    The stages are those of `networks.stages`; the stem counts as none, since with it that is `full`. Raises UsageError
    for anything else, naming the range.
    """
    names = [name for name, _ in network.named_parameters()]
    if tuning == "full":
        return names
    parts = stages(network)
    last = len(parts) - 2
    match = re.fullmatch(r"stages:(\d{1,9})", tuning)
    if tuning == "frozen":
        trained = parts[-1:]
    elif match is not None and 1 <= int(match[1]) <= last:
        trained = parts[-1 - int(match[1]) :]
    else:
        what = f"There is no tuning {tuning!r}" if match is None else f"This network has no {tuning}"
        numbered = f"full, frozen, lp-ft or stages:N with N from 1 to {last}" if last > 0 else "full, frozen or lp-ft"
        raise UsageError(f"{what}.", f"Use {numbered}.")
    return [n for n in names if any(in_part(n, prefixes) for _, prefixes in trained)]


def freeze(network: nn.Module, names: Collection[str]) -> None:
    """Let exactly the parameters in `names` have gradients, in place; the others lose what they had of them.

    Raises ValueError for a name that the network does not have.
    """
    kept = set(names)
    if strange := kept - {name for name, _ in network.named_parameters()}:
        raise ValueError(f"the network has no parameter {sorted(strange)[0]}")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in kept)
        if name not in kept:
            parameter.grad = None


def train_mode(network: nn.Module, tuning: str) -> None:
    """`network.train()`, in place, with everything that `tuning` freezes in eval mode.

    A module is frozen when it or a module around it has parameters and none of them is trained: its BatchNorm
    statistics stand still, and its dropout is off, so that a frozen trunk is a fixed function.
    """
    network.train()
    for module in _frozen_modules(network, trainable(network, tuning)).values():
        module.eval()


def _frozen_modules(network: nn.Module, names: Collection[str]) -> dict[str, nn.Module]:
    """The outermost modules that have parameters of which none is in `names`, by name."""
    kept = set(names)
    frozen: dict[str, nn.Module] = {}
    for name, module in network.named_modules():
        inside = [f"{name}.{n}" if name else n for n, _ in module.named_parameters()]
        if inside and kept.isdisjoint(inside) and not in_part(name, list(frozen)):
            frozen[name] = module
    return frozen


def frozen_digest(network: nn.Module, trainable_names: Collection[str]) -> str:
    """SHA-256 over everything that must not change while `trainable_names` are trained, in name order.

    That is every other parameter, and every buffer (BatchNorm statistics and counters) of a frozen module, with name,
    type and shape. Memory format and device make no difference.
    """
    kept = set(trainable_names)
    frozen = list(_frozen_modules(network, kept))
    tensors: dict[str, Tensor] = {name: p for name, p in network.named_parameters() if name not in kept}
    tensors |= {name: b for name, b in network.named_buffers() if frozen == [""] or in_part(name, frozen)}
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
