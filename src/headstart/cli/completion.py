"""The flag `--install-completion`: complete commands and flags in the shell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from headstart.cli.app import app
from headstart.cli.options import parameter
from headstart.cli.output import print_words
from headstart.errors import UsageError
from headstart.i18n import _, translated


@app.command(
    name="--install-completion",
    help=translated(_("Install the completion of commands and flags for bash, zsh or fish.")),
)
def install_completion(
    *,
    shell: Annotated[
        Literal["bash", "zsh", "fish"] | None, parameter(_("Shell [default: the one that runs the command]."))
    ] = None,
    output: Annotated[
        Path | None,
        parameter(_("File for the script [default: one that the shell loads when it starts].")),
    ] = None,
) -> None:
    """Install the completion of commands and flags for bash, zsh or fish."""
    from cyclopts.completion.detect import ShellDetectionError

    try:
        path = app.install_completion(shell=shell, output=output, add_to_startup=output is None)
    except ShellDetectionError:
        raise UsageError(_("The shell is unknown."), _("Name it with --shell bash, zsh or fish.")) from None
    print_words([path])
