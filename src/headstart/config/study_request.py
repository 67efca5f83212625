"""Build the specification of a study from the arguments of `compare`, before any slow import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from headstart.config.duration import Duration
from headstart.config.one_value import require_one_value
from headstart.config.plan_values import Length, VariedValues
from headstart.config.presets import Setting
from headstart.config.registry.starts import DEFAULT_START, PRETRAINED_START, SOURCE_START
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import STUDY_FIELDS, plan_fields
from headstart.config.study_config import OPTIMIZER_FIELDS, StudyConfig
from headstart.config.study_file import StudySpec, read_study, validate_study
from headstart.config.toml import read_toml
from headstart.errors import UsageError
from headstart.i18n import _
from headstart.storage.schemas.arm import Tuning, TuningKind


def _default_arms(pretrained: str) -> tuple[str, ...]:
    """Return random weights, and pretrained weights with each usual fine-tuning mode."""
    return (DEFAULT_START, *(pretrained + tuning for tuning in ("", f"+{TuningKind.FROZEN}", f"+{TuningKind.LP_FT}")))


DEFAULT_ARMS = _default_arms(PRETRAINED_START)
DEMO_ARMS = _default_arms(f"{SOURCE_START}:digits:0-5")


def build_study_spec(
    data: str | Path | None,
    arms: Sequence[str],
    vary: Mapping[str, VariedValues] | None,
    study: str | Path | None,
    config: str | Path | None,
    preset: str | None,
    settings: Mapping[str, Setting],
) -> StudySpec:
    """Return the study that a call of `compare` specifies.

    Args:
        data: folder of class folders, manifest, or `digits`.
        arms: arms as `START[+TUNING][+HEAD][@OPTIMIZER]`.
        vary: values by plan field, with which the arms are crossed.
        study: study.toml file or study folder; excludes everything else.
        config: TOML file with settings of the plan.
        preset: name of a preset.
        settings: fields of the protocol and of the plan; None means not set.

    Raises:
        UsageError: the arguments are invalid; the message lists all faults.
    """
    fields = {name: value for name, value in settings.items() if value is not None}
    require_one_value(fields, in_study=True)
    if study is not None:
        reject_extra_options(study, data, arms, vary, config, preset, fields)
        return read_study(Path(study))
    rules = {name: fields.pop(name) for name in StudyConfig.model_fields if name in fields}
    if data in (None, "digits") and not arms and config is None:
        arms, preset = DEMO_ARMS, preset or "demo"
    rules["arms"] = tuple(arms) or DEFAULT_ARMS
    rules["vary"] = {name.replace("-", "_"): [*_varied_values(name, values)] for name, values in (vary or {}).items()}
    if config is not None:
        _require_settings(Path(config))
    source = {"source": None if data is None else str(data)}
    draft = resolve_settings(
        {**source, **fields},
        file=Path(config) if config is not None else None,
        preset=preset,
        other_names=StudyConfig.model_fields,
    )
    plan = draft.plan
    explicit = [name for name in OPTIMIZER_FIELDS if name in draft.explicit]
    rules.setdefault("fixed_fields", tuple(explicit))
    if "lr" in explicit:  # a learning rate that the user set is not searched
        rules.setdefault("search", "off")
    for name, hint in STUDY_FIELDS.items():
        if plan.value(name) != plan_fields()[name][1].default:
            raise UsageError(_("{name} cannot be set for a whole study.", name=name), hint)
    return validate_study(rules, plan)


def _varied_values(name: str, values: VariedValues) -> tuple[str, ...]:
    """Return the values of a varied field as text. Raises UsageError for a single value."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        example = values.split(",") if isinstance(values, str) else [values]
        raise UsageError(
            _("vary: the values of {name!r} must be a list, not {value}.", name=name, value=repr(values)),
            _("Write vary={vary}.", vary=repr({name: example})),
        )
    return tuple(map(_value_text, values))


def _value_text(value: str | float | Duration | Tuning | Sequence[Length]) -> str:
    """Return a value of a plan field as text; a list is separated by commas."""
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _require_settings(file: Path) -> None:
    """Raise UsageError when a settings file, which holds fields of the plan, contains rules of a study."""
    if rules := [name for name in read_toml(file, _("settings file"), UsageError) if name in StudyConfig.model_fields]:
        flag = {"arms": "arm", "fixed_fields": "lr"}.get(rules[0], rules[0].replace("_", "-"))
        raise UsageError(
            _("{name} is a rule of a study, and {file} may contain only settings of runs.", name=rules[0], file=file),
            _("Use --{flag}, or --study with a study.toml (each study's folder contains one).", flag=flag),
        )


def reject_extra_options(study: str | Path, *others: object) -> None:
    """Raise UsageError when other options accompany --study, whose file contains all of them."""
    if any(others):
        raise UsageError(
            _("Options cannot be combined with the declared study {study}.", study=study),
            _("Remove the other options, or write them into a new study.toml."),
        )
