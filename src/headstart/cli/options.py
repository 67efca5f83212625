"""Flags generated from the fields of the plan and of the protocol, and messages for invalid command lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from cyclopts import (
    CycloptsError,
    Group,
    MissingArgumentError,
    Parameter,
    UnknownOptionError,
    UnusedCliTokensError,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from headstart.config.field_help import describe_field, field_choices
from headstart.config.run_config import FACTORIAL_FIELDS, SECTIONS, STUDY_FIELDS, plan_fields
from headstart.config.study_config import StudyConfig
from headstart.i18n import Message, _, translated, verbatim
from headstart.text import closest

_PROTOCOL_GROUP = Group(translated(_("Protocol")), sort_key=0.5)
SECTION_TITLES = {
    "data": _("Data"),
    "network": _("Network"),
    "arm": _("Arm"),
    "recipe": _("Recipe"),
    "machine": _("Machine"),
    "seeding": _("Seeding"),
}
_SECTION_GROUPS = {
    section: Group(translated(SECTION_TITLES[section]), sort_key=place) for place, section in enumerate(SECTIONS, 1)
}


def switch(text: Message) -> Any:
    """Return the parameter of a flag without a value; `text` is its help."""
    return parameter(text, negative="", show_default=False)


def parameter(text: Message, **options: Any) -> Any:
    """Return a parameter of the command line with its help, and with other options of `cyclopts.Parameter`."""
    return Parameter(help=translated(text), **options)


def _flags(name: str, fields: dict[str, tuple[Group, FieldInfo]]) -> Any:
    """Return the annotation of a parameter that takes one flag per field: a dictionary of the given flags, or None.

    The values are text, not those of the pydantic models, which cyclopts could flatten too: it would validate one model
    after the other, ask for the fields whose default depends on the optimizer, and split a duration into two flags.
    """
    annotations = {field_name: _flag(field, group) for field_name, (group, field) in fields.items()}
    return Annotated[TypedDict(name, annotations, total=False) | None, Parameter(name="*")]  # type: ignore[operator]


def _plan_fields(*, without: tuple[str, ...]) -> dict[str, tuple[Group, FieldInfo]]:
    """Return group and field of the flags for the fields of the plan."""
    return {name: (_SECTION_GROUPS[section], f) for name, (section, f) in plan_fields().items() if name not in without}


def _protocol_fields(*, without: tuple[str, ...]) -> dict[str, tuple[Group, FieldInfo]]:
    """Return group and field of the flags for the fields of the protocol."""
    return {name: (_PROTOCOL_GROUP, f) for name, f in StudyConfig.model_fields.items() if name not in without}


def _flag(field: FieldInfo, group: Group) -> Any:
    """Return the annotation of a flag: a switch, or text, so that the plan reports all invalid values at once."""
    if field.annotation is bool:
        return Annotated[bool, parameter(describe_field(field), group=group, negative="")]
    metavar = "INT" if field.annotation is int else "FLOAT" if field.annotation is float else "TEXT"
    return Annotated[str, parameter(_flag_help(field), group=group, metavar=metavar)]


def _flag_help(field: FieldInfo) -> Message:
    """Return description, choices and default of a field."""
    text, default = describe_field(field), field.default
    if choices := field_choices(field):
        text = _("{description}: {choices}", description=text, choices=", ".join(choices))
    if default is PydanticUndefined or default in ((), "", None):
        return text
    value = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return _("{help} [default: {default}]", help=text, default=value)


if TYPE_CHECKING:
    PlanFlags = dict[str, str | bool] | None
    AblationFlags = PlanFlags
    StudyFlags = PlanFlags
else:
    PlanFlags = _flags("PlanFlags", _plan_fields(without=("source",)))
    AblationFlags = _flags("AblationFlags", _plan_fields(without=("source", *FACTORIAL_FIELDS)))
    StudyFlags = _flags(
        "StudyFlags",
        {
            # parameters of the command itself, or derived from other flags
            **_protocol_fields(without=("arms", "vary", "fixed_fields")),
            **_plan_fields(without=("source", *STUDY_FIELDS)),
        },
    )


def usage(error: CycloptsError) -> Message:
    """Return one sentence that says what is wrong with a command line."""
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.keyword or next((t.keyword for t in error.argument.tokens if t.keyword), error.argument.name)
        return (
            _("{flag} needs a value.", flag=name)
            if name.startswith("-")
            else _("{argument} is missing.", argument=name)
        )
    if isinstance(error, UnusedCliTokensError):
        return _("Unexpected argument {words}.", words=", ".join(map(repr, error.unused_tokens or ())))
    if isinstance(error, UnknownOptionError):
        flag = (error.token.keyword or error.token.value).partition("=")[0]
        flags = [name for argument in error.argument_collection for name in argument.names]
        by_word = {name.strip("-"): name for name in flags}
        longer = next((name for name in flags if flag.strip("-") and name.startswith(flag)), "")
        similar = longer or by_word.get(closest(flag.strip("-"), by_word, cutoff=0.7), "")
        if similar:
            return _("There is no flag {flag}. Did you mean {similar}?", flag=flag, similar=similar)
        return _("There is no flag {flag}.", flag=flag)
    return verbatim(" ".join(str(error).split()))
