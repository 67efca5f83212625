"""The ResNet family on one page, and any timm network by its name.

He et al. 2015, "Deep residual learning for image recognition" (arXiv:1512.03385); the bottleneck carries its stride on
the 3x3 convolution ("v1.5"), as torchvision's does. Module and state-dict names are torchvision's, and with the
shortcut, BatchNorm and the ImageNet stem on, outputs and gradients in fp32 are bit-equal to torchvision's.

Images are float tensors (n, 3, height, width); logits are (n, classes).
"""

from __future__ import annotations

import difflib
from typing import Any, cast

import torch
from torch import Tensor, nn

from headstart.errors import UsageError
from headstart.parts.convolution import Convolution
from headstart.rng import torch_stream

NORMS = ("batch", "none")
STEMS = ("imagenet", "small")


def _convolution(inputs: int, outputs: int, size: int, stride: int, norm: str) -> Convolution:
    # A norm subtracts the mean, so a bias before it does nothing; without one the bias is the layer's only offset.
    return Convolution(inputs, outputs, size, stride, padding=size // 2, bias=norm == "none")


def _norm(channels: int, norm: str) -> nn.Module:
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.Identity()


def _projection(inputs: int, outputs: int, stride: int, norm: str) -> nn.Sequential | None:
    """The 1x1 convolution and norm on the shortcut, only where the shape changes (He et al. 2015, option B)."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_convolution(inputs, outputs, 1, stride, norm), _norm(outputs, norm))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut around them: (n, inputs, h, w) -> (n, width, h/stride, w/stride)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int = 1, *, shortcut: bool = True, norm: str = "batch") -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, width, 3, stride, norm)
        self.bn1 = _norm(width, norm)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _convolution(width, width, 3, 1, norm)
        self.bn2 = _norm(width, norm)
        self.shortcut = shortcut
        self.downsample = _projection(inputs, width, stride, norm) if shortcut else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.shortcut:
            out += x if self.downsample is None else self.downsample(x)
        return cast(Tensor, self.relu(out))


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1: (n, inputs, h, w) -> (n, 4 width, h/stride, w/stride)."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int = 1, *, shortcut: bool = True, norm: str = "batch") -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = _convolution(inputs, width, 1, 1, norm)
        self.bn1 = _norm(width, norm)
        self.conv2 = _convolution(width, width, 3, stride, norm)
        self.bn2 = _norm(width, norm)
        self.conv3 = _convolution(width, outputs, 1, 1, norm)
        self.bn3 = _norm(outputs, norm)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = shortcut
        self.downsample = _projection(inputs, outputs, stride, norm) if shortcut else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.shortcut:
            out += x if self.downsample is None else self.downsample(x)
        return cast(Tensor, self.relu(out))


Block = type[BasicBlock] | type[Bottleneck]


def make_layer(
    block: Block, inputs: int, width: int, blocks: int, stride: int, *, shortcut: bool, norm: str
) -> nn.Sequential:
    """A stage: `blocks` blocks, the first of which carries the stride; its output has width * expansion channels."""
    first = block(inputs, width, stride, shortcut=shortcut, norm=norm)
    rest = (block(width * block.expansion, width, shortcut=shortcut, norm=norm) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


class ResNet(nn.Module):
    """Stem, four stages, global average, linear head: (n, 3, h, w) -> (n, num_classes).

    `stem="imagenet"` is a 7x7 convolution of stride 2 and a max-pool (the image shrinks to 1/32 in all); `"small"` is a
    3x3 convolution of stride 1 and no pool (1/8), for images of some 32 px. `maxpool` is then an identity, so that
    both have the same modules.
    """

    def __init__(
        self,
        architecture: str,
        block: Block,
        depths: tuple[int, int, int, int],
        num_classes: int,
        *,
        shortcut: bool = True,
        norm: str = "batch",
        stem: str = "imagenet",
    ) -> None:
        super().__init__()
        self.architecture = architecture
        small = stem == "small"
        self.conv1 = _convolution(3, 64, 3, 1, norm) if small else _convolution(3, 64, 7, 2, norm)
        self.bn1 = _norm(64, norm)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, padding=1)
        wide = block.expansion
        self.layer1 = make_layer(block, 64, 64, depths[0], 1, shortcut=shortcut, norm=norm)
        self.layer2 = make_layer(block, 64 * wide, 128, depths[1], 2, shortcut=shortcut, norm=norm)
        self.layer3 = make_layer(block, 128 * wide, 256, depths[2], 2, shortcut=shortcut, norm=norm)
        self.layer4 = make_layer(block, 256 * wide, 512, depths[3], 2, shortcut=shortcut, norm=norm)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * wide, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        # the largest of rectified values is the largest rectified, bit for bit, gradients too: a quarter of the work
        x = self.relu(self.maxpool(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return cast(Tensor, self.fc(torch.flatten(self.avgpool(x), 1)))


FAMILY: dict[str, tuple[Block, tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}


def build(
    name: str, num_classes: int, *, shortcut: bool = True, norm: str = "batch", stem: str = "imagenet"
) -> nn.Module:
    """The network `name` (resnet18, resnet34, resnet50 or timm:NAME) with a linear head of `num_classes`.

    Its values are torch's defaults and always the same; `starts.initialise` fills in the real ones. Raises UsageError
    for an unknown name or switch, and for switches on a timm network.
    """
    _check_switch("norm", norm, NORMS)
    _check_switch("stem", stem, STEMS)
    if name.startswith("timm:"):
        timm_config(name)  # an unknown name is told before what it could not do
        if not (shortcut and norm == "batch" and stem == "imagenet"):
            raise UsageError(
                f"Shortcut, norm and stem can be switched in headstart's own networks only, not in {name}.",
                f"Leave the switches out, or use one of {', '.join(FAMILY)}.",
            )
        return _build_timm(name, num_classes)
    if name not in FAMILY:
        raise UsageError(f"There is no network {name!r}.", _nearest(name, [*FAMILY, "timm:NAME"]))
    block, depths = FAMILY[name]
    with torch_stream(0, "build"):
        return ResNet(name, block, depths, num_classes, shortcut=shortcut, norm=norm, stem=stem)


def _check_switch(switch: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{value!r} is no {switch}.", _nearest(value, list(known)))


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else f"Use one of {', '.join(known)}."


def timm_config(name: str) -> Any:
    """timm's own description (a PretrainedCfg) of NAME in `timm:NAME`; raises UsageError if timm has no such network.

    Only names in timm's registry are taken: its `hf-hub:` and `local-dir:` forms would fetch a description from
    elsewhere.
    """
    import timm
    from timm.models import get_pretrained_cfg

    bare = name.removeprefix("timm:")
    architecture, _, tag = bare.partition(".")
    if not timm.is_model(architecture):
        known = timm.list_models()
        close = difflib.get_close_matches(architecture, known, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join('timm:' + c for c in close)}?" if close else ""
        raise UsageError(
            f"timm {timm.__version__} has no network {bare!r}.",
            hint or f"`timm.list_models()` lists its {len(known)} networks.",
        )
    try:
        config = get_pretrained_cfg(bare)
    except RuntimeError:  # an unknown tag
        config = None
    if config is None:
        tagged = sorted(timm.list_models(f"{architecture}.*", pretrained=True))
        raise UsageError(
            f"timm {timm.__version__} has no weights {tag!r} for {architecture}.",
            f"It has {', '.join('timm:' + t for t in tagged)}." if tagged else f"Leave .{tag} out.",
        )
    return config


def _build_timm(name: str, num_classes: int) -> nn.Module:
    import timm

    config = timm_config(name)
    with torch_stream(0, "build"):
        network = timm.create_model(name.removeprefix("timm:"), pretrained=False, num_classes=num_classes)
    if not isinstance(config.classifier, str):
        raise UsageError(
            f"{name} has {len(config.classifier or ())} heads, and headstart trains exactly one.",
            "Use another network, for example the same without `_distilled` in its name.",
        )
    return network


def fixed_size(network: nn.Module) -> int | None:
    """The only side in px that the network takes (timm's vision transformers), or None where any will do."""
    config = getattr(network, "pretrained_cfg", None) or {}
    return int(config["input_size"][-1]) if config.get("fixed_input_size") else None


def head_name(network: nn.Module) -> str:
    """Name of the head's module: `fc`, or what timm calls the classifier."""
    if isinstance(network, ResNet):
        return "fc"
    return str(cast(Any, network).pretrained_cfg["classifier"])


def in_part(name: str, prefixes: list[str]) -> bool:
    """Whether the parameter or module `name` is one of `prefixes` or lies below one."""
    return any(name == p or name.startswith(p + ".") for p in prefixes)


def stages(network: nn.Module) -> list[tuple[str, list[str]]]:
    """The network's parts from input to output, head last: (name, prefixes of parameter names, see `in_part`).

    A ResNet has stem, layer1 to layer4, head; a timm network has timm's coarse groups (`group_matcher`), named by what
    their parameters have in common. What stands between the last group and the head (a final norm, say) belongs to
    the last group. A network that timm knows no groups of has a trunk and a head.
    """
    if isinstance(network, ResNet):
        layers = [(f"layer{i}", [f"layer{i}"]) for i in (1, 2, 3, 4)]
        return [("stem", ["conv1", "bn1"]), *layers, ("head", ["fc"])]
    from timm.models import group_parameters

    head, timm_network = head_name(network), cast(Any, network)
    try:
        groups = group_parameters(timm_network, timm_network.group_matcher(coarse=True))
    except (AttributeError, AssertionError):
        names = [name for name, _ in network.named_parameters() if not in_part(name, [head])]
        return [("trunk", names), ("head", [head])]
    *parts, last = [groups[key] for key in sorted(groups)]
    named: dict[str, list[str]] = {}
    for i, names in enumerate(parts):
        name = _common_name(names) if i else "stem"
        named[name if name and name not in named else f"part{i}"] = list(names)
    rest = [n for n in last if not in_part(n, [head])]
    if len(rest) == len(last) or not named:  # the head is somewhere else
        named["tail"] = rest
    else:
        named[next(reversed(named))] += rest
    trunk = [(name, [n for n in names if not in_part(n, [head])]) for name, names in named.items()]
    return [*trunk, ("head", [head])]


def _common_name(names: list[str]) -> str:
    """`stages.0` for stages.0.blocks.0.weight and stages.0.blocks.1.weight: what is shared, up to its last number."""
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
    """Module names of every convolution and linear layer, the head's included, in network order."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    return [name for name, module in network.named_modules() if isinstance(module, kinds)]


def block_names(network: nn.Module) -> list[str]:
    """Module names of the residual blocks in network order.

    A block is a member of a list of composite modules that holds no further such list: `layer1.0` in a ResNet,
    `stages.0.blocks.0` in timm's ConvNeXt. A network that keeps no such lists (VGG) has none.
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
