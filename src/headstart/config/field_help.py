"""Describe the fields of the configuration for help, with the present rows of the registries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from headstart.config.one_of import OneOf
from headstart.i18n import Message, _, join


@dataclass(frozen=True)
class Detail:
    """Metadata of a field whose help depends on the rows of a registry, which may be extended after the import.

    Args:
        describe: Returns the text that follows the description. It is called when the help is made.
    """

    describe: Callable[[], str]


def describe_field(field: FieldInfo) -> Message:
    """Return the description of a field, with its details in parentheses."""
    text = join([field.description or ""])
    for detail in (item for item in field.metadata if isinstance(item, Detail)):
        text = _("{description} ({detail})", description=text, detail=detail.describe())
    return text


def is_list(field: FieldInfo) -> bool:
    """Return whether the value of a field is a list, so that its flag is repeatable."""
    return get_origin(field.annotation) is tuple


def field_choices(field: FieldInfo) -> tuple[str, ...]:
    """Return the values of a field, or of its items, that has a list of them; else an empty tuple."""
    names = chain.from_iterable(item.names for item in field.metadata if isinstance(item, OneOf))
    return tuple(names) or _literals(field.annotation)


def _literals(annotation: Any) -> tuple[str, ...]:
    """Return the values of a Literal, or of the Literals in an annotation; nothing if other values are valid too."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) is Union and not all(_literals(part) for part in get_args(annotation)):
        return ()
    return tuple(chain.from_iterable(map(_literals, get_args(annotation))))
