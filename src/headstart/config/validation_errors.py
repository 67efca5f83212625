"""Describe the validation errors of pydantic for users."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic_core import ErrorDetails

from headstart.config.one_of import NOT_ACCEPTED, UNKNOWN_NAME
from headstart.config.presets import Setting
from headstart.config.run_config import SECTIONS, plan_fields
from headstart.i18n import Message, _
from headstart.storage.schemas.schema import fault_text
from headstart.text import suggestion


def describe_error(error: ErrorDetails, names: Iterable[str]) -> Message:
    """Return what is wrong with a field.

    Args:
        error: One of the `errors()` of a pydantic ValidationError.
        names: Valid field names, among which the most similar one is suggested for an unknown name.
    """
    # The location of a list item ends with its index.
    name = next((part for part in reversed(error["loc"]) if isinstance(part, str)), "")
    if error["type"] == "extra_forbidden":
        return _("{name!r} is not a setting{suggestion}", name=name, suggestion=suggestion(name, list(names)))
    if error["type"] == "missing":
        return _("{name} is missing", name=name)
    fault = _fault(error, name)
    if name in ("", *SECTIONS):  # a rule that concerns several fields
        return _("{fault:cap}", fault=fault)
    return _("{name} = {value}: {fault}", name=name.replace("_", "-"), value=_input_text(error["input"]), fault=fault)


def _fault(error: ErrorDetails, name: str) -> Message:
    """Return what is wrong with the value of the field `name`."""
    if error["type"] == "string_pattern_mismatch" and name in plan_fields():
        return _("expected {description}", description=plan_fields()[name][1].description)
    if error["type"] == NOT_ACCEPTED:
        context = error["ctx"]
        return _("{rejection}: choose one of {names}", rejection=context["rejection"], names=context["names"])
    if error["type"] == UNKNOWN_NAME:
        choices = re.findall(r"'([^']+)'", str(error["msg"]))
        similar = suggestion(str(error["input"]), choices)
        return _("choose one of {choices}{suggestion}", choices=", ".join(choices), suggestion=similar)
    return fault_text(error)


def _input_text(value: Setting) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
