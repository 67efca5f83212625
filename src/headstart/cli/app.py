"""The cyclopts application, flags of every command, and parameters that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import App, Group, Parameter
from cyclopts.help import DefaultFormatter

from headstart.cli.common_flags import MORE, CommonFlagsFormatter
from headstart.cli.foreign_flags import ALIASES
from headstart.cli.options import DATA, RUNNING, parameter, switch
from headstart.config.presets import PRESETS
from headstart.config.resolve import SAVE_FORMS
from headstart.config.run_config import DataConfig
from headstart.console import ConsoleReporter
from headstart.engines.registry import address_choices, engine_choices
from headstart.errors import UsageError
from headstart.i18n import Message, _, join, translated
from headstart.reporter import NullReporter, Reporter
from headstart.telemetry.trackers.registry import TRACKERS

Command = TypeVar("Command", bound=Callable[..., Any])

RUNS = Path("runs")
DATA_FORMS = join([DataConfig.model_fields["source"].description or ""])
_ENGINES = join((_("{name}, {place}", name=name, place=place) for name, place in engine_choices().items()), "; ")
_ADDRESSES = join(
    (_("{name}: {address}", name=name, address=spec.description) for name, spec in address_choices().items()), "; "
)


def _describe_preset(name: str) -> str:
    """Return a preset with the flags that it sets."""
    flags = " ".join(f"--{field.replace('_', '-')} {value}" for field, value in PRESETS[name].items())
    return f"{name} ({flags})"


Data = Annotated[str, parameter(_("{forms:cap}.", forms=DATA_FORMS))]
Model = Annotated[Path, parameter(_("Run or study, its model folder, or a folder of runs (the best by val)."))]
Trust = Annotated[
    bool, switch(_("Execute the code of a network that the folder contains and that you have not run before."))
]
Json = Annotated[bool, switch(_("JSON output."))]
Runs = Annotated[Path, parameter(_("Parent of the new folder."), alias=ALIASES["runs"])]
Preset = Annotated[
    str | None,
    parameter(
        _(
            "Preset: {presets}. A settings file and flags override it.",
            presets=", ".join(map(_describe_preset, PRESETS)),
        ),
        group=DATA,
    ),
]
Device = Annotated[str, parameter(_("Device: cpu, cuda, cuda:N or N, mps; auto: the first GPU, or cpu."))]
EngineName = Annotated[str, parameter(_("Where runs execute: {engines}.", engines=_ENGINES))]
Address = Annotated[str, parameter(_("{addresses}.", addresses=_ADDRESSES), show_default=False)]
SaveEvery = Annotated[
    str | None,
    parameter(_("Checkpoint interval, e.g. {forms} [default: as often as costs 1 % of the time].", forms=SAVE_FORMS)),
]
Log = Annotated[
    list[str] | None,
    parameter(
        _("Also send the curves to a tracker: {trackers}; repeatable.", trackers=", ".join(TRACKERS)), negative=""
    ),
]

_EVERY_COMMAND = Group(translated(_("Every command")), sort_key=9)


class Verbosity(Enum):
    """What a command reports on stderr, besides errors."""

    QUIET = "quiet"
    NORMAL = "normal"
    VERBOSE = "verbose"


_verbosity: ContextVar[Verbosity] = ContextVar("verbosity", default=Verbosity.NORMAL)
_debug: ContextVar[bool] = ContextVar("debug", default=False)

app = App(
    name="headstart",
    help=translated(_("Compare pretrained weights with training from scratch in an experiment.")),
    help_epilogue=translated(
        _(
            "Start with `headstart compare PHOTOS`, where PHOTOS has one folder per class, and watch it with "
            "`headstart tensorboard`."
        )
    ),
    help_format="plaintext",
    version_flags=["--version"],
    group_parameters=Group(translated(_("Parameters")), sort_key=0),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app.meta.suppress_keyboard_interrupt = False


def command(
    text: Message,
    *,
    sort_key: int,
    common: Mapping[str, Message] | None = None,
    examples: Sequence[str] = (),
) -> Callable[[Command], Command]:
    """Return a decorator that makes a function a command of the application.

    Args:
        text: Help of the command.
        sort_key: Place of the command in the help.
        common: Flags of the default help with their help in one line; None shows all flags. With it the parameters of
            the function itself are in the group `RUNNING`, unless they name another.
        examples: Command lines for the default help, of at most 78 characters.
    """
    if common is None:
        return app.command(sort_key=sort_key, help=translated(text))
    return app.command(
        sort_key=sort_key,
        help=translated(text),
        group_parameters=RUNNING,
        help_formatter=CommonFlagsFormatter(common, examples),
        help_epilogue=translated(MORE),
    )


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    help_all: Annotated[bool, switch(_("Show all flags."), group=_EVERY_COMMAND)] = False,
    quiet: Annotated[
        bool, switch(_("Report no progress, only results and errors."), group=_EVERY_COMMAND, alias="-q")
    ] = False,
    verbose: Annotated[
        bool, switch(_("Report all settings, and the time of each line in seconds."), group=_EVERY_COMMAND, alias="-v")
    ] = False,
    debug: Annotated[bool, switch(_("Print the traceback of an error."), group=_EVERY_COMMAND)] = False,
) -> None:
    """Run a command with the flags of every command; `main` prints the traceback of an error."""
    if quiet and verbose:
        raise UsageError(_("--quiet and --verbose exclude each other."), _("Choose one."))
    if help_all:
        print_all_help(tokens)
        return
    token = _verbosity.set(Verbosity.QUIET if quiet else Verbosity.VERBOSE if verbose else Verbosity.NORMAL)
    debug_token = _debug.set(debug)
    try:
        app(tokens, exit_on_error=False, print_error=False)
    finally:
        _debug.reset(debug_token)
        _verbosity.reset(token)


def print_all_help(tokens: Sequence[str]) -> None:
    """Print the help of a command with all its flags; what stands before a command applies as usual.

    Raises:
        CycloptsError: There is no such command.
    """
    _chain, path, unused = app.parse_commands(list(tokens))
    shown = path[-1]
    if shown is app and unused:
        app(tokens, exit_on_error=False, print_error=False)
        return
    before = shown.help_formatter, shown.help_epilogue
    shown.help_formatter, shown.help_epilogue = DefaultFormatter(), ""
    try:
        app.help_print(list(tokens))
    finally:
        shown.help_formatter, shown.help_epilogue = before


@contextmanager
def reporter() -> Iterator[Reporter]:
    """Yield the reporter of a command: that of the terminal, or one that discards everything with --quiet."""
    if _verbosity.get() is Verbosity.QUIET:
        yield NullReporter()
        return
    with ConsoleReporter(times=is_verbose()) as console:
        yield console


def is_verbose() -> bool:
    """Return True for a command with --verbose."""
    return _verbosity.get() is Verbosity.VERBOSE


def is_debug() -> bool:
    """Return True for a command with --debug."""
    return _debug.get()
