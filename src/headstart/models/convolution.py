"""A convolution that uses matrix products where oneDNN is slow, in bf16 on a CPU.

oneDNN has no fast kernels for outputs with few positions, as in the last stage of a ResNet. At 96 px it reaches a
third of the machine's matmul peak for the gradient of the weights. With AMX it reaches an eighth, for the output and
the gradient of the input too. A matrix product over the unfolded inputs gives the same sums, rounded once from float32
as in oneDNN (Chellapilla, Puri and Simard 2006). The choice depends only on the shapes and the kind of processor, so
equal plans give equal bits on one machine. docs/speed.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from headstart.models.processor import has_amx


@dataclass(frozen=True)
class ProductLimits:
    """The largest numbers of output positions in a batch for which matrix products are faster than oneDNN."""

    weight: int  # gradient of a weight with MIN_INPUT_CHANNELS inputs or more, stride 1
    strided: int  # the same with a larger stride
    whole: int  # output and both gradients, with MIN_CHANNELS_ALL_PRODUCTS inputs and outputs or more, stride 1


MIN_INPUT_CHANNELS, MIN_CHANNELS_ALL_PRODUCTS = 128, 512
WITHOUT_AMX = ProductLimits(512, 2048, 0)
WITH_AMX = ProductLimits(2048, 2048, 512)
KERNEL, PADDING = (3, 3), (1, 1)


def product_limits() -> ProductLimits:
    """Return the limits of this machine; with AMX the fixed preparation of oneDNN costs more than its products."""
    return WITH_AMX if has_amx() else WITHOUT_AMX


class Convolution(nn.Conv2d):
    """`nn.Conv2d`, (n, inputs, h, w) -> (n, outputs, h', w'), with the same parameters, errors and fp32 values.

    Where the output is a matrix product, it is a view. An in-place operation must not follow it directly; here a norm
    follows.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of x [n, inputs, h, w]: [n, outputs, h', w']."""
        if not (self._in_training(x) and self.unfolds(x.shape)):
            return super().forward(x)
        x, weight = x.to(torch.bfloat16), self.weight.to(torch.bfloat16)
        whole = self._plain and self._rows(x.shape) <= product_limits().whole
        if whole and min(self.in_channels, self.out_channels) >= MIN_CHANNELS_ALL_PRODUCTS:
            return cast(Tensor, _Products.apply(x, weight))
        return cast(Tensor, _Unfolding.apply(x, weight, self.stride))

    def unfolds(self, shape: Sequence[int]) -> bool:
        """Return True if the weight gradient for inputs of `shape` [n, inputs, h, w] is a product, in bf16 on a CPU."""
        return (
            len(shape) == 4
            and self.bias is None
            and (self.kernel_size, self.padding, self.groups, self.dilation) == (KERNEL, PADDING, 1, (1, 1))
            and self.in_channels >= MIN_INPUT_CHANNELS
            and self._rows(shape) <= (product_limits().weight if self._plain else product_limits().strided)
        )

    @property
    def _plain(self) -> bool:
        return self.stride == (1, 1)

    def _rows(self, shape: Sequence[int]) -> int:
        """Return the number of output positions in a batch."""
        return shape[0] * -(-shape[2] // self.stride[0]) * -(-shape[3] // self.stride[1])

    def _in_training(self, x: Tensor) -> bool:
        return (
            torch.is_grad_enabled()
            and self.weight.requires_grad
            and x.device.type == "cpu"
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") == torch.bfloat16
        )


class IndependentConvolution(Convolution):
    """A `Convolution` whose output is never a view, so that anything may follow it, as in networks of users."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of x [n, inputs, h, w]: [n, outputs, h', w']."""
        output = super().forward(x)
        return output.clone() if output._is_view() else output


class _Context(Protocol):
    """What torch gives to `forward` and `backward` of a function."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]
    stride: tuple[int, int]

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keep tensors until the backward pass."""


class _Unfolding(torch.autograd.Function):
    """A 3x3 convolution of padding 1 without bias, whose weight gradient is one matrix product."""

    @staticmethod
    def forward(ctx: _Context, x: Tensor, weight: Tensor, stride: tuple[int, int]) -> Tensor:
        """Return the convolution."""
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, stride=stride, padding=PADDING)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        """Return the gradients of the input, if it needs one, and of the weight."""
        x, weight = ctx.saved_tensors
        input_gradient = None
        if ctx.needs_input_grad[0]:
            geometry = (ctx.stride, PADDING, (1, 1), False, (0, 0), 1)
            input_gradient = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, *geometry, (True, False, False)
            )[0]
        columns = unfold(x, KERNEL, ctx.stride, PADDING)
        return input_gradient, weight_gradient(columns, gradient, weight.shape), None


class _Products(torch.autograd.Function):
    """A 3x3 convolution of stride 1 and padding 1 without bias; output and both gradients are matrix products."""

    @staticmethod
    def forward(ctx: _Context, x: Tensor, weight: Tensor) -> Tensor:
        """Return the convolution."""
        columns = unfold(x, KERNEL, (1, 1), PADDING)
        ctx.save_for_backward(columns, weight)
        product = columns @ weight.permute(0, 2, 3, 1).reshape(len(weight), -1).t()
        return _fold(product, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        """Return the gradients of the input, if it needs one, and of the weight."""
        columns, weight = ctx.saved_tensors
        input_gradient = None
        if ctx.needs_input_grad[0]:
            # a convolution with a flipped kernel equals: flip the map, convolve, flip the result
            flipped = unfold(gradient.flip(2, 3), KERNEL, (1, 1), PADDING)
            product = flipped @ weight.permute(2, 3, 0, 1).reshape(-1, weight.shape[1])
            input_gradient = _fold(product, gradient).flip(2, 3)
        return input_gradient, weight_gradient(columns, gradient, weight.shape)


def weight_gradient(columns: Tensor, gradient: Tensor, shape: Sequence[int]) -> Tensor:
    """Return ∂L/∂weight as one matrix product.

    Args:
        columns: The unfolded input, see `unfold`.
        gradient: ∂L/∂output [n, outputs, h, w].
        shape: Shape of the weight, [outputs, inputs, *kernel].
    """
    outputs, inputs, *kernel = shape
    rows = gradient.permute(0, 2, 3, 1).reshape(-1, outputs)
    return (rows.t() @ columns).view(outputs, *kernel, inputs).permute(0, 3, 1, 2)


def unfold(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """Return the values under the kernel at each output position of a map [n, channels, h, w].

    Returns:
        A matrix [n h' w', kernel height x kernel width x channels].
    """
    n, channels, *size = x.shape
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    height, width = ((s + 2 * p - k) // step + 1 for s, p, k, step in zip(size, padding, kernel, stride, strict=True))
    image_stride, row_stride, column_stride, channel_stride = padded.stride()
    windows = padded.as_strided(
        (n, height, width, *kernel, channels),
        (
            image_stride,
            row_stride * stride[0],
            column_stride * stride[1],
            row_stride,
            column_stride,
            channel_stride,
        ),
    )
    return windows.reshape(n * height * width, -1)


def _fold(rows: Tensor, like: Tensor) -> Tensor:
    """Return rows [n h w, channels] as a map [n, channels, h, w] with the positions of `like`."""
    n, _, height, width = like.shape
    return rows.view(n, height, width, -1).permute(0, 3, 1, 2)
