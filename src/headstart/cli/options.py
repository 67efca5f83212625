"""Flags generated from the fields of the plan and of the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from cyclopts import Group, Parameter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from headstart.cli.foreign_flags import ALIASES
from headstart.config.field_help import describe_field, field_choices, is_list
from headstart.config.presets import Setting
from headstart.config.run_config import CHECK_FIELDS, FACTORIAL_FIELDS, STUDY_FIELDS, plan_fields
from headstart.config.study_config import StudyConfig
from headstart.i18n import Message, _, translated

# Groups of flags by task, in the order of the help.
DATA, COMPARISON, MODEL, TRAINING, RUNNING = (
    Group(translated(title), sort_key=place)
    for place, title in enumerate((_("Data"), _("Comparison"), _("Model"), _("Training"), _("Running")))
)
SECTION_GROUPS = {
    "data": DATA, "network": MODEL, "arm": MODEL, "recipe": TRAINING, "seeding": TRAINING, "machine": RUNNING
}  # fmt: skip

_IN_STUDIES = {  # what a flag means for a study, besides the description of the field
    "lr": _("a given rate is that of every arm, and nothing is searched unless --search is given"),
    "weight_decay": _("a given value is that of every optimizer"),
    "seed": _("the first of the paired seeds"),
}


def switch(text: Message, **options: Any) -> Any:
    """Return the parameter of a flag without a value; `text` is its help."""
    return parameter(text, negative="", show_default=False, **options)


def parameter(text: Message, **options: Any) -> Any:
    """Return a parameter of the command line with its help, and with other options of `cyclopts.Parameter`."""
    return Parameter(help=translated(text), **options)


def _flags(name: str, fields: dict[str, tuple[Group, FieldInfo]], notes: dict[str, Message] | None = None) -> Any:
    """Return the annotation of a parameter that takes one flag per field: a dictionary of the given flags, or None.

    The values are text, not those of the pydantic models, which cyclopts could flatten too: it would validate one model
    after the other, ask for the fields whose default depends on the optimizer, and split a duration into two flags.
    """
    notes = notes or {}
    annotations = {
        field_name: _flag(field_name, field, group, notes.get(field_name))
        for field_name, (group, field) in fields.items()
    }
    return Annotated[TypedDict(name, annotations, total=False) | None, Parameter(name="*")]  # type: ignore[operator]


def _plan_fields(*, without: tuple[str, ...]) -> dict[str, tuple[Group, FieldInfo]]:
    """Return group and field of the flags for the fields of the plan."""
    return {name: (SECTION_GROUPS[section], f) for name, (section, f) in plan_fields().items() if name not in without}


def _protocol_fields(*, without: tuple[str, ...]) -> dict[str, tuple[Group, FieldInfo]]:
    """Return group and field of the flags for the fields of the protocol."""
    return {name: (COMPARISON, f) for name, f in StudyConfig.model_fields.items() if name not in without}


def _flag(name: str, field: FieldInfo, group: Group, note: Message | None) -> Any:
    """Return the annotation of a flag: a switch, or text, so that the plan reports all invalid values at once.

    A switch can be turned off again with `--no-...`, and the flag of a list is repeatable.
    """
    if field.annotation is bool:
        return Annotated[bool, parameter(describe_field(field), group=group)]
    text = _flag_help(field, note)
    if is_list(field):
        return Annotated[list[str], parameter(text, group=group, negative="", metavar="TEXT")]
    metavar = "INT" if field.annotation is int else "FLOAT" if field.annotation is float else "TEXT"
    return Annotated[str, parameter(text, group=group, metavar=metavar, alias=ALIASES.get(name, ()))]


def _flag_help(field: FieldInfo, note: Message | None) -> Message:
    """Return description, choices and default of a field, with a note of the command."""
    text = describe_field(field)
    if note is not None:
        text = _("{help}; {note}", help=text, note=note)
    if is_list(field):
        text = _("{help}; repeatable", help=text)
    if choices := field_choices(field):
        text = _("{description}: {choices}", description=text, choices=", ".join(choices))
    if default := default_text(field):
        return _("{help} [default: {default}]", help=text, default=default)
    return text


def default_text(field: FieldInfo) -> str:
    """Return the default of a field as it is typed; "" if it has none."""
    default = field.default
    if default is PydanticUndefined or default in ((), "", None):
        return ""
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


if TYPE_CHECKING:
    PlanFlags = dict[str, Setting] | None
    AblationFlags = PlanFlags
    StudyFlags = PlanFlags
    CheckFlags = PlanFlags
else:
    PlanFlags = _flags("PlanFlags", _plan_fields(without=("source",)))
    AblationFlags = _flags("AblationFlags", _plan_fields(without=("source", *FACTORIAL_FIELDS)))
    CheckFlags = _flags(
        "CheckFlags", {name: field for name, field in _plan_fields(without=("source",)).items() if name in CHECK_FIELDS}
    )
    StudyFlags = _flags(
        "StudyFlags",
        {
            # parameters of the command itself, or derived from other flags
            **_protocol_fields(without=("arms", "vary", "fixed_fields", "further", "pooled_seeds", "pooled_left_out")),
            **_plan_fields(without=("source", *STUDY_FIELDS)),
        },
        _IN_STUDIES,
    )
