"""A convolution that takes the faster way where oneDNN is slow, in bf16 on a CPU.

oneDNN has no good kernels where few positions are left, as in the last stage of a ResNet: at 96 px it reaches a third
of the machine's matmul peak at the weights' gradient, and with AMX an eighth, there at the other two products too. A
matrix product over the unfolded inputs gives the same sums, rounded once from float32 like oneDNN's (Chellapilla, Puri
and Simard 2006). Which way is taken follows from the shapes and the kind of processor alone, so that equal plans give
equal bits on one machine; the figures behind it are in docs/speed.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Reach:
    """Up to how many positions of the output in a batch the products are faster than oneDNN."""

    weight: int  # at the gradient of a weight with FEWEST_CHANNELS inputs
    strided: int  # the same with a stride
    whole: int  # at output and gradients with MANY_CHANNELS inputs and outputs, without a stride


FEWEST_CHANNELS, MANY_CHANNELS = 128, 512
AVX512 = Reach(512, 2048, 0)
AMX = Reach(2048, 2048, 512)


@lru_cache(maxsize=1)
def reach() -> Reach:
    """Of this machine: its tiles (AMX) make oneDNN's preparations, which do not shrink, cost more than its products."""
    return AMX if torch.cpu._is_amx_tile_supported() else AVX512


class Convolution(nn.Conv2d):
    """`nn.Conv2d` (n, inputs, h, w) -> (n, outputs, h', w'), with its parameters, values and errors."""

    def forward(self, x: Tensor) -> Tensor:
        if not self._is_candidate(x):
            return super().forward(x)
        n, _, height, width = x.shape
        rows = n * -(-height // self.stride[0]) * -(-width // self.stride[1])
        plain, channels = self.stride == (1, 1), min(self.in_channels, self.out_channels)
        if plain and rows <= reach().whole and channels >= MANY_CHANNELS:
            whole: Tensor = _Products.apply(x.to(torch.bfloat16), self.weight.to(torch.bfloat16))
            return whole
        if rows <= (reach().weight if plain else reach().strided):
            weight = self.weight.to(torch.bfloat16)
            result: Tensor = _Unfolding.apply(x.to(torch.bfloat16), weight, self.stride, self.padding)
            return result
        return super().forward(x)

    def _is_candidate(self, x: Tensor) -> bool:
        """Whether this is a 3x3 convolution under training in bf16 on a CPU, with channels enough."""
        return (
            torch.is_grad_enabled()
            and self.weight.requires_grad
            and x.device.type == "cpu"
            and x.ndim == 4
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") == torch.bfloat16
            and self.bias is None
            and self.kernel_size == (3, 3)
            and (self.groups, self.dilation, self.padding) == (1, (1, 1), (1, 1))
            and self.in_channels >= FEWEST_CHANNELS
        )


class _Unfolding(torch.autograd.Function):
    """A convolution without bias, dilation and groups, whose weight gradient is one matrix product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, stride=stride, padding=padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Of input and weight, each only where it is asked for."""
        x, weight = ctx.saved_tensors
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            geometry = (ctx.stride, ctx.padding, (1, 1), False, (0, 0), 1)
            of_x = torch.ops.aten.convolution_backward(gradient, x, weight, None, *geometry, (True, False, False))[0]
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(x, gradient, weight.shape[2:], ctx.stride, ctx.padding)
        return of_x, of_weight, None, None


class _Products(torch.autograd.Function):
    """A 3x3 convolution of stride 1 and padding 1 without bias, all three parts of which are matrix products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        columns = unfolded(x, (3, 3), (1, 1), (1, 1))
        ctx.save_for_backward(columns, weight)
        product = columns @ weight.permute(0, 2, 3, 1).reshape(len(weight), -1).t()
        return _folded(product, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Of input and weight, each only where it is asked for."""
        columns, weight = ctx.saved_tensors
        outputs, inputs, *kernel = weight.shape
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            # convolving with a kernel that is turned round is to turn round the map, convolve, and turn it back
            turned = unfolded(gradient.flip(2, 3), (3, 3), (1, 1), (1, 1))
            product = turned @ weight.permute(2, 3, 0, 1).reshape(-1, inputs)
            of_x = _folded(product, gradient).flip(2, 3)
        if ctx.needs_input_grad[1]:
            of_weight = (_rows(gradient).t() @ columns).view(outputs, *kernel, inputs).permute(0, 3, 1, 2)
        return of_x, of_weight


def weight_gradient(
    x: Tensor, gradient: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """∂L/∂weight [outputs, inputs, *kernel] of a convolution, of its input [n, inputs, h, w] and ∂L/∂output."""
    product = _rows(gradient).t() @ unfolded(x, kernel, stride, padding)
    return product.view(gradient.shape[1], *kernel, x.shape[1]).permute(0, 3, 1, 2)


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


def _rows(x: Tensor) -> Tensor:
    """A map [n, channels, h, w] as [n h w, channels]."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _folded(rows: Tensor, like: Tensor) -> Tensor:
    """Rows [n h w, channels] as a map [n, channels, h, w] with the places of `like`."""
    n, _, height, width = like.shape
    return rows.view(n, height, width, -1).permute(0, 3, 1, 2)
