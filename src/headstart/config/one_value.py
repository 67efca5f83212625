"""Refuse several values for a field that takes one, and say how they are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic.fields import FieldInfo

from headstart import shell
from headstart.config.duration import in_epochs
from headstart.config.field_help import is_list
from headstart.config.presets import Setting
from headstart.config.run_config import plan_fields
from headstart.config.study_config import FLAGS_INSTEAD_OF_VARY, NOT_VARIABLE, StudyConfig
from headstart.errors import UsageError
from headstart.i18n import Message, _

_FREE_TEXT = frozenset({"source", "start", "primary"})  # may contain commas


def require_one_value(settings: Mapping[str, Setting], *, in_study: bool) -> None:
    """Require that fields with one value are not given several, such as `sgd,adam`.

    Args:
        settings: Values by field name.
        in_study: The settings are those of a study, which can vary most fields.

    Raises:
        UsageError: A field is given several values; the hint names the flag that compares them.
    """
    lists = {name for name, field in _fields().items() if is_list(field)}
    for name, value in settings.items():
        values = _values(value)
        if len(values) > 1 and name in _fields() and name not in lists | _FREE_TEXT:
            raise several_values_error(name, values, in_study=in_study)


def several_values_error(name: str, values: Sequence[str], *, in_study: bool) -> UsageError:
    """Return the error of several values for a field that takes one."""
    flag = f"--{name.replace('_', '-')}"
    message = _("{flag} takes one value, not {values}.", flag=flag, values=", ".join(values))
    return UsageError(message, _hint(name, values, in_study=in_study))


def _hint(name: str, values: Sequence[str], *, in_study: bool) -> Message:
    """Return how values of a field are compared."""
    if name in FLAGS_INSTEAD_OF_VARY:
        words = [FLAGS_INSTEAD_OF_VARY[name], ",".join(map(in_epochs, values) if name == "epochs" else values)]
    elif name in StudyConfig.model_fields or name in NOT_VARIABLE:
        return _("Choose one of them.")
    else:
        words = ["--vary", f"{name.replace('_', '-')}={','.join(values)}"]
    if in_study:
        return _("Compare them with {words}.", words=shell.join(words))
    return _("Compare them with `headstart compare` and {words}.", words=shell.join(words))


def _values(value: Setting) -> list[str]:
    """Return the values in a setting: the items of a list, or the parts of a text between commas."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    return [str(part).strip() for part in parts]


def _fields() -> dict[str, FieldInfo]:
    return {**StudyConfig.model_fields, **{name: field for name, (_section, field) in plan_fields().items()}}
