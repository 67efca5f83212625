"""Precision and speed of this machine: measured, not assumed.

bf16 is taken where a training step of the network at hand is faster in it. The machine's matmul peak gives each run's
speed a scale: model FLOP/s utilisation (MFU; Chowdhery et al. 2022, appendix B).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from headstart.models.convolution import Convolution

NUMERICS = 4  # raised whenever a change in this project gives other bits, or another speed, for the same plan
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def autocast(precision: str, device: torch.device) -> Any:
    """A context in which convolutions and matmuls run in `precision` (`fp32` or `bf16`); weights stay fp32."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def keep_memory() -> None:
    """Let glibc keep freed memory for the next step in the place of handing it back to the system.

    A training step allocates and frees the same large buffers each time; by default each is mapped and its pages
    faulted in anew (22,000 faults and 40 ms of system time for a ResNet-18 step of 32 photos at 128 px on 2 cores).
    Does nothing where the C library is another.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


@contextmanager
def deterministic(device: torch.device, threads: int) -> Iterator[None]:
    """Fix the thread count, and on CUDA the algorithms, so that equal plans give equal bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    keep_memory()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    cudnn, asked = torch.backends.cudnn, torch.are_deterministic_algorithms_enabled()
    products, fills = torch.get_float32_matmul_precision(), cast(Any, torch.utils.deterministic)
    filled = fills.fill_uninitialized_memory
    with cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):  # fp32 means fp32
        torch.use_deterministic_algorithms(device.type == "cuda" or asked, warn_only=True)
        torch.set_float32_matmul_precision("highest")
        fills.fill_uninitialized_memory = False  # a launch for each new tensor, which nobody reads
        try:
            yield
        finally:
            torch.set_num_threads(before)
            torch.use_deterministic_algorithms(asked)
            torch.set_float32_matmul_precision(products)
            fills.fill_uninitialized_memory = filled


def strided_on_a_pixel(network: nn.Module, size: int) -> str:
    """The first convolution that takes strides over a single pixel at images of `size` px; "" if none.

    In bf16 on a CPU, oneDNN leaves the part of such a kernel's gradient that meets padding only as it found the memory:
    NaN, perhaps, where 0 belongs (torch 2.14; kernels of 3, 5 and 7 over 2 to 4 pixels, part of which meets padding
    only, came out right). Ours of many channels do not ask oneDNN. Raises whatever the network raises for that size.
    """
    found: list[str] = []

    def hook(name: str, module: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)  # noqa: S101  (no other is hooked)
        ours = isinstance(module, Convolution) and module.unfolds(inputs[0].shape)
        if min(inputs[0].shape[2:]) == 1 and max(module.stride) > 1 and max(module.kernel_size) > 1 and not ours:
            found.append(name)

    convolutions = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    handles = [module.register_forward_hook(partial(hook, name)) for name, module in convolutions]
    was = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, size, size))
    finally:
        network.train(was)
        for handle in handles:
            handle.remove()
    return found[0] if found else ""
