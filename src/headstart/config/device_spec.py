"""Names of devices as users write them."""

from __future__ import annotations

DEVICE_PATTERN = r"^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$"


def normalize_device(value: str | int) -> str:
    """Return the name of a device; a number alone is a GPU, as in other programs."""
    text = str(value)
    return f"cuda:{int(text)}" if text.isascii() and text.isdecimal() else text
