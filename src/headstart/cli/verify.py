"""The command `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from headstart.cli.app import Json, command
from headstart.cli.options import parameter
from headstart.cli.output import print_json, print_lines
from headstart.i18n import _


@command(_("Compute every number of a verdict again from the records; exit code 8 if one differs."), sort_key=5)
def verify(
    folder: Annotated[Path, parameter(_("Folder of a study."))],
    /,
    *,
    json: Json = False,
) -> None:
    """Compute every number of a verdict again from the records; exit code 8 if one differs."""
    from headstart.results.verification import verify_study

    outcome = verify_study(folder)
    if json:
        print_json(outcome.result().to_json())
    else:
        print_lines(outcome.lines())
    outcome.require_confirmed()
