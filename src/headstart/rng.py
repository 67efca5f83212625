"""Random generators derived from a seed and a purpose; no generator state is stored.

Every random number comes from `stream(seed, purpose, epoch, index)`, so the crop of image 17 in epoch 3 is the same in
every arm, after every resume and for any number of threads. The idea is big_vision's `fold_in(rng, step)` (Beyer et
al.), here with numpy's counter-based Philox generator (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
3").
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=256)
def _key(seed: int, purpose: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=8).digest(), "little")


def stream(seed: int, purpose: str, epoch: int = 0, index: int = 0) -> np.random.Generator:
    """Return the generator of (seed, purpose, epoch, index); equal arguments give equal numbers.

    Args:
        seed: seed of the run.
        purpose: name of what the numbers are for, such as the train/val split.
        epoch: in [0, 2**24).
        index: in [0, 2**40).

    Raises:
        ValueError: `epoch` or `index` is out of range.
    """
    if not 0 <= epoch < 1 << 24 or not 0 <= index < 1 << 40:
        raise ValueError(f"epoch {epoch} or index {index} is out of range")
    return np.random.Generator(np.random.Philox(key=[_key(seed, purpose), epoch << 40 | index]))


@contextmanager
def torch_stream(seed: int, purpose: str, epoch: int = 0, index: int = 0) -> Iterator[None]:
    """Seed torch's global generators (CPU, CUDA, MPS) from `stream` within the block and restore them afterwards.

    CUDA's generators are restored only if CUDA is in use: its initialization takes seconds.

    For code that accepts no generator of its own: `torch.nn.init`, third-party constructors, dropout.
    """
    import torch

    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    mps_state = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    number = int(stream(seed, purpose, epoch, index).integers(2**63))
    with torch.random.fork_rng(devices):
        if mps_state is not None or torch.cuda.is_available():
            torch.manual_seed(number)
        else:  # for devices that are absent, manual_seed would store the stack at every step
            torch.default_generator.manual_seed(number)
        try:
            yield
        finally:
            if mps_state is not None:
                torch.mps.set_rng_state(mps_state)
