"""Resolve settings to a plan: default < preset < file < flags. The origin of each value is recorded.

All errors are reported at once; an unknown key comes with the most similar valid key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pydantic import ValidationError

from headstart.config.duration import Duration
from headstart.config.one_value import require_one_value
from headstart.config.presets import Setting, digits_preset, preset_settings
from headstart.config.run_config import SECTIONS, RunConfig, plan_fields
from headstart.config.toml import read_toml
from headstart.config.validation_errors import describe_error
from headstart.errors import UsageError
from headstart.i18n import Message, _, join
from headstart.text import end_sentence, message_of, suggestion

# Interval between checkpoints; None: as often as costs 1 % of the time. Only `checkpoint_interval` and
# runs/checkpoint_policy.py depend on its kind.
SaveInterval: TypeAlias = Duration | None
SAVE_FORMS = _("1ep or 50st")
_DEFAULT = _("default")


@dataclass(frozen=True)
class ResolvedSettings:
    """A draft plan and the origin of each value: `default`, `preset NAME`, `file PATH` or `flag`.

    `explicit` are the fields that the file or the flags set.
    """

    plan: RunConfig
    origins: dict[str, Message]
    explicit: frozenset[str]

    def table(self, *, defaults: bool = False) -> list[tuple[str, str, Message]]:
        """Return rows (field, value, origin) of the values that are not defaults, or of all values."""
        rows = []
        for name, (section, _unused) in plan_fields().items():
            if defaults or self.origins[name] is not _DEFAULT:
                rows.append((name, str(getattr(getattr(self.plan, section), name)), self.origins[name]))
        return rows


def resolve_settings(
    flags: Mapping[str, Setting],
    *,
    file: Path | None = None,
    preset: str | None = None,
    other_names: Iterable[str] = (),
) -> ResolvedSettings:
    """Merge defaults, presets, file and flags into a draft plan.

    The built-in data set applies the preset `digits`.

    Args:
        flags: values by field name; None means not set.
        file: TOML file with settings.
        preset: name of a preset.
        other_names: names that are valid beside those of the plan, for the suggestion after an unknown name.

    Raises:
        UsageError: settings are invalid; the message lists all of them.
    """
    valid = plan_fields()
    flags = {name: value for name, value in flags.items() if value is not None}
    require_one_value(flags, in_study=False)
    from_file = _read_file(file) if file is not None else {}
    given = {**from_file, **flags}
    source = str(given.get("source", "digits"))
    is_digits = source.partition(":")[0] == "digits"
    layers = [(_("preset {name}", name="digits"), digits_preset(given))] if is_digits else []
    layers += [(_("preset {name}", name=preset), preset_settings(preset))] if preset is not None else []
    layers += [(_("file {path}", path=file), from_file), (_("flag"), flags)]

    origins = dict.fromkeys(valid, _DEFAULT)
    values: dict[str, Setting] = {}
    for origin, layer in layers:
        for name, value in layer.items():
            values[name] = value
            origins[name] = origin
    unknown = [
        _("{name!r} is not a setting{suggestion}", name=name, suggestion=suggestion(name, [*valid, *other_names]))
        for name in values
        if name not in valid
    ]
    nested: dict[str, dict[str, Setting]] = {section: {} for section in SECTIONS}
    for name, value in values.items():
        if name in valid:
            nested[valid[name][0]][name] = value
    try:
        plan = RunConfig.model_validate(nested)
    except ValidationError as error:
        raise _usage_error(unknown + [describe_error(e, RunConfig) for e in error.errors()]) from None
    if unknown:
        raise _usage_error(unknown)
    return ResolvedSettings(plan, origins, frozenset(given))


def _read_file(path: Path) -> dict[str, Setting]:
    """Return the fields in a TOML file, which are at its top level or under the plan's section names."""
    content = read_toml(path, _("settings file"), UsageError)
    flat: dict[str, Setting] = {}
    for key, value in content.items():
        if key == "facts":  # a plan written by an earlier run: its facts are determined again
            continue
        if isinstance(value, dict) and key in SECTIONS:
            flat |= value
        else:
            flat[key] = value
    return flat


def _usage_error(faults: list[Message]) -> UsageError:
    return UsageError(end_sentence(join(faults, "; ")), _("See `headstart train --help-all` for settings and values."))


def checkpoint_interval(save_every: str | None) -> SaveInterval:
    """Parse the interval between checkpoints, in one of `SAVE_FORMS`.

    Raises:
        UsageError: it is not a duration above 0.
    """
    if save_every is None:
        return None
    hint = _("Write for example {forms}.", forms=SAVE_FORMS)
    try:
        interval = Duration.parse(save_every)
    except ValueError as error:
        raise UsageError(end_sentence(_("save-every = {fault}", fault=message_of(error))), hint) from None
    if interval.value <= 0:
        raise UsageError(_("save-every = {save_every!r} must be above 0.", save_every=save_every), hint)
    return interval
