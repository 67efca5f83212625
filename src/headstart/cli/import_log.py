"""The command `import-log`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from headstart.cli.app import RUNS, Json, Runs, command, reporter
from headstart.cli.options import parameter
from headstart.cli.output import print_json, print_words
from headstart.i18n import _


@command(_("Turn a training log (epoch, accuracy and loss) into a run for TensorBoard and the report."), sort_key=5)
def import_log(
    file: Annotated[Path, parameter(_("Text that a script printed, CSV, or one JSON object per line."))],
    /,
    *,
    name: Annotated[str, parameter(_("Name of the run [default: that of the file]."), show_default=False)] = "",
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Turn a training log (epoch, accuracy and loss) into a run for TensorBoard and the report."""
    from headstart.results import log_import

    imported = log_import.import_log(file, runs, name)
    if json:
        print_json([str(run.folder) for run in imported])
        return
    with reporter() as output:
        for run in imported:
            output.say(run.summary)
        output.say(_("See it beside others with `headstart report {runs:shell}`.", runs=runs))
    print_words(run.folder for run in imported)
