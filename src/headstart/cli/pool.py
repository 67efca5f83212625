"""The command `pool`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from headstart.cli.app import RUNS, Json, Runs, command, reporter
from headstart.cli.options import parameter, switch
from headstart.cli.render import print_study
from headstart.i18n import _


@command(
    _("Make one study of finished runs with equal plans but for arm and seed, with its verdict."),
    sort_key=5,
)
def pool(
    folders: Annotated[list[Path], parameter(_("Folders of runs, or folders that contain runs."))],
    /,
    *,
    margin: Annotated[
        str | None, parameter(_("Smaller differences count as equal [default: 1pt]."), show_default=False)
    ] = None,
    target: Annotated[
        float | None, parameter(_("Accuracy on val for time-to-target [default: 0.75]."), show_default=False)
    ] = None,
    primary: Annotated[
        str | None, parameter(_("Primary contrast: 'A vs B'. The default is as in compare."), show_default=False)
    ] = None,
    trust: Annotated[bool, switch(_("Accept runs that somebody else trained; the verdict says so."))] = False,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Make one study of finished runs with equal plans but for arm and seed, with its verdict."""
    from headstart.experiment import pool as pooling

    with reporter() as output:
        study = pooling.pool(folders, runs, {"margin": margin, "target": target, "primary": primary}, trust=trust)
        for sentence in pooling.summary(study):
            output.say(sentence)
    print_study(study.folder, study.verdict, json)
