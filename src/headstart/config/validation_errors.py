"""Describe the validation errors of pydantic for users."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic_core import ErrorDetails

from headstart.config.one_of import UNKNOWN_NAME
from headstart.config.presets import Setting
from headstart.config.run_config import SECTIONS, plan_fields
from headstart.text import capitalize, suggestion


def describe_error(error: ErrorDetails, names: Iterable[str]) -> str:
    """Return what is wrong with a field.

    Args:
        error: One of the `errors()` of a pydantic ValidationError.
        names: Valid field names, among which the most similar one is suggested for an unknown name.
    """
    # The location of a list item ends with its index.
    name = next((part for part in reversed(error["loc"]) if isinstance(part, str)), "")
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{name!r} is not a setting{suggestion(name, list(names))}"
    if error["type"] == "missing":
        return f"{name} is missing"
    if error["type"] == "string_pattern_mismatch" and name in plan_fields():
        message = f"expected {plan_fields()[name][1].description}"
    if error["type"] == UNKNOWN_NAME:
        choices = re.findall(r"'([^']+)'", message)
        message = f"choose one of {', '.join(choices)}{suggestion(str(error['input']), choices)}"
    if name in ("", *SECTIONS):  # a rule that concerns several fields
        return capitalize(message)
    return f"{name.replace('_', '-')} = {_input_text(error['input'])}: {message[0].lower()}{message[1:]}"


def _input_text(value: Setting) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
