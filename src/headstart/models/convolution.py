"""A convolution that takes the faster way where oneDNN is slow, in bf16 on a CPU.

oneDNN has no good kernels where few positions are left, as in the last stage of a ResNet: at 96 px it reaches a third
of the machine's matmul peak at the weights' gradient, and with AMX an eighth, there at the other two products too. A
matrix product over the unfolded inputs gives the same sums, rounded once from float32 like oneDNN's (Chellapilla, Puri
and Simard 2006). Which way is taken follows from the shapes and the kind of processor alone, so that equal plans give
equal bits on one machine; the figures behind it are in docs/speed.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Reach:
    """Up to how many positions of the output in a batch the products are faster than oneDNN."""

    weight: int  # at the gradient of a weight with FEWEST_CHANNELS inputs or more
    strided: int  # the same with a stride
    whole: int  # at output and gradients, with MANY_CHANNELS inputs and outputs or more and without a stride


FEWEST_CHANNELS, MANY_CHANNELS = 128, 512
PLAIN = Reach(512, 2048, 0)
TILES = Reach(2048, 2048, 512)
KERNEL, PADDING = (3, 3), (1, 1)


@lru_cache(maxsize=1)
def has_tiles() -> bool:
    """Whether this processor multiplies in tiles (Intel's AMX)."""
    ask = getattr(torch.cpu, "get_capabilities", None)  # torch 2.11 may not have it
    return bool(ask().get("amx_bf16")) if ask is not None else bool(torch.cpu._is_amx_tile_supported())


def reach() -> Reach:
    """Of this machine: with tiles oneDNN's preparations, which do not shrink, cost more than its products."""
    return TILES if has_tiles() else PLAIN


class Convolution(nn.Conv2d):
    """`nn.Conv2d` (n, inputs, h, w) -> (n, outputs, h', w'), with its parameters and errors; in fp32 with its values.

    Where it is a product its output is a view, which an in-place operation must not follow directly; a norm does here.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (self._in_training(x) and self.unfolds(x.shape)):
            return super().forward(x)
        x, weight = x.to(torch.bfloat16), self.weight.to(torch.bfloat16)
        whole = self._plain and self._rows(x.shape) <= reach().whole
        if whole and min(self.in_channels, self.out_channels) >= MANY_CHANNELS:
            return cast(Tensor, _Products.apply(x, weight))
        return cast(Tensor, _Unfolding.apply(x, weight, self.stride))

    def unfolds(self, shape: Sequence[int]) -> bool:
        """Whether the weights' gradient for inputs of `shape` [n, inputs, h, w] is a product, in bf16 on a CPU."""
        return (
            len(shape) == 4
            and self.bias is None
            and (self.kernel_size, self.padding, self.groups, self.dilation) == (KERNEL, PADDING, 1, (1, 1))
            and self.in_channels >= FEWEST_CHANNELS
            and self._rows(shape) <= (reach().weight if self._plain else reach().strided)
        )

    @property
    def _plain(self) -> bool:
        return self.stride == (1, 1)

    def _rows(self, shape: Sequence[int]) -> int:
        """Positions of the output in a batch."""
        return shape[0] * -(-shape[2] // self.stride[0]) * -(-shape[3] // self.stride[1])

    def _in_training(self, x: Tensor) -> bool:
        return (
            torch.is_grad_enabled()
            and self.weight.requires_grad
            and x.device.type == "cpu"
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") == torch.bfloat16
        )


class _Unfolding(torch.autograd.Function):
    """A 3x3 convolution of padding 1 without bias, whose weight gradient is one matrix product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, stride=stride, padding=PADDING)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        """Of the input, where that has a gradient, and of the weight."""
        x, weight = ctx.saved_tensors
        of_x = None
        if ctx.needs_input_grad[0]:
            geometry = (ctx.stride, PADDING, (1, 1), False, (0, 0), 1)
            of_x = torch.ops.aten.convolution_backward(gradient, x, weight, None, *geometry, (True, False, False))[0]
        return of_x, weight_gradient(unfolded(x, KERNEL, ctx.stride, PADDING), gradient, weight.shape), None


class _Products(torch.autograd.Function):
    """A 3x3 convolution of stride 1 and padding 1 without bias, all three parts of which are matrix products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        columns = unfolded(x, KERNEL, (1, 1), PADDING)
        ctx.save_for_backward(columns, weight)
        product = columns @ weight.permute(0, 2, 3, 1).reshape(len(weight), -1).t()
        return _folded(product, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        """Of the input, where that has a gradient, and of the weight."""
        columns, weight = ctx.saved_tensors
        of_x = None
        if ctx.needs_input_grad[0]:
            # convolving with a kernel that is turned round is to turn round the map, convolve, and turn it back
            turned = unfolded(gradient.flip(2, 3), KERNEL, (1, 1), PADDING)
            product = turned @ weight.permute(2, 3, 0, 1).reshape(-1, weight.shape[1])
            of_x = _folded(product, gradient).flip(2, 3)
        return of_x, weight_gradient(columns, gradient, weight.shape)


def weight_gradient(columns: Tensor, gradient: Tensor, shape: Sequence[int]) -> Tensor:
    """∂L/∂weight of `shape` [outputs, inputs, *kernel], of the unfolded input and ∂L/∂output [n, outputs, h, w]."""
    outputs, inputs, *kernel = shape
    rows = gradient.permute(0, 2, 3, 1).reshape(-1, outputs)
    return (rows.t() @ columns).view(outputs, *kernel, inputs).permute(0, 3, 1, 2)


def unfolded(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """What the kernel covers at each place of a map [n, channels, h, w]: [n h' w', kernel's places x channels]."""
    n, channels, *size = x.shape
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    height, width = ((s + 2 * p - k) // step + 1 for s, p, k, step in zip(size, padding, kernel, stride, strict=True))
    of_n, of_row, of_column, of_channel = padded.stride()
    windows = padded.as_strided(
        (n, height, width, *kernel, channels),
        (of_n, of_row * stride[0], of_column * stride[1], of_row, of_column, of_channel),
    )
    return windows.reshape(n * height * width, -1)


def _folded(rows: Tensor, like: Tensor) -> Tensor:
    """Rows [n h w, channels] as a map [n, channels, h, w] with the places of `like`."""
    n, _, height, width = like.shape
    return rows.view(n, height, width, -1).permute(0, 3, 1, 2)
