"""Settings become a plan: default < preset < file < flags, and the origin of each value is known.

All errors are reported at once, and an unknown key names the nearest known one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from headstart.config.duration import Duration
from headstart.config.presets import _for_digits, _preset
from headstart.config.run_config import SECTIONS, RunConfig, fields
from headstart.config.toml import read_toml
from headstart.errors import UsageError
from headstart.text import nearest


@dataclass(frozen=True)
class ResolvedSettings:
    """A draft plan and where each of its values came from (`default`, `preset NAME`, `file PATH`, `flag`)."""

    plan: RunConfig
    origins: dict[str, str]

    def table(self) -> list[tuple[str, str, str]]:
        """Rows (field, value, origin) of everything that is not a default."""
        rows = []
        for name, (section, _) in fields().items():
            if self.origins[name] != "default":
                rows.append((name, str(getattr(getattr(self.plan, section), name)), self.origins[name]))
        return rows


def resolve_settings(flags: dict[str, Any], *, file: Path | None = None, preset: str | None = None) -> ResolvedSettings:
    """Join the layers into a draft plan.

    `flags` holds the values given on the command line by field name; None means not given. A built-in data set brings
    the preset of its name. Raises UsageError with every fault at once.
    """
    known = fields()
    given = {name: value for name, value in flags.items() if value is not None}
    from_file = _read_file(file) if file is not None else {}
    source = str(given.get("source", from_file.get("source", "digits")))
    layers = [("preset digits", _for_digits({**from_file, **given}))] if source.partition(":")[0] == "digits" else []
    layers += [(f"preset {preset}", _preset(preset))] if preset is not None else []
    layers += [(f"file {file}", from_file), ("flag", given)]

    origins = dict.fromkeys(known, "default")
    values: dict[str, Any] = {}
    for origin, layer in layers:
        for name, value in layer.items():
            values[name] = value
            origins[name] = origin
    unknown = [f"{name!r} is not a setting{nearest(name, list(known))}" for name in values if name not in known]
    nested: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for name, value in values.items():
        if name in known:
            nested[known[name][0]][name] = value
    try:
        plan = RunConfig.model_validate(nested)
    except ValidationError as error:
        raise _usage(unknown + [_sentence(e) for e in error.errors()]) from None
    if unknown:
        raise _usage(unknown)
    return ResolvedSettings(plan, origins)


def _read_file(path: Path) -> dict[str, Any]:
    """The fields in a TOML file, written flat or under the plan's section names."""
    content = read_toml(path, "settings file", UsageError)
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if key == "facts":  # a plan written by an earlier run: found again, never taken over
            continue
        if isinstance(value, dict) and key in SECTIONS:
            flat |= value
        else:
            flat[key] = value
    return flat


def _sentence(error: Any) -> str:
    name = next(
        (part for part in reversed(error["loc"]) if isinstance(part, str)), ""
    )  # an item of a list has a number
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "string_pattern_mismatch" and name in fields():
        message = f"must be {fields()[name][1].description}"
    if error["type"] == "literal_error":
        known = [str(value) for value in get_args(fields()[name][1].annotation)]
        message = f"choose one of {', '.join(known)}{nearest(str(error['input']), known)}"
    if name in ("", *SECTIONS):
        return message
    return f"{name.replace('_', '-')} = {error['input']}: {message[0].lower()}{message[1:]}"


def _usage(faults: list[str]) -> UsageError:
    told = "; ".join(faults).rstrip(".")
    return UsageError(
        told if told.endswith("?") else f"{told}.", "See `headstart train --help` for every setting and its values."
    )


def checkpoint_interval(save_every: str | None) -> Duration | None:
    """How often a checkpoint is written, as a user says it. Raises UsageError for what is no duration, or none."""
    if save_every is None:
        return None
    hint = "Write for example 1ep or 50st."
    try:
        every = Duration.parse(save_every)
    except ValueError as error:
        raise UsageError(f"save-every = {error}.", hint) from None
    if every.value <= 0:
        raise UsageError(f"save-every = {save_every!r} is no time at all.", hint)
    return every
