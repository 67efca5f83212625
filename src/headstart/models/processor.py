"""Instructions of the processor that decide which kernels are fast."""

from __future__ import annotations

from functools import lru_cache

import torch


@lru_cache(maxsize=1)
def has_amx() -> bool:
    """Return True if the processor multiplies matrices in tiles (Intel AMX)."""
    capabilities = _capabilities()
    return capabilities.get("amx_bf16", False) if capabilities else bool(torch.cpu._is_amx_tile_supported())


def multiplies_bf16() -> bool:
    """Return True if the processor has instructions for products of bf16 (Intel and AMD: AVX512-BF16, AMX)."""
    return any(_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))


@lru_cache(maxsize=1)
def _capabilities() -> dict[str, bool]:
    """Return which instructions the processor has, by torch's names; empty if torch does not report them."""
    get_capabilities = getattr(torch.cpu, "get_capabilities", dict)  # torch 2.11 may not have it
    return dict(get_capabilities())
