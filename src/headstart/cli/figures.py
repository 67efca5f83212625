"""The command `figures`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from headstart.cli.app import command, reporter
from headstart.cli.options import parameter
from headstart.cli.output import print_words
from headstart.cli.reports import say_remarks
from headstart.config.lists import split_commas
from headstart.errors import DataError
from headstart.figures.options import DEFAULT_DPI, FIGURE_FORMATS, parse_figure_options
from headstart.i18n import _


@command(_("Write figures for print of a study, a run, or runs that were copied into one folder."), sort_key=5)
def figures(
    folder: Annotated[Path, parameter(_("Folder of a study, of a run, or of several runs."))],
    /,
    *,
    format: Annotated[
        list[str] | None,
        parameter(
            _("File formats: {formats}; repeatable [default: png].", formats=", ".join(FIGURE_FORMATS)),
            negative="",
            show_default=False,
        ),
    ] = None,
    dpi: Annotated[int, parameter(_("Pixels per inch of PNG files."))] = DEFAULT_DPI,
    output: Annotated[
        Path | None, parameter(_("Folder of the figures [default: FOLDER/figures]."), show_default=False)
    ] = None,
) -> None:
    """Write figures for print of a study, a run, or runs that were copied into one folder."""
    formats = parse_figure_options(map(str, split_commas(["png"] if format is None else format)), dpi)
    from headstart.figures.draw import write_figures

    with reporter() as console:
        written = write_figures(folder, output, formats, dpi, console)
    say_remarks(folder)
    if not written:
        raise DataError(
            _("The records in {folder} have no data for a figure yet.", folder=folder),
            _("Run the command again after the first epoch."),
        )
    print_words(path for figure in written for path in figure.files.values())
