"""Record the operations of a network in a forward pass: which follows which, with which layer, shape and options.

Operations are those of ATen, which a network reaches however its forward is written: modules and functions, in place or
not, with any control flow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

CONVOLUTION, BATCH_NORM, LINEAR = "convolution", "batch norm", "linear layer"
RELU, ADDITION, MAX_POOLING, AVERAGE_POOLING = "ReLU", "addition", "max-pooling", "average pooling"

_KINDS = {  # by name of the ATen operation, without overload and the underscore of in-place operations
    "convolution": CONVOLUTION,
    "native_batch_norm": BATCH_NORM,
    "_native_batch_norm_legit_no_training": BATCH_NORM,
    "cudnn_batch_norm": BATCH_NORM,
    "addmm": LINEAR,
    "mm": LINEAR,
    "linear": LINEAR,
    "relu": RELU,
    "_softmax": "softmax",
    "_log_softmax": "log-softmax",
    "add": ADDITION,
    "max_pool2d_with_indices": MAX_POOLING,
    "mean": AVERAGE_POOLING,
    "avg_pool2d": AVERAGE_POOLING,
    "_adaptive_avg_pool2d": AVERAGE_POOLING,
}
_VIEWS = {  # they change no value
    "view", "_unsafe_view", "reshape", "flatten", "squeeze", "unsqueeze", "expand", "t", "detach", "alias", "clone",
    "contiguous", "_to_copy",
}  # fmt: skip
_CREATIONS = {"empty", "zeros", "ones", "full", "empty_like", "zeros_like", "ones_like", "arange", "scalar_tensor"}
POOLING_OPTIONS = ("kernel", "stride", "padding")


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        kind: What it does; the name in ATen for kinds that have no name here.
        layer: Name of the module whose parameter it uses; "" for operations without parameters.
        inputs: Numbers of the operations whose outputs it reads; -1 for the images.
        options: Its options in words, such as "3x3, stride 2"; "" without any.
    """

    kind: str
    layer: str
    inputs: tuple[int, ...]
    options: str = ""


@dataclass(frozen=True)
class Trace:
    """The operations of a forward pass, in order.

    Attributes:
        operations: The operations up to the error, if there was one.
        output: Number of the operation that gives the output; None after an error, and if the output is no tensor.
        error: What the network raised.
    """

    operations: tuple[Operation, ...]
    output: int | None
    error: Exception | None


def trace(network: nn.Module, images: Tensor) -> Trace:
    """Return the operations of a network for images [n, 3, h, w], in the mode that it has."""
    recorder = _Recorder(network, images)
    error: Exception | None = None
    output: object = None
    try:
        with torch.no_grad(), recorder:
            output = network(images)
    except Exception as fault:  # the network is any program
        error = fault
    number = recorder.numbers.get(id(output)) if isinstance(output, Tensor) else None
    return Trace(tuple(recorder.operations), number, error)


class _Recorder(TorchDispatchMode):
    """Records operations."""

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self.numbers: dict[int, int] = {id(images): -1}  # operation by id of its output
        self._layers = {
            id(tensor): name
            for name, module in network.named_modules()
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
        }
        self._kept: list[Tensor] = [images]  # ids are of living tensors

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run an operation and record it."""
        result = func(*args, **(kwargs or {}))
        name = func.__name__.partition(".")[0]
        name = name if name.startswith("_") else name.removesuffix("_")
        if isinstance(result, list):  # the parts of a tensor
            for place, part in enumerate(result):
                self._record(f"{name} part {place}", args, part)
        else:  # the other values of a tuple are for a backward pass
            output = result[0] if isinstance(result, tuple) and result else result
            if isinstance(output, Tensor) and name not in _CREATIONS:
                self._record(name, args, output)
        return result

    def _record(self, name: str, args: Sequence[object], output: Tensor) -> None:
        tensors = [arg for arg in _flat(args) if isinstance(arg, Tensor)]
        layer = next((self._layers[id(tensor)] for tensor in tensors if id(tensor) in self._layers), "")
        inputs = [self.numbers[id(tensor)] for tensor in tensors if id(tensor) in self.numbers]
        self._kept.append(output)
        if not inputs:  # of parameters and constants alone
            if layer:
                self._layers[id(output)] = layer
            return
        if name in _VIEWS:
            self.numbers[id(output)] = inputs[0]
            return
        kind = _KINDS.get(name, name)
        self.numbers[id(output)] = len(self.operations)
        self.operations.append(Operation(kind, layer, tuple(inputs), _options(kind, args, tensors, output)))


def _flat(args: Sequence[object]) -> list[object]:
    """Return arguments with those in lists, as of a concatenation."""
    return [item for arg in args for item in (arg if isinstance(arg, list | tuple) else [arg])]


def _options(kind: str, args: Sequence[object], tensors: Sequence[Tensor], output: Tensor) -> str:
    """Return the options of a pooling; those of layers with parameters are options of their modules."""
    if kind == AVERAGE_POOLING:
        is_global = output.ndim == 2 or tuple(output.shape[2:]) == (1, 1)
        return "global" if is_global and tensors[0].ndim == 4 else _sizes(args)
    return _sizes(args) if kind == MAX_POOLING else ""


def _sizes(args: Sequence[object]) -> str:
    """Return the sizes of a pooling, such as "kernel 3, stride 2, padding 1"."""
    values = [arg for arg in args[1:] if isinstance(arg, list | tuple)]
    named = zip(POOLING_OPTIONS, [*values, [0, 0]] if len(values) == 2 else values, strict=False)
    return ", ".join(f"{name} {size_text(value)}" for name, value in named)


def size_text(value: object) -> str:
    """Return a size: `3` for (3, 3), `3x1` for others."""
    sizes = list(value) if isinstance(value, list | tuple) else [value]
    return str(sizes[0]) if len(set(sizes)) == 1 else "x".join(map(str, sizes))
