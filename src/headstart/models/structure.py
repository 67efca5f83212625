"""Find the head, stages, blocks and layers of a network by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from headstart.models.resnet import ResNet
from headstart.models.timm_config import TimmConfig

PROJECTION_NAMES = ("downsample", "shortcut")  # of the projection in a shortcut, as torchvision and others name it
WeightLayer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
WEIGHT_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)  # convolutions and linear layers


_DESCRIPTION, _CONTIGUOUS = "headstart_description", "headstart_contiguous"  # attributes of a network


@dataclass(frozen=True)
class Description:
    """Structure of a network that is neither a `ResNet` nor one of timm.

    Attributes:
        head: Name of the head's module.
        stages: Name and parameters of each part of the backbone, from input to output; the first is the stem.
        construct: Returns the network with the values of its constructor.
    """

    head: str
    stages: tuple[tuple[str, tuple[str, ...]], ...]
    construct: Callable[[], nn.Module]


def describe(network: nn.Module, description: Description) -> None:
    """Attach its description to a network."""
    setattr(network, _DESCRIPTION, description)


def description_of(network: nn.Module) -> Description | None:
    """Return the description of a network; None for a `ResNet` and for networks of timm."""
    description: Description | None = getattr(network, _DESCRIPTION, None)
    return description


def use_contiguous(network: nn.Module) -> None:
    """Let a network have contiguous order in place of channels_last, in place; its inputs are converted."""
    setattr(network, _CONTIGUOUS, True)
    network.register_forward_pre_hook(_contiguous)


def _contiguous(_network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(tensor.contiguous() for tensor in inputs)


def memory_format(network: nn.Module) -> torch.memory_format:
    """Return the order of a network's tensors: channels_last, the fastest for convolutions, or contiguous."""
    return torch.contiguous_format if getattr(network, _CONTIGUOUS, False) else torch.channels_last


def fixed_size(network: nn.Module) -> int | None:
    """Return the only image size in px that the network accepts (timm's vision transformers), or None for any size."""
    if isinstance(network, ResNet) or description_of(network):
        return None
    config = TimmConfig.of(network)
    return config.input_size[-1] if config.fixed_input_size else None


def head_name(network: nn.Module) -> str:
    """Return the name of the head's module: `fc`, the classifier of a timm network, or that of the description."""
    if description := description_of(network):
        return description.head
    return "fc" if isinstance(network, ResNet) else str(TimmConfig.of(network).classifier)


def first_convolution(network: nn.Module) -> str | tuple[str, ...] | None:
    """Return the name of the first convolution; names if there are several, None if there is none."""
    if description_of(network):
        return next((name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)), None)
    return "conv1" if isinstance(network, ResNet) else TimmConfig.of(network).first_conv


class _Grouped(Protocol):
    """Network of timm that groups its parameters."""

    def group_matcher(self, *, coarse: bool) -> dict[str, str]:
        """Return regular expressions of the groups' parameter names."""


def in_part(name: str, prefixes: list[str]) -> bool:
    """Return True if the parameter or module `name` is one of `prefixes` or inside one of them."""
    return any(name == p or name.startswith(p + ".") for p in prefixes)


def stages(network: nn.Module) -> list[tuple[str, list[str]]]:
    """Return the parts of a network from input to output, with the head last.

    A ResNet has stem, layer1 to layer4 (resnet20: layer3) and head. A timm network has timm's coarse groups
    (`group_matcher`), named by the common prefix of their parameters. Modules between the last group and the head, such
    as a final norm, belong to the last group. A network for which timm has no groups has a backbone and a head. Other
    networks have the stages of their `Description`.

    Returns:
        One pair for each part: its name and the prefixes of its parameter names, see `in_part`.
    """
    if isinstance(network, ResNet):
        layers = [(name, [name]) for name in network.stage_names]
        return [("stem", ["conv1", "bn1"]), *layers, ("head", ["fc"])]
    if description := description_of(network):
        backbone = [(name, [n for n in own if not in_part(n, [description.head])]) for name, own in description.stages]
        return [*((name, own) for name, own in backbone if own), ("head", [description.head])]
    from timm.models import group_parameters

    head = head_name(network)
    try:
        groups = group_parameters(network, cast(_Grouped, network).group_matcher(coarse=True))
    except (AttributeError, AssertionError):
        names = [name for name, _ in network.named_parameters() if not in_part(name, [head])]
        return [("backbone", names), ("head", [head])]
    *parts, last = [groups[key] for key in sorted(groups)]
    prefixes: dict[str, list[str]] = {}
    for i, names in enumerate(parts):
        name = _common_name(names) if i else "stem"
        prefixes[name if name and name not in prefixes else f"part{i}"] = list(names)
    rest = [n for n in last if not in_part(n, [head])]
    if len(rest) == len(last) or not prefixes:  # the head is not in the last group
        prefixes["tail"] = rest
    else:
        prefixes[next(reversed(prefixes))] += rest
    backbone = [(name, [n for n in names if not in_part(n, [head])]) for name, names in prefixes.items()]
    return [*backbone, ("head", [head])]


def _common_name(names: list[str]) -> str:
    """Return the common prefix up to its last number: `stages.0` for stages.0.blocks.{0,1}.weight."""
    paths = [n.split(".")[:-1] for n in names if n.split(".")[0] == names[0].split(".")[0]]
    shared: list[str] = []
    for level in zip(*paths, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    while shared and not shared[-1][-1].isdigit():
        shared.pop()
    return ".".join(shared)


def layer_names(network: nn.Module) -> list[str]:
    """Return the module names of all convolutions and linear layers, including the head, in network order."""
    return [name for name, module in network.named_modules() if isinstance(module, WEIGHT_LAYERS)]


def block_names(network: nn.Module) -> list[str]:
    """Return the module names of the residual blocks in network order.

    A block is an element of a list of composite modules that contains no further such list: `layer1.0` in a ResNet,
    `stages.0.blocks.0` in timm's ConvNeXt. A network without such lists (VGG) has none.
    """
    lists = {name: module for name, module in network.named_modules() if _is_list_of_blocks(module)}
    outer = {name for name in lists for other in lists if other.startswith(name + ".")}
    return [f"{name}.{i}" for name, module in lists.items() if name not in outer for i, _ in module.named_children()]


def _is_list_of_blocks(module: nn.Module) -> bool:
    children = list(module.children())
    return (
        isinstance(module, nn.Sequential | nn.ModuleList)
        and bool(children)
        and all(any(True for _ in child.children()) for child in children)
    )


def first_filters(network: nn.Module) -> npt.NDArray[np.float32] | None:
    """Return a copy of the first convolution's weights, [n, 3, k, k]; None if its input is not RGB."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.in_channels != 3:
        return None
    return first.weight.detach().to("cpu", torch.float32, copy=True).contiguous().numpy()
