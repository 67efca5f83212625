"""Heads, and which parameters are trained: frozen means no gradient, no moving BatchNorm statistics, and a proof.

Names of parameters are state-dict keys, in network order. `lp-ft` (Kumar et al. 2022) is two phases, "frozen" and then
"full", and belongs to the caller.
"""

from __future__ import annotations

import copy
import re

import torch
from torch import Tensor, nn

from headstart.errors import UsageError
from headstart.models.structure import head_name
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


LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def fresh_head(network: nn.Module, *, seed: int) -> None:
    """Draw the head's values, in place: torch's own initialisation (uniform, ±1/√fan-in), from (seed, "head").

    They depend on the seed and the head's shape only, so that all arms with one head share its first values, on any
    device.
    """
    head = network.get_submodule(head_name(network))
    drawn = copy.deepcopy(head).cpu()  # every device has random numbers of its own
    with torch_stream(seed, "head"):
        for module in drawn.modules():
            if isinstance(module, LAYERS):
                module.reset_parameters()
    head.load_state_dict(drawn.state_dict())
