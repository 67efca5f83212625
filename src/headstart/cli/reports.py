"""The commands that inspect finished work: `board`, `report`, `diagnose` and `repair`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from headstart.cli.app import DATA_FORMS, RUNS, EngineName, Json, Log, command
from headstart.cli.options import AblationFlags, parameter
from headstart.cli.render import print_json
from headstart.console import ConsoleReporter
from headstart.engines.registry import EngineChoice
from headstart.errors import UsageError
from headstart.i18n import _, translated
from headstart.storage.locks import locked
from headstart.telemetry.trackers.registry import require_trackers
from headstart.telemetry.trackers.tracking import tracked
from headstart.text import printable


@command(_("Open TensorBoard on a folder of runs until Ctrl-C."), sort_key=5)
def board(
    folder: Annotated[Path, parameter(_("Folder of runs."))] = RUNS,
    /,
    *,
    port: Annotated[int, parameter(_("Port; 0 uses any free port."))] = 6006,
) -> None:
    """Open TensorBoard on a folder of runs until Ctrl-C."""
    from contextlib import suppress

    from headstart.cli.tensorboard import legend, serve

    with suppress(KeyboardInterrupt):
        for line in legend(folder):
            print(translated(line), file=sys.stderr)
        serve(folder, port, lambda url: print(url, flush=True))


@command(_("Write report.html for a study, a run, or runs that were copied into one folder."), sort_key=5)
def report(folder: Annotated[Path, parameter(_("Folder of a study, of a run, or of several runs."))], /) -> None:
    """Write report.html for a study, a run, or runs that were copied into one folder."""
    from headstart.report.page import write_page

    print(write_page(folder))


@command(
    _("Report whether the training of a run or a study is healthy, or run an ablation of the network."), sort_key=5
)
def diagnose(
    folder: Annotated[Path | None, parameter(_("Folder of a run or of a study."))] = None,
    /,
    *,
    ablation: Annotated[
        str | None,
        parameter(
            _("Data for an ablation of shortcut x norm x depth, instead of a folder. {forms:cap}.", forms=DATA_FORMS)
        ),
    ] = None,
    seeds: Annotated[int, parameter(_("ablation: seeds of each network."))] = 1,
    runs: Annotated[Path, parameter(_("ablation: parent of its folder."))] = RUNS,
    engine: EngineName = "auto",
    json: Json = False,
    settings: AblationFlags = None,
) -> None:
    """Report whether the training of a run or a study is healthy, or run an ablation of the network."""
    flags = settings or {}
    chosen = EngineChoice(engine)
    if (folder is None) == (ablation is None):
        raise UsageError(
            _("diagnose needs either a folder or --ablation DATA."), _("Try `headstart diagnose runs/NAME`.")
        )
    if ablation is not None:
        from headstart.experiment.ablation_grid import ablation_spec
        from headstart.experiment.compare import compare

        spec = ablation_spec(ablation, flags, seeds)
        with ConsoleReporter() as reporter:
            result = compare(spec, runs, chosen, reporter)
        if json:
            print_json(result.to_json())
        else:
            print("\n".join(printable(translated(sentence)) for sentence in result.sentences))
        return
    defaults = {"seeds": (seeds, 1), "runs": (runs, RUNS), "engine": (engine, "auto")}
    if invalid := [*flags, *(name for name, (value, default) in defaults.items() if value != default)]:
        raise UsageError(_("--{flag} belongs to --ablation.", flag=invalid[0].replace("_", "-")), _("Remove the flag."))
    from headstart.results import diagnosis

    assert folder is not None  # noqa: S101  (checked above)
    diagnoses = diagnosis.diagnose(folder)
    if json:
        print_json([diagnosis_of_run.to_json() for diagnosis_of_run in diagnoses])
    else:
        print("\n".join(printable(translated(line)) for line in diagnosis.describe_diagnoses(diagnoses)))


@command(
    _("Rebuild the TensorBoard files of a run, or of a study's runs and seed means, from the records."), sort_key=6
)
def repair(folder: Annotated[Path, parameter(_("Folder of a run or of a study."))], /, *, log: Log = None) -> None:
    """Rebuild the TensorBoard files of a run, or of a study's runs and seed means, from the records."""
    trackers = require_trackers(log or ())
    if (folder / "study.toml").is_file():
        from headstart.experiment import study

        folders = study.repair(folder)
    else:
        from headstart.runs import runner

        folders = [runner.repair(folder)]
    with locked(folder), ConsoleReporter() as reporter, tracked(folder, trackers, reporter):
        pass
    print("\n".join(map(str, folders)))
