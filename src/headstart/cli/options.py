"""Flags made from the fields of the plan and of the protocol, and what is wrong with words that are none."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

from cyclopts import (
    CycloptsError,
    Group,
    MissingArgumentError,
    Parameter,
    UnknownOptionError,
    UnusedCliTokensError,
)
from pydantic_core import PydanticUndefined

from headstart.config.run_config import SECTIONS, fields
from headstart.config.study_config import StudyConfig

PROTOCOL = Group("Protocol", sort_key=0.5)
GROUPS = {section: Group(section.capitalize(), sort_key=place) for place, section in enumerate(SECTIONS, 1)}


def with_plan_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Add one flag for each field of the plan to a command that takes them as **settings."""
    return _with_flags(command, {name: (GROUPS[part], f) for name, (part, f) in fields().items() if name != "source"})


def with_study_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Add one flag for each field of the protocol, and of the plan what the arms do not say themselves."""
    said = ("arms", "vary", "held")  # by words of their own, or by other flags
    rules = {name: (PROTOCOL, f) for name, f in StudyConfig.model_fields.items() if name not in said}
    own = ("source", "start", "tuning", "head", "fraction", "evaluate_on_val")
    shared = {name: (GROUPS[section], f) for name, (section, f) in fields().items() if name not in own}
    return _with_flags(command, {**rules, **shared})


def _with_flags(command: Callable[..., None], wanted: dict[str, tuple[Group, Any]]) -> Callable[..., None]:
    signature = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    flags = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_flag(field, group))
        for name, (group, field) in wanted.items()
    ]
    command.__signature__ = signature.replace(parameters=own + flags)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in own + flags}
    return command


def _flag(field: Any, group: Group) -> Any:
    """A switch, or text that the plan reads: so that every fault is told at once and in the plan's words."""
    if field.annotation is bool:
        return Annotated[bool | None, Parameter(help=field.description, group=group, negative="")]
    shown = {int: "INT", float: "FLOAT"}.get(field.annotation, "TEXT")
    return Annotated[str | None, Parameter(help=_flag_help(field), group=group, metavar=shown)]


def _flag_help(field: Any) -> str:
    """Description, choices and default, from the field."""
    text, default = str(field.description), field.default
    if get_origin(field.annotation) is Literal:
        text += f": {', '.join(map(str, get_args(field.annotation)))}"
    if default is PydanticUndefined or default in ((), "", None):
        return text
    return f"{text} [default: {','.join(map(str, default)) if isinstance(default, tuple) else default}]"


def switch(text: str) -> Any:
    return Parameter(help=text, negative="", show_default=False)


def usage(error: CycloptsError) -> str:
    """What is wrong with the words of a command, in one sentence."""
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.keyword or next((t.keyword for t in error.argument.tokens if t.keyword), error.argument.name)
        return f"{name} needs a value." if name.startswith("-") else f"{name} is missing."
    if isinstance(error, UnusedCliTokensError):
        return f"There is nothing here to do with {', '.join(map(repr, error.unused_tokens or ()))}."
    if isinstance(error, UnknownOptionError):
        asked = (error.token.keyword or error.token.value).partition("=")[0]
        flags = [name for argument in error.argument_collection for name in argument.names]
        bare = {name.strip("-"): name for name in flags}
        near = [name for name in flags if asked.strip("-") and name.startswith(asked)]
        near = near or [bare[word] for word in difflib.get_close_matches(asked.strip("-"), bare, n=1, cutoff=0.7)]
        return f"There is no flag {asked}.{f' Did you mean {near[0]}?' if near else ''}"
    return " ".join(str(error).split())
