"""Describe the validation errors of pydantic for users."""

from __future__ import annotations

from inspect import isclass

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from headstart.config.field_help import describe_field, field_choices
from headstart.config.one_of import not_a_choice
from headstart.config.presets import Setting
from headstart.config.recipe_config import ConfigSection
from headstart.config.run_config import SECTIONS, RunConfig, plan_fields
from headstart.i18n import Message, _
from headstart.storage.schemas.schema import fault_text
from headstart.text import suggestion


def describe_error(error: ErrorDetails, model: type[ConfigSection]) -> Message:
    """Return what is wrong with a field, or with several fields.

    Args:
        error: One of the `errors()` of a pydantic ValidationError.
        model: The model that was validated.
    """
    # The location of a list item ends with its index.
    name = next((part for part in reversed(error["loc"]) if isinstance(part, str)), "")
    if error["type"] == "extra_forbidden":
        names = [*SECTIONS, *plan_fields()] if model is RunConfig else list(model.model_fields)
        return _("{name!r} is not a setting{suggestion}", name=name, suggestion=suggestion(name, names))
    if error["type"] == "missing":
        return _("{name} is missing", name=name)
    field = _field_at(error["loc"], model)
    if field is None:  # a rule that concerns several fields
        return _("{fault:cap}", fault=fault_text(error))
    fault = _fault(error, field)
    return _("{name} = {value}: {fault}", name=name.replace("_", "-"), value=_input_text(error["input"]), fault=fault)


def _field_at(location: tuple[int | str, ...], model: type[ConfigSection]) -> FieldInfo | None:
    """Return the field at a location; None for the location of a section, which may have the name of a field."""
    for name in location:
        field = model.model_fields.get(str(name))
        if field is None or not (isclass(field.annotation) and issubclass(field.annotation, ConfigSection)):
            return field
        model = field.annotation
    return None


def _fault(error: ErrorDetails, field: FieldInfo) -> Message:
    """Return what is wrong with the value of a field."""
    if error["type"] == "string_pattern_mismatch":
        return _("expected {description}", description=describe_field(field))
    if error["type"] == "literal_error":
        return not_a_choice(str(error["input"]), field_choices(field))
    return fault_text(error)


def _input_text(value: Setting) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
