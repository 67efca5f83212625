"""The commands that inspect finished work: `tensorboard`, `report`, `diagnose` and `rebuild`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from headstart.cli.app import RUNS, Json, Log, command, reporter
from headstart.cli.options import parameter, switch
from headstart.cli.output import print_json, print_lines, print_words
from headstart.config.lists import split_commas
from headstart.figures.documents.formats import DOCUMENT_FORMATS, HTML, parse_report_formats
from headstart.i18n import _
from headstart.telemetry.trackers.registry import require_trackers


@command(_("Open TensorBoard on a folder of runs until Ctrl-C."), sort_key=5)
def tensorboard(
    folder: Annotated[Path, parameter(_("Folder of runs."))] = RUNS,
    /,
    *,
    host: Annotated[str, parameter(_("Address to serve on; 0.0.0.0: also for other machines."))] = "127.0.0.1",
    port: Annotated[int, parameter(_("Port; 0 uses any free port."))] = 6006,
    open: Annotated[bool, switch(_("Open the page in the browser."))] = False,
) -> None:
    """Open TensorBoard on a folder of runs until Ctrl-C."""
    import webbrowser
    from contextlib import suppress

    from headstart.telemetry.tensorboard_server import launch, legend, wait

    with suppress(KeyboardInterrupt):
        with reporter() as output:
            for line in legend(folder):
                output.say(line)
        url = launch(folder, port, host)
        print_words([url])
        if open:
            webbrowser.open(url)
        wait()


@command(_("Write the report of a study, a run, or runs that were copied into one folder."), sort_key=5)
def report(
    folder: Annotated[Path, parameter(_("Folder of a study, of a run, or of several runs."))],
    /,
    *,
    tag: Annotated[
        list[str] | None,
        parameter(_("What a tag of other programs' event files is, e.g. 'val accuracy=TAG'; repeatable.")),
    ] = None,
    format: Annotated[
        list[str] | None,
        parameter(
            _(
                "Formats: {formats}; repeatable [default: html]. All but html are a lab report to edit, with figures.",
                formats=", ".join((HTML, *DOCUMENT_FORMATS)),
            ),
            negative="",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write the report of a study, a run, or runs that were copied into one folder."""
    formats = parse_report_formats(map(str, split_commas([HTML] if format is None else format)))
    from headstart.results.pages import write_report

    if HTML in formats:
        path = write_report(folder, tag or ())
        say_remarks(folder)
        print_words([path])
    if documents := [name for name in formats if name != HTML]:
        from headstart.experiment.ablation_summary import read_ablation_result
        from headstart.figures.documents.write import write_documents
        from headstart.results.event_folders import find_event_files

        with reporter() as output:
            paths = write_documents(
                folder,
                documents,
                output,
                ablation=read_ablation_result(folder),
                foreign_folders=len(find_event_files(folder)),
            )
        if HTML not in formats:
            say_remarks(folder)
        print_words(paths)


@command(_("Report whether the training of a run or a study is healthy, and what to try."), sort_key=5)
def diagnose(
    folder: Annotated[Path, parameter(_("Folder of a run or of a study."))],
    /,
    *,
    json: Json = False,
) -> None:
    """Report whether the training of a run or a study is healthy, and what to try."""
    from headstart.results import diagnosis

    diagnoses = diagnosis.diagnose(folder)
    say_remarks(folder)
    if json:
        print_json([diagnosis_of_run.to_json() for diagnosis_of_run in diagnoses])
    else:
        print_lines(diagnosis.describe_diagnoses(diagnoses))


def say_remarks(folder: Path) -> None:
    """Say what is missing or damaged in a folder of runs."""
    from headstart.results.remarks import remarks

    sentences = remarks(folder)
    if sentences:
        with reporter() as output:
            for sentence in sentences:
                output.say(sentence)


@command(
    _("Rebuild the TensorBoard files of a run, a study or an ablation from the records; send them to trackers."),
    sort_key=6,
)
def rebuild(
    folder: Annotated[Path, parameter(_("Folder of a run, of a study or of an ablation."))], /, *, log: Log = None
) -> None:
    """Rebuild the TensorBoard files of a run, a study or an ablation from the records; send them to trackers."""
    trackers = require_trackers(log or ())
    from headstart.experiment.compare import rebuild as rebuild_files

    with reporter() as output:
        folders = rebuild_files(folder, output, trackers)
    print_words(folders)
