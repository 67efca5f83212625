"""Limit the memory that the construction of a network takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_FACTOR = 4  # the constructor may create a tensor several times, such as a head that another one replaces
_FREE_BYTES = 128_000_000  # of small networks, whose original head has more values than they have
_SIZED = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn}  # functions of a size, whose shape is known


class TensorLimitError(ValueError):
    """A tensor does not fit in the limit of `limited_tensors`."""


class _Limit(TorchFunctionMode):
    """Counts the bytes of the tensors that functions such as `torch.empty` create, where possible before they do."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._left = limit

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        options: dict[str, Any] = dict(kwargs or {})
        if func in _SIZED:
            self._count(_bytes(options.get("size", args), options.get("dtype")))
            return func(*args, **options)
        result = func(*args, **options)
        if isinstance(result, Tensor) and not any(isinstance(value, Tensor) for value in args):
            self._count(result.nbytes)
        return result

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise TensorLimitError


def _bytes(sizes: Any, dtype: torch.dtype | None) -> int:
    """Return the bytes of a tensor; its sizes are numbers or one sequence, as torch takes them."""
    numbers = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    return int(math.prod(numbers) * (dtype or torch.get_default_dtype()).itemsize)


@contextmanager
def limited_tensors(weight_bytes: int) -> Iterator[None]:
    """Raise TensorLimitError in the block before tensors take far more memory than `weight_bytes`."""
    with _Limit(_FACTOR * weight_bytes + _FREE_BYTES):
        yield
