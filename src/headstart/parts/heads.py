"""Heads, and which parameters are trained: frozen means no gradient, no moving BatchNorm statistics, and a proof.

Names of parameters are state-dict keys, in network order. `lp-ft` (Kumar et al. 2022) is two phases, "frozen" and then
"full", and belongs to the caller.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

import torch
from torch import Tensor, nn

from headstart.errors import UsageError
from headstart.parts.initial import fresh_head
from headstart.parts.networks import head_name, in_part, stages
from headstart.parts.starts import Start
from headstart.rng import torch_stream

WIDEST = 65_536


class Linear(nn.Linear):
    """A linear layer that computes in fp32 also under autocast: heads are cheap, and their logits are what counts.

    So a head gives the same numbers on a trunk's output that was kept as on one that has just been computed.
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def attach(network: nn.Module, head: str, num_classes: int, *, seed: int) -> None:
    """Put a new head in place, in `network`: `linear`, or `mlp:WIDTH` (linear, ReLU, linear; keys fc.0 and fc.2).

    Its values are drawn from (seed, "head"), as `starts.initialise` draws them again: the order of the two does not
    matter to the numbers. Raises UsageError for another spelling, and for an mlp where timm's head is no linear layer.
    """
    width = _width(head)
    name = head_name(network)
    old = network.get_submodule(name)
    first = old[0] if isinstance(old, nn.Sequential) else old
    if isinstance(first, nn.Linear):
        inputs = first.in_features
        with torch_stream(seed, "head"):
            if width is None:
                new: nn.Module = Linear(inputs, num_classes)
            else:
                new = nn.Sequential(Linear(inputs, width), nn.ReLU(), Linear(width, num_classes))
        network.set_submodule(name, new)
    elif width is not None or getattr(old, "out_channels", None) != num_classes:
        raise UsageError(f"The head of this network is a {type(old).__name__}, no linear layer.", "Use --head linear.")
    fresh_head(network, seed=seed)


def _width(head: str) -> int | None:
    """The hidden width of `mlp:WIDTH`, None for `linear`."""
    if head == "linear":
        return None
    match = re.fullmatch(r"mlp:(\d{1,9})", head)
    if match is None or not 1 <= int(match[1]) <= WIDEST:
        raise UsageError(f"There is no head {head!r}.", f"Use linear, or mlp:WIDTH with 1 to {WIDEST}, as in mlp:256.")
    return int(match[1])


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


def pretrained_names(network: nn.Module, start: Start) -> list[str]:
    """Names of the parameters that `start` brought, for a learning rate of their own: all but the head, or none.

    A `stats:` start counts as bringing them: it is the control of its model and must be treated alike.
    """
    if start.state is None:
        return []
    head = [head_name(network)]
    return [name for name, _ in network.named_parameters() if not in_part(name, head)]
