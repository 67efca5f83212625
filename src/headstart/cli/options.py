"""Flags generated from the fields of the plan and of the protocol, and messages for invalid command lines."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, get_args, get_origin

from cyclopts import (
    CycloptsError,
    Group,
    MissingArgumentError,
    Parameter,
    UnknownOptionError,
    UnusedCliTokensError,
)
from pydantic_core import PydanticUndefined

from headstart.config.one_of import OneOf
from headstart.config.run_config import FACTORIAL_FIELDS, SECTIONS, plan_fields
from headstart.config.study_config import StudyConfig
from headstart.text import closest

_PROTOCOL_GROUP = Group("Protocol", sort_key=0.5)
_SECTION_GROUPS = {section: Group(section.capitalize(), sort_key=place) for place, section in enumerate(SECTIONS, 1)}


def _flags(name: str, fields: dict[str, tuple[Group, Any]]) -> Any:
    """Return the annotation of a parameter that takes one flag per field: a dictionary of the given flags, or None.

    The values are text, not those of the pydantic models, which cyclopts could flatten too: it would validate one model
    after the other, ask for the fields whose default depends on the optimizer, and split a duration into two flags.
    """
    annotations = {field_name: _flag(field, group) for field_name, (group, field) in fields.items()}
    return Annotated[TypedDict(name, annotations, total=False) | None, Parameter(name="*")]  # type: ignore[operator]


def _plan_fields(*, without: tuple[str, ...]) -> dict[str, tuple[Group, Any]]:
    """Return group and field of the flags for the fields of the plan."""
    return {name: (_SECTION_GROUPS[section], f) for name, (section, f) in plan_fields().items() if name not in without}


def _protocol_fields(*, without: tuple[str, ...]) -> dict[str, tuple[Group, Any]]:
    """Return group and field of the flags for the fields of the protocol."""
    return {name: (_PROTOCOL_GROUP, f) for name, f in StudyConfig.model_fields.items() if name not in without}


def _flag(field: Any, group: Group) -> Any:
    """Return the annotation of a flag: a switch, or text, so that the plan reports all invalid values at once."""
    if field.annotation is bool:
        return Annotated[bool, Parameter(help=field.description, group=group, negative="")]
    metavar = {int: "INT", float: "FLOAT"}.get(field.annotation, "TEXT")
    return Annotated[str, Parameter(help=_flag_help(field), group=group, metavar=metavar)]


def _flag_help(field: Any) -> str:
    """Return description, choices and default of a field."""
    text, default = str(field.description), field.default
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    choices = choices or tuple(chain.from_iterable(m.names for m in field.metadata if isinstance(m, OneOf)))
    if choices:
        text += f": {', '.join(map(str, choices))}"
    if default is PydanticUndefined or default in ((), "", None):
        return text
    return f"{text} [default: {','.join(map(str, default)) if isinstance(default, tuple) else default}]"


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
            # set by the study
            **_plan_fields(without=("source", "start", "tuning", "head", "fraction", "evaluate_on_val", "select")),
        },
    )


def switch(text: str) -> Any:
    """Return the parameter of a flag without a value; `text` is its help."""
    return Parameter(help=text, negative="", show_default=False)


def usage(error: CycloptsError) -> str:
    """Return one sentence that says what is wrong with a command line."""
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.keyword or next((t.keyword for t in error.argument.tokens if t.keyword), error.argument.name)
        return f"{name} needs a value." if name.startswith("-") else f"{name} is missing."
    if isinstance(error, UnusedCliTokensError):
        return f"Unexpected argument {', '.join(map(repr, error.unused_tokens or ()))}."
    if isinstance(error, UnknownOptionError):
        flag = (error.token.keyword or error.token.value).partition("=")[0]
        flags = [name for argument in error.argument_collection for name in argument.names]
        by_word = {name.strip("-"): name for name in flags}
        longer = next((name for name in flags if flag.strip("-") and name.startswith(flag)), "")
        similar = longer or by_word.get(closest(flag.strip("-"), by_word, cutoff=0.7), "")
        return f"There is no flag {flag}.{f' Did you mean {similar}?' if similar else ''}"
    return " ".join(str(error).split())
