"""The default help of `compare`, `train` and `check`: the flags that most people need, with their help in one line.

Which flags these are is decided here and nowhere else. `--help-all` shows all flags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from headstart.cli.options import default_text
from headstart.config.presets import PRESETS
from headstart.config.run_config import plan_fields
from headstart.config.study_config import StudyConfig
from headstart.i18n import Message, _, translated
from headstart.optim.registry import OPTIMIZERS, SCHEDULES

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

LABEL_WIDTH = 24  # columns of the terminal for flags and their kind of value


def _with_default(text: Message, name: str) -> Message:
    """Return a help with the default of a field."""
    fields = {**StudyConfig.model_fields, **{field: info for field, (_section, info) in plan_fields().items()}}
    return _("{help} [default: {default}]", help=text, default=default_text(fields[name]))


_SOURCE = _("Folder of class folders, manifest, or digits")
_PRESET = _("Named settings: {presets}", presets=", ".join(PRESETS))
_NETWORK = _("resnet18, resnet34, resnet50, resnet20, timm:NAME or my.py:NAME")
_TRAINING = {
    "--epochs": _with_default(_("Length, e.g. 10 or 500st (steps)"), "epochs"),
    "--optimizer": _("One of {optimizers}", optimizers=", ".join(OPTIMIZERS)),
    "--batch-size": _with_default(_("Images per step"), "batch_size"),
    "--image-size": _with_default(_("Side of the network input in px"), "image_size"),
}
_DEVICE = _("cpu, cuda, cuda:N or N, mps, or auto")
_RUNS = _("Folder in which the new folder is made [default: runs]")
_JSON = _("Result as JSON")
_QUIET = _("No progress, only results and errors")
MORE = _("--help-all shows all flags and what the presets set.")

COMPARE: dict[str, Message] = {
    "--source": _SOURCE,
    "--preset": _PRESET,
    "--arm": _("What is compared, e.g. scratch, imagenet+frozen; repeatable"),
    "--vary": _("Cross the arms with values, e.g. lr=0.1,0.01; repeatable"),
    "--seeds": _with_default(_("Number of paired seeds per arm"), "seeds"),
    "--margin": _with_default(_("Smaller differences count as equal"), "margin"),
    "--search": _with_default(_("Search of rates: shared, per-seed, off"), "search"),
    "--time-budget": _("Choose seeds and epochs for a time, e.g. 20m"),
    "--network": _NETWORK,
    **_TRAINING,
    "--lr": _("Learning rate of all arms: switches the search off"),
    "--device": _DEVICE,
    "--runs": _RUNS,
    "--dry-run": _("Check everything, print the plan and its duration"),
    "--json": _JSON,
    "--quiet": _QUIET,
    "--require-winner": _("Exit code 7 unless the model's arm is the winner"),
}
TRAIN: dict[str, Message] = {
    "--source": _SOURCE,
    "--preset": _PRESET,
    "--config": _("TOML file with settings; flags override it"),
    "--network": _NETWORK,
    "--start": _("scratch, imagenet, timm:NAME, file:PATH or run:DIR"),
    "--tuning": _("full, frozen (linear probe), lp-ft or stages:N"),
    "--head": _("linear or mlp:WIDTH"),
    **_TRAINING,
    "--lr": _("Peak learning rate [default: that of the optimizer]"),
    "--schedule": _("One of {schedules}", schedules=", ".join(SCHEDULES)),
    "--seed": _with_default(_("Seed of split, head and augmentation"), "seed"),
    "--device": _DEVICE,
    "--runs": _RUNS,
    "--dry-run": _("Check everything and print the plan; train nothing"),
    "--json": _JSON,
    "--quiet": _QUIET,
}
CHECK: dict[str, Message] = {
    "--source": _SOURCE,
    "--classes": _("Only this class; repeatable"),
    "--min-per-class": _("Leave out smaller classes"),
    "--class-folders": _("outer or inner folders are the classes, or auto"),
    "--image-size": _with_default(_("Side of the network input in px"), "image_size"),
    "--start": _("Weights for label errors and known classes"),
    "--html": _("Write a page with the pictures of the examples"),
    "--fix": _("Write a manifest without unreadable files, with groups"),
    "--json": _JSON,
    "--quiet": _QUIET,
}


class CommonFlagsFormatter:
    """Help formatter of cyclopts that shows some flags of a command, grouped as all flags are.

    Args:
        flags: Help in one line by flag.
        examples: Command lines, printed above the flags.
    """

    def __init__(self, flags: Mapping[str, Message], examples: Sequence[str]) -> None:
        self.flags = flags
        self.examples = examples

    def render_usage(self, console: Console, options: ConsoleOptions, usage: object) -> None:
        """Print the command with its kinds of arguments."""
        console.print(translated(_("Usage: {usage}", usage=str(usage).rstrip())), style="bold", highlight=False)

    def render_description(self, console: Console, options: ConsoleOptions, description: object) -> None:
        """Print what the command does, and the examples."""
        console.print(description)
        console.print(translated(_("Examples")), style="bold")
        console.print("\n".join(f"  {example}" for example in self.examples), markup=False, highlight=False)

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one group of flags: its title, and a line for each flag."""
        from rich.table import Table
        from rich.text import Text

        rows = [(entry, self.flags[name]) for entry in panel.entries for name in entry.names if name in self.flags]
        if not rows:
            return
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=LABEL_WIDTH, style="cyan")
        table.add_column()
        for entry, text in rows:
            table.add_row(f"  {_label(entry)}", Text(translated(text)))
        console.print()
        console.print(panel.title, style="bold")
        console.print(table)


def _label(entry: HelpEntry) -> str:
    """Return a flag, or the name of an argument, with its kind of value."""
    return entry.positional_label or " ".join(filter(None, (entry.names[0], entry.metavar)))
