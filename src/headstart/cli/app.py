"""The cyclopts application, and parameters that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import App, Group

from headstart.cli.options import parameter, switch
from headstart.config.run_config import DataConfig
from headstart.engines.registry import address_choices, engine_choices
from headstart.i18n import Message, _, join, translated
from headstart.telemetry.trackers.registry import TRACKERS

Command = TypeVar("Command", bound=Callable[..., Any])

RUNS = Path("runs")
DATA_FORMS = join([DataConfig.model_fields["source"].description or ""])
_ENGINES = join((_("{name}, {place}", name=name, place=place) for name, place in engine_choices().items()), "; ")
_ADDRESSES = join(
    (_("{name}: {address}", name=name, address=spec.description) for name, spec in address_choices().items()), "; "
)

Data = Annotated[str, parameter(_("{forms:cap}.", forms=DATA_FORMS))]
Model = Annotated[Path, parameter(_("Run, its model folder, or a folder of runs (the best by val)."))]
Json = Annotated[bool, switch(_("JSON output."))]
EngineName = Annotated[str, parameter(_("Where runs execute: {engines}.", engines=_ENGINES))]
Address = Annotated[str, parameter(_("{addresses}.", addresses=_ADDRESSES), show_default=False)]
SaveEvery = Annotated[
    str | None,
    parameter(_("Checkpoint interval, e.g. 1ep or 50st [default: as often as costs 1 % of the time].")),
]
Log = Annotated[
    list[str] | None,
    parameter(
        _("Also send the curves to a tracker: {trackers}; repeatable.", trackers=", ".join(TRACKERS)), negative=""
    ),
]

app = App(
    name="headstart",
    help=translated(_("Compare pretrained weights with training from scratch in an experiment.")),
    help_epilogue=translated(
        _(
            "Start with `headstart compare PHOTOS`, where PHOTOS has one folder per class, and watch it with "
            "`headstart board`. With --debug every command prints the traceback of an error."
        )
    ),
    help_format="plaintext",
    version_flags=["--version"],
    group_parameters=Group(translated(_("Parameters")), sort_key=0),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)


def command(text: Message, *, sort_key: int) -> Callable[[Command], Command]:
    """Return a decorator that makes a function a command of the application.

    Args:
        text: Help of the command.
        sort_key: Place of the command in the help.
    """
    return app.command(sort_key=sort_key, help=translated(text))
