"""Write the report on a study or on runs as documents, with their figures beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from headstart.factories import load_factory
from headstart.figures import keep
from headstart.figures.documents.build import build_document
from headstart.figures.documents.formats import DOCUMENT_FORMATS, parse_document_formats
from headstart.figures.documents.model import Document
from headstart.figures.draw import draw_figures
from headstart.i18n import ngettext
from headstart.report.page import read_inputs
from headstart.reporter import NullReporter, Reporter
from headstart.storage.folders import require_output_folder
from headstart.storage.schemas.ablation import AblationResult

FOLDER = "report-figures"  # the user has other figures, of another resolution, in `figures`


def write_documents(
    folder: Path,
    formats: Sequence[str],
    reporter: Reporter | None = None,
    *,
    ablation: AblationResult | None = None,
    foreign_folders: int = 0,
) -> list[Path]:
    """Write the report on a study, a run or several runs as documents into their folder.

    The figures are written into `FOLDER` in this folder. An earlier document with another content is renamed.

    Args:
        folder: Folder of a study, of an ablation, of a run, or of several runs.
        formats: Names of rows in `DOCUMENT_FORMATS`.
        reporter: Receives warnings, and what the documents leave out.
        ablation: Result of the ablation in the folder, if it has one and all its runs have ended.
        foreign_folders: Number of folders with event files of other programs.

    Returns:
        Paths of the documents, in the order of the formats.

    Raises:
        UsageError: A format is unknown, or a package that it needs is not installed.
        DataError: The folder has no runs.
        ResourceError: The folder cannot be written.
    """
    names, reporter = parse_document_formats(formats), reporter or NullReporter()
    inputs = read_inputs(folder)
    require_output_folder(folder)
    figure_formats = sorted({DOCUMENT_FORMATS[name].figure_format for name in names})
    figures = draw_figures(inputs, folder, figure_formats, reporter=reporter, folder=FOLDER)
    paths = []
    for name in names:
        row = DOCUMENT_FORMATS[name]
        document = build_document(inputs, figures, row.figure_format, ablation, foreign_folders)
        renderer: Callable[[Document, Path], bytes] = load_factory(row.renderer)
        keep.write_text(folder, f"report.{name}", renderer(document, folder), reporter)
        paths.append(folder / f"report.{name}")
    if foreign_folders:
        reporter.say(
            ngettext(
                "Not in the report: the runs of other programs in {count} folder. `headstart report {folder:shell}` "
                "shows them as a page.",
                "Not in the report: the runs of other programs in {count} folders. `headstart report {folder:shell}` "
                "shows them as a page.",
                foreign_folders,
                folder=folder,
            )
        )
    return paths
