"""Named presets of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from headstart.config.duration import Duration
from headstart.config.registry.starts import DEFAULT_START
from headstart.config.start_spec import inner_start, start_row
from headstart.config.toml import TomlValue
from headstart.errors import UsageError
from headstart.i18n import _
from headstart.models.user_code import is_user_network
from headstart.optim.registry import CONSTANT_SCHEDULE
from headstart.storage.schemas.arm import Tuning
from headstart.text import end_sentence, suggestion

# Value of a field of the configuration, as given: text, a number, or a value of Python.
Setting: TypeAlias = "TomlValue | Duration | Tuning | tuple[Setting, ...] | None"

DIGITS_PRESET: dict[str, Setting] = {
    "image_size": 16,
    "stem": "small",
    "cache_resolution": 1.0,
    "crop": 0.6,
    "flip": "off",
    "jitter": 0.0,
    "epochs": "8ep",
}
PRESETS: dict[str, dict[str, Setting]] = {
    "digits": DIGITS_PRESET,
    "demo": {"epochs": "2ep", "network": "resnet20"},
    "quick": {"image_size": 64, "epochs": "3ep"},
    "lab": {
        "image_size": 128,
        "optimizer": "sgd",
        "lr": 0.01,
        "schedule": CONSTANT_SCHEDULE,
        "epochs": "15ep",
    },
}


def digits_preset(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """Return the preset of the built-in digits, without the stem when the network or start has a stem of its own."""
    start = inner_start(str(settings.get("start", DEFAULT_START)))
    network = str(settings.get("network", ""))
    if start_row(start).published or network.startswith("timm:") or is_user_network(network):
        return {name: value for name, value in DIGITS_PRESET.items() if name != "stem"}
    return DIGITS_PRESET


def preset_settings(name: str) -> dict[str, Setting]:
    """Return the settings of a preset. Raises UsageError for an unknown name."""
    if name not in PRESETS:
        raise UsageError(
            end_sentence(
                _("There is no preset {name!r}{suggestion}", name=name, suggestion=suggestion(name, list(PRESETS)))
            ),
            _("Choose one of {presets}.", presets=", ".join(PRESETS)),
        )
    return PRESETS[name]
