"""A convolution that takes the faster way to its weights' gradient, in bf16 on a CPU.

oneDNN has no good kernel for it where few positions are left, as in the last stage of a ResNet: at 96 px it reaches a
third of the machine's matmul peak there. One matrix product over the unfolded inputs gives the same sums, rounded once
from float32 like oneDNN's (Chellapilla, Puri and Simard 2006). Which way is taken follows from the shapes alone, so
that equal plans give equal bits; the figures behind it are in docs/speed.md.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

FEWEST_CHANNELS = 128
MOST_ROWS, MOST_ROWS_STRIDED = 512, 2048  # positions of the output in a batch; oneDNN is slower with a stride


class Convolution(nn.Conv2d):
    """`nn.Conv2d` (n, inputs, h, w) -> (n, outputs, h', w'), with its parameters, values and errors."""

    def forward(self, x: Tensor) -> Tensor:
        if self._is_slow(x):
            weight = self.weight.to(torch.bfloat16)
            result: Tensor = _Unfolding.apply(x.to(torch.bfloat16), weight, self.stride, self.padding)
            return result
        return super().forward(x)

    def _is_slow(self, x: Tensor) -> bool:
        """Whether oneDNN is slow at this weight's gradient."""
        if not (
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
        ):
            return False
        n, _, height, width = x.shape
        rows = n * -(-height // self.stride[0]) * -(-width // self.stride[1])
        return rows <= (MOST_ROWS if self.stride == (1, 1) else MOST_ROWS_STRIDED)


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


def weight_gradient(
    x: Tensor, gradient: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """∂L/∂weight [outputs, inputs, *kernel] of a convolution, of its input [n, inputs, h, w] and ∂L/∂output."""
    (n, inputs, _, _), (_, outputs, height, width) = x.shape, gradient.shape
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    of_n, of_row, of_column, of_channel = padded.stride()
    windows = padded.as_strided(
        (n, height, width, *kernel, inputs),
        (of_n, of_row * stride[0], of_column * stride[1], of_row, of_column, of_channel),
    )
    rows = gradient.permute(0, 2, 3, 1).reshape(-1, outputs)
    product = rows.t() @ windows.reshape(len(rows), -1)
    return product.view(outputs, *kernel, inputs).permute(0, 3, 1, 2)
