"""The only source of randomness: derived from names, never stored.

A number is drawn from `stream(seed, purpose, epoch, index)`, so the crop of photo 17 in epoch 3 is the same in every
arm, after every resume and for any number of threads. The idea is big_vision's `fold_in(rng, step)` (Beyer et al.),
here with numpy's counter-based Philox generator (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
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
    """A generator of its own for (seed, purpose, epoch, index); equal arguments give equal numbers.

    `epoch` must lie in [0, 2**24), `index` in [0, 2**40). Raises ValueError outside.
    """
    if not 0 <= epoch < 1 << 24 or not 0 <= index < 1 << 40:
        raise ValueError(f"epoch {epoch} or index {index} is out of range")
    return np.random.Generator(np.random.Philox(key=[_key(seed, purpose), epoch << 40 | index]))


@contextmanager
def torch_stream(seed: int, purpose: str, epoch: int = 0, index: int = 0) -> Iterator[None]:
    """Within the block torch's global generators are seeded from that stream; afterwards they are as before.

    For what draws from them and takes no other: `torch.nn.init`, other people's constructors, dropout.
    """
    import torch

    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(stream(seed, purpose, epoch, index).integers(2**63)))
        yield
