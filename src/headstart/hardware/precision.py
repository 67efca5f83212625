"""Contexts for precision and determinism, and a check for networks that bf16 cannot train.

bf16 is used where a training step of the network is faster in it, see `calibration`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from headstart.models.convolution import Convolution

NUMERICS = 4  # increment when a change in this project changes the bits or the speed of the same plan
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def autocast(precision: str, device: torch.device) -> torch.autocast | nullcontext[None]:
    """Return a context that runs convolutions and matmuls in `precision` (`fp32` or `bf16`); weights stay fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def keep_freed_memory() -> None:
    """Configure glibc to keep freed memory for the next step instead of returning it to the system.

    A training step allocates and frees the same large buffers each time. By default glibc maps each of them again and
    every page faults again (22,000 faults and 40 ms of system time for a ResNet-18 step of 32 images at 128 px on
    2 cores). With another C library the function does nothing.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


class _DeterministicSettings(Protocol):
    """`torch.utils.deterministic`, which is a module with a property."""

    fill_uninitialized_memory: bool


@contextmanager
def deterministic(device: torch.device, threads: int) -> Iterator[None]:
    """Fix the thread count, and on CUDA the algorithms, so that equal plans give equal bits."""
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    keep_freed_memory()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    cudnn, deterministic_before = torch.backends.cudnn, torch.are_deterministic_algorithms_enabled()
    matmul_before, settings = (
        torch.get_float32_matmul_precision(),
        cast(_DeterministicSettings, torch.utils.deterministic),
    )
    fill_before = settings.fill_uninitialized_memory
    with cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):  # fp32 means fp32
        if device.type == "cuda":  # imports torch's compiler, which takes two seconds
            torch.use_deterministic_algorithms(True, warn_only=True)
        torch.set_float32_matmul_precision("highest")
        settings.fill_uninitialized_memory = False  # it costs one kernel launch for each new tensor
        try:
            yield
        finally:
            torch.set_num_threads(threads_before)
            if device.type == "cuda":
                torch.use_deterministic_algorithms(deterministic_before)
            torch.set_float32_matmul_precision(matmul_before)
            settings.fill_uninitialized_memory = fill_before


def find_single_pixel_stride(network: nn.Module, size: int) -> str:
    """Return the name of the first strided convolution whose input is a single pixel wide or high; "" if none.

    In bf16 on a CPU, oneDNN does not write the part of such a kernel's gradient that covers padding only. That part
    should be 0, and it keeps the previous contents of the memory, which may be NaN (torch 2.14; kernels of 3, 5 and 7
    over 2 to 4 pixels, part of which covers padding only, gave correct gradients). `Convolution` with many channels
    does not use oneDNN. The function raises what the network raises for images of `size` px.
    """
    names: list[str] = []

    def hook(name: str, module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        """Collect convolutions that stride over a single pixel."""
        assert isinstance(module, nn.Conv2d)  # noqa: S101  (only convolutions are hooked)
        unfolds = isinstance(module, Convolution) and module.unfolds(inputs[0].shape)
        if min(inputs[0].shape[2:]) == 1 and max(module.stride) > 1 and max(module.kernel_size) > 1 and not unfolds:
            names.append(name)

    convolutions = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    handles = [module.register_forward_hook(partial(hook, name)) for name, module in convolutions]
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, size, size))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return names[0] if names else ""
