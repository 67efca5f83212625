"""Limit the memory that the construction of a network takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor
from torch.overrides import TorchFunctionMode

from headstart.errors import UsageError
from headstart.i18n import _

_FACTOR = 4  # the constructor may create a tensor several times, such as a head that another one replaces
_FREE_BYTES = 128_000_000  # of small networks, whose original head has more values than they have


class _Limit(TorchFunctionMode):
    """Counts the bytes of the tensors that functions such as `torch.empty` create."""

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
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not any(isinstance(value, Tensor) for value in args):
            self._left -= result.nbytes
            if self._left < 0:
                raise UsageError(
                    _("The network that config.json names is many times larger than the weights."),
                    _("Restore the model from a copy."),
                )
        return result


@contextmanager
def limited_tensors(weight_bytes: int) -> Iterator[None]:
    """Raise UsageError within the block when tensors are created that take far more memory than `weight_bytes`."""
    with _Limit(_FACTOR * weight_bytes + _FREE_BYTES):
        yield
