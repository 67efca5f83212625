"""What a call of `compare` asks, put together from its arms and settings; checked before anything slow is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.config.resolve import resolve_settings
from headstart.config.study_config import OF_AN_OPTIMIZER, StudyConfig
from headstart.config.study_file import StudySpec, declare, read_study
from headstart.config.toml import read_toml
from headstart.errors import UsageError

DEFAULT_ARMS = ("scratch", "imagenet", "imagenet+frozen", "imagenet+lp-ft")
OF_A_STUDY = {  # fields of the plan that a study decides by itself, by section; and what to use instead
    "arm": (("start", "tuning", "head"), "Name it in --arm, or use --vary."),
    "data": (("fraction", "evaluate_on_val"), "Use --fractions for shares of the photos."),
    "recipe": (("select",), "Use --metric."),
}
DEMO_ARMS = ("scratch", "source:digits:0-5", "source:digits:0-5+frozen", "source:digits:0-5+lp-ft")


def build_study_spec(
    data: str | Path | None,
    arms: Sequence[str],
    vary: Mapping[str, Sequence[Any]] | None,
    study: str | Path | None,
    config: str | Path | None,
    preset: str | None,
    settings: Mapping[str, Any],
) -> StudySpec:
    """What a call of `compare` declares. Raises UsageError with every fault."""
    given = {name: value for name, value in settings.items() if value is not None}
    if study is not None:
        reject_extra_options(study, data, arms, vary, config, preset, given)
        return read_study(Path(study))
    rules = {name: given.pop(name) for name in StudyConfig.model_fields if name in given}
    if data in (None, "digits") and not arms and config is None:
        arms, preset = DEMO_ARMS, preset or "demo"
    rules["arms"] = tuple(arms) or DEFAULT_ARMS
    rules["vary"] = {name.replace("-", "_"): tuple(map(str, values)) for name, values in (vary or {}).items()}
    if config is not None:
        _require_settings(Path(config))
    source = {"source": None if data is None else str(data)}
    draft = resolve_settings({**source, **given}, file=Path(config) if config is not None else None, preset=preset)
    plan = draft.plan
    chosen = [name for name in OF_AN_OPTIMIZER if draft.origins[name].startswith(("flag", "file"))]
    rules.setdefault("held", tuple(chosen))
    if "lr" in chosen:  # a rate that somebody chose is not to be searched
        rules.setdefault("search", "off")
    for section, (names, hint) in OF_A_STUDY.items():
        usual = type(getattr(plan, section))()
        if changed := [name for name in names if getattr(getattr(plan, section), name) != getattr(usual, name)]:
            raise UsageError(f"{changed[0]} cannot be set for a whole comparison.", hint)
    return declare(rules, plan)


def _require_settings(file: Path) -> None:
    """Raise UsageError where a settings file holds rules of a study: its names are those of a plan's fields."""
    if rules := [name for name in read_toml(file, "settings file", UsageError) if name in StudyConfig.model_fields]:
        flag = {"arms": "arm", "held": "lr"}.get(rules[0], rules[0].replace("_", "-"))
        raise UsageError(
            f"{rules[0]} is a rule of a study, and {file} holds settings of its runs.",
            f"Use --{flag}, or write a study.toml for --study (each study's folder has one).",
        )


def reject_extra_options(study: str | Path, *others: Any) -> None:
    """Raise UsageError where anything stands beside a study that says everything itself."""
    if any(others):
        raise UsageError(
            f"The study {study} is declared as it stands: nothing can be set beside it.",
            "Leave out the rest, or write it into a study.toml of its own.",
        )
