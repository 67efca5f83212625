"""ResNet with optional shortcuts and norms.

He et al. 2015, "Deep residual learning for image recognition" (arXiv:1512.03385). The bottleneck has its stride on the
3x3 convolution ("v1.5"), as in torchvision. Module and state-dict names are torchvision's. With the shortcut,
BatchNorm and the ImageNet stem, outputs and gradients in fp32 are bit-equal to torchvision's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from headstart.models.convolution import Convolution

NORMS = ("batch", "none")
STEMS = ("imagenet", "small")


def _convolution(inputs: int, outputs: int, size: int, stride: int, norm: str) -> Convolution:
    # A norm subtracts the mean, so a bias before it has no effect; without a norm the bias is the only offset.
    return Convolution(inputs, outputs, size, stride, padding=size // 2, bias=norm == "none")


def _norm(channels: int, norm: str) -> nn.Module:
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.Identity()


def _projection(inputs: int, outputs: int, stride: int, norm: str) -> nn.Sequential | None:
    """Return the 1x1 convolution and norm of a shortcut whose shape changes (He et al. 2015, option B), else None."""
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
        """Return the block's output for x (n, inputs, h, w)."""
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
        """Return the block's output for x (n, inputs, h, w)."""
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
    """Return a stage of `blocks` blocks; the first has the stride, and the output has width * expansion channels."""
    first = block(inputs, width, stride, shortcut=shortcut, norm=norm)
    rest = (block(width * block.expansion, width, shortcut=shortcut, norm=norm) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


@dataclass(frozen=True)
class Architecture:
    """One network of the family.

    Attributes:
        block: Class of its blocks.
        depths: Blocks of each stage.
        width: Channels of the first stage.
        published: torchvision publishes weights for it.
    """

    block: Block
    depths: tuple[int, ...]
    width: int = 64
    published: bool = True


class ResNet(nn.Module):
    """Stem, stages, global average, linear head: (n, 3, h, w) -> (n, num_classes).

    The first stage has the architecture's `width` in channels, each further one twice as many and half the resolution.
    With three stages, the last map is twice as wide and high as said below.

    `stem="imagenet"` is a 7x7 convolution of stride 2 and a max-pool (the last map has 1/32 of the image's side).
    `stem="small"` is a 3x3 convolution of stride 1 without a pool (1/8), for images of about 32 px. Its `maxpool` is an
    identity, so that both have the same modules.
    """

    def __init__(
        self,
        architecture: Architecture,
        num_classes: int,
        *,
        shortcut: bool = True,
        norm: str = "batch",
        stem: str = "imagenet",
    ) -> None:
        super().__init__()
        block, width = architecture.block, architecture.width
        small = stem == "small"
        self.conv1 = _convolution(3, width, 3, 1, norm) if small else _convolution(3, width, 7, 2, norm)
        self.bn1 = _norm(width, norm)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, padding=1)
        inputs = width
        self.stage_names = tuple(f"layer{number}" for number in range(1, 1 + len(architecture.depths)))
        for name, depth in zip(self.stage_names, architecture.depths, strict=True):
            stride = 1 if name == "layer1" else 2
            self.add_module(name, make_layer(block, inputs, width, depth, stride, shortcut=shortcut, norm=norm))
            inputs, width = width * block.expansion, 2 * width
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, num_classes) for images (n, 3, h, w)."""
        # ReLU after max-pool equals max-pool after ReLU bit for bit, gradients too, and does a quarter of the work
        x = self.relu(self.maxpool(self.bn1(self.conv1(x))))
        for name in self.stage_names:
            x = self.get_submodule(name)(x)
        return cast(Tensor, self.fc(torch.flatten(self.avgpool(x), 1)))


FAMILY: dict[str, Architecture] = {
    "resnet18": Architecture(BasicBlock, (2, 2, 2, 2)),
    "resnet34": Architecture(BasicBlock, (3, 4, 6, 3)),
    "resnet50": Architecture(Bottleneck, (3, 4, 6, 3)),
    # He et al. 2015, section 4.2, for images of 32 px; its shortcuts are projections here
    "resnet20": Architecture(BasicBlock, (3, 3, 3), width=16, published=False),
}
PUBLISHED = tuple(name for name, architecture in FAMILY.items() if architecture.published)
