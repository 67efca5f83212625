"""Precision and speed of this machine: measured, not assumed.

bf16 is taken where a training step of the network at hand is faster in it. The machine's matmul peak gives each run's
speed a scale: model FLOP/s utilisation (MFU; Chowdhery et al. 2022, appendix B).
"""

from __future__ import annotations

import copy
import ctypes
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from headstart.parts.convolution import Convolution

NUMERICS = 4  # raised whenever a change in this project gives other bits, or another speed, for the same plan
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def pick_device(name: str) -> torch.device:
    """`auto` is the first of cuda, mps and cpu that is there. Raises ValueError for a device that is not."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here.get(device.type, False) or (device.index or 0) >= max(torch.cuda.device_count(), 1):
        raise ValueError(f"no device {name} on this machine")
    return device


def usable_cores() -> int:
    """Cores this process may use: its affinity, and a container's CPU quota (which libomp does not see)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:  # noqa: PTH123
            quota, period = file.read().split()
        return min(cores, max(1, int(quota) // int(period))) if quota != "max" else cores
    except (OSError, ValueError):
        return cores


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on `device` in channels_last order, always: the layout that convolutions are fastest in."""
    return network.to(device).to(memory_format=torch.channels_last)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


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
def repeatable(device: torch.device, threads: int) -> Iterator[None]:
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


def training_step(network: nn.Module, batch: Tensor, precision: str) -> None:
    """One forward and backward pass on a batch, without an update."""
    with autocast(precision, batch.device):
        loss = F.cross_entropy(network(batch).float(), torch.zeros(len(batch), dtype=torch.long, device=batch.device))
    loss.backward()
    network.zero_grad(set_to_none=True)


def step_seconds(
    network: nn.Module, shape: tuple[int, ...], device: torch.device, precisions: Sequence[str]
) -> dict[str, float]:
    """Seconds of one training step on zeros of `shape` [n, 3, h, w] in each precision: the fastest of three.

    They take turns, so that a machine that is busy for a moment does not decide. Works on a copy: the network's
    weights and statistics stay as they are.
    """
    trial = copy.deepcopy(network).train()
    batch = torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last)
    found: dict[str, list[float]] = {name: [] for name in precisions}
    for turn in range(4):
        for name in precisions:
            try:
                seconds = _best(partial(training_step, trial, batch, name), device, warm=int(turn == 0), times=1)
            except RuntimeError:  # this device or one of its kernels refuses bf16
                if name == "fp32":
                    raise
                seconds = 1e9
            found[name] += [seconds] if turn else []
    return {name: min(seconds) for name, seconds in found.items()}


def warm(network: nn.Module, shape: tuple[int, ...], device: torch.device, precision: str) -> None:
    """Let the backend prepare its kernels for the shapes that are to come (oneDNN is slow at each new one)."""
    trial = copy.deepcopy(network)
    batch = torch.zeros(shape, device=device).contiguous(memory_format=torch.channels_last)
    trial.train()
    for _ in range(2):
        training_step(trial, batch, precision)
    trial.eval()
    with torch.no_grad(), autocast(precision, device):
        trial(batch)
    synchronise(device)


def matmul_peak(device: torch.device, precision: str, times: int = 5) -> float:
    """FLOP/s of a square matrix product in `precision`, the best of `times`: the scale of the MFU."""
    side = 8192 if device.type == "cuda" else 2048
    a = torch.ones((side, side), device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    return 2 * side**3 / _best(lambda: a @ a, device, warm=2, times=times)


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


def training_flops(network: nn.Module, size: int) -> float:
    """FLOPs of one photo [3, size, size], forward and backward, counted by torch.utils.flop_counter."""
    trial = copy.deepcopy(network).cpu().train()
    counter = FlopCounterMode(display=False)
    with counter:
        trial(torch.zeros(2, 3, size, size)).sum().backward()
    return counter.get_total_flops() / 2


def _best(work: Callable[[], Any], device: torch.device, *, warm: int, times: int) -> float:
    seconds = []
    for _ in range(warm + times):
        synchronise(device)
        begin = time.perf_counter()
        work()
        synchronise(device)
        seconds.append(time.perf_counter() - begin)
    return min(seconds[warm:])
