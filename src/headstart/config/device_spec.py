"""Names of devices as users write them."""

from __future__ import annotations

DEVICE_PATTERN = r"^(auto|cpu|mps|cuda(:\d+)?)$"


def device_name(value: str | int) -> str:
    """Return the name of a device; a number alone is a GPU, as in other programs."""
    text = str(value)
    return f"cuda:{text}" if text.isdecimal() else text
