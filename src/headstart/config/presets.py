"""Named presets of settings."""

from __future__ import annotations

from typing import Any

from headstart.errors import UsageError
from headstart.text import nearest

PRESETS: dict[str, dict[str, Any]] = {
    "digits": {"image_size": 16, "stem": "small", "cache_resolution": 1.0, "crop": 0.6, "flip": "off", "epochs": "8ep"},
    "demo": {"epochs": "2ep"},
    "quick": {"image_size": 64, "epochs": "3ep"},
    "lab": {"image_size": 128, "optimizer": "sgd", "lr": 0.01, "schedule": "constant", "epochs": "15ep"},
}


def _for_digits(given: dict[str, Any]) -> dict[str, Any]:
    """The preset of the built-in digits; a network or start that brings its own stem keeps it."""
    brings_stem = ("timm:", "imagenet", "stats:imagenet", "stats:timm:")
    if any(str(given.get(name, "")).startswith(brings_stem) for name in ("network", "start")):
        return {name: value for name, value in PRESETS["digits"].items() if name != "stem"}
    return PRESETS["digits"]


def _preset(name: str) -> dict[str, Any]:
    if name not in PRESETS:
        raise UsageError(
            f"There is no preset {name!r}{nearest(name, list(PRESETS)) or '.'}", f"Choose one of: {', '.join(PRESETS)}."
        )
    return PRESETS[name]
