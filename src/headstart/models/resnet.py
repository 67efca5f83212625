"""ResNet with optional shortcuts and norms.

He et al. 2015, "Deep residual learning for image recognition" (arXiv:1512.03385). The bottleneck has its stride on the
3x3 convolution ("v1.5"), as in torchvision. Module and state-dict names are torchvision's. With the shortcut,
BatchNorm and the ImageNet stem, outputs and gradients in fp32 are bit-equal to torchvision's.
"""

from __future__ import annotations

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


class ResNet(nn.Module):
    """Stem, four stages, global average, linear head: (n, 3, h, w) -> (n, num_classes).

    `stem="imagenet"` is a 7x7 convolution of stride 2 and a max-pool (the last map has 1/32 of the image's side).
    `stem="small"` is a 3x3 convolution of stride 1 without a pool (1/8), for images of about 32 px. Its `maxpool` is an
    identity, so that both have the same modules.
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
        """Return logits (n, num_classes) for images (n, 3, h, w)."""
        # ReLU after max-pool equals max-pool after ReLU bit for bit, gradients too, and does a quarter of the work
        x = self.relu(self.maxpool(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return cast(Tensor, self.fc(torch.flatten(self.avgpool(x), 1)))


FAMILY: dict[str, tuple[Block, tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
