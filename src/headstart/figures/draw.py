"""Write the figures of a study or of runs for print, each with its caption. Imports matplotlib only when it draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.factories import load_factory
from headstart.figures import keep
from headstart.figures.options import DEFAULT_DPI, FOLDER, parse_figure_options
from headstart.figures.registry import FIGURES
from headstart.figures.settings_file import import_matplotlib
from headstart.i18n import Message, _, translated
from headstart.printable import printable
from headstart.report.inputs import PageInputs
from headstart.report.page import read_inputs
from headstart.reporter import NullReporter, Reporter
from headstart.storage import contained
from headstart.storage.folders import require_output_folder
from headstart.text import join_first

if TYPE_CHECKING:
    from headstart.figures.canvas import DrawnFigure
    from headstart.figures.fonts import Typeface

MAX_LISTED_CHARACTERS = 8  # in the message on characters without a font


@dataclass(frozen=True)
class WrittenFigure:
    """One figure that was written.

    Args:
        name: File name without suffix, such as "learning-curves".
        title: Short title.
        caption: What is shown: numbers of seeds, runs and images, conditions, and how to read it.
        files: Path by format.
    """

    name: str
    title: Message
    caption: Message
    files: Mapping[str, Path]


def write_figures(
    folder: Path,
    output: Path | None = None,
    formats: Sequence[str] = ("png",),
    dpi: int = DEFAULT_DPI,
    reporter: Reporter | None = None,
) -> list[WrittenFigure]:
    """Write the figures of a study, of a run, or of several runs, and beside each its caption as `NAME.caption.txt`.

    Args:
        folder: Folder of a study, of a run, or of several runs.
        output: Folder of the figures; it is created if it does not exist. Default: `figures` in the folder, which must
            not be a link then: the folder may be a copy.
        formats: Formats, of `FIGURE_FORMATS`.
        dpi: Pixels per inch of PNG files, `MIN_DPI` to `MAX_DPI`.
        reporter: Receives a warning if no font has the characters of a name, and the new names of files of the user.

    Returns:
        The figures that the study or the runs have data for, in the order of `FIGURES`.

    Raises:
        UsageError: A format is unknown, `dpi` is out of range, or matplotlib is not installed.
        DataError: The folder has no runs.
        ResourceError: The folder of the figures cannot be written.
        UnsafeFileError: The default folder of the figures is a link.
    """
    names, reporter = parse_figure_options(formats, dpi), reporter or NullReporter()
    inputs = read_inputs(folder)
    root, name = (folder, FOLDER) if output is None else (output, "")
    require_output_folder(
        root / name, _("Choose another folder for the figures: --output DIR, or output=DIR in Python.")
    )
    figures = draw_figures(inputs, root, names, dpi, reporter, folder=name)
    for figure in figures:
        text = f"{printable(translated(figure.title))}\n\n{printable(translated(figure.caption))}\n"
        keep.write_text(root, contained.join(name, f"{figure.name}.caption.txt"), text.encode(), reporter)
    return figures


def draw_figures(
    inputs: PageInputs,
    output: Path,
    formats: Sequence[str],
    dpi: int = DEFAULT_DPI,
    reporter: Reporter | None = None,
    *,
    folder: str = "",
) -> list[WrittenFigure]:
    """Draw the figures that there are data for, and write them in these formats; return them.

    Equal records give equal bytes with the same version of matplotlib and the same fonts. Other files with the same
    names are renamed. The arguments are those of `write_figures`, after their check, and the name of a folder of the
    figures below `output`, which may be a copy: links in it are not followed.
    """
    import_matplotlib()
    from headstart.figures.canvas import print_style, render_figure
    from headstart.figures.fonts import find_typeface

    reporter = reporter or NullReporter()
    with print_style():
        typeface = find_typeface()
        drawn = _draw(inputs, typeface)
        contents = {
            (name, format_name): render_figure(figure, format_name, dpi)
            for name, figure in drawn.items()
            for format_name in formats
        }
    _report_missing(typeface, reporter)
    output.mkdir(parents=True, exist_ok=True)
    if folder:
        contained.make_folder(output, folder)
    figures = []
    for name, figure in drawn.items():
        files = {format_name: contained.join(folder, f"{name}.{format_name}") for format_name in formats}
        for format_name, file in files.items():
            keep.write_figure(output, file, contents[name, format_name], reporter)
        paths = {format_name: output / file for format_name, file in files.items()}
        figures.append(WrittenFigure(name, figure.title, figure.caption, paths))
    return figures


def _draw(inputs: PageInputs, typeface: Typeface) -> dict[str, DrawnFigure]:
    drawn: dict[str, DrawnFigure] = {}
    for row in FIGURES:
        factory: Callable[[PageInputs, Typeface], DrawnFigure | None] = load_factory(row.factory)
        figure = factory(inputs, typeface)
        if figure is not None:
            drawn[row.name] = figure
    return drawn


def _report_missing(typeface: Typeface, reporter: Reporter) -> None:
    if not typeface.missing:
        return
    reporter.say(
        _(
            "No installed font has the characters {characters}; figures show their codes. Install Noto Sans CJK for "
            "Chinese, Japanese and Korean names.",
            characters=join_first(sorted(typeface.missing), MAX_LISTED_CHARACTERS),
        )
    )
