"""Write the figures of a study or of runs for print, each with its caption. Imports matplotlib only when it draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.factories import load_factory
from headstart.figures.options import check_options
from headstart.figures.registry import FIGURES
from headstart.i18n import Message, _, translated
from headstart.report.inputs import PageInputs
from headstart.report.page import read_inputs
from headstart.reporter import NullReporter, Reporter
from headstart.storage.files import write_atomic
from headstart.text import join_first

if TYPE_CHECKING:
    from headstart.figures.canvas import Drawing
    from headstart.figures.fonts import Typeface

MAX_LISTED_CHARACTERS = 8  # in the message on characters without a font


@dataclass(frozen=True)
class PrintFigure:
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
    output: Path,
    formats: Sequence[str] = ("png",),
    dpi: int = 300,
    reporter: Reporter | None = None,
) -> list[PrintFigure]:
    """Write the figures of a study, of a run, or of several runs, and beside each its caption as `NAME.txt`.

    Equal records give equal bytes with the same version of matplotlib and the same fonts.

    Args:
        folder: Folder of a study, of a run, or of several runs.
        output: Folder of the figures; it is created if it does not exist.
        formats: Formats, of `FORMATS`.
        dpi: Pixels per inch of PNG files, `MIN_DPI` to `MAX_DPI`.
        reporter: Receives a warning if no font has the characters of a name.

    Returns:
        The figures that the study or the runs have data for, in the order of `FIGURES`.

    Raises:
        UsageError: A format is unknown, `dpi` is out of range, or matplotlib is not installed.
        DataError: The folder has no runs.
    """
    check_options(formats, dpi)
    inputs = read_inputs(folder)
    from headstart.figures.canvas import print_style, saved
    from headstart.figures.fonts import find_typeface

    figures = []
    with print_style():
        typeface = find_typeface()
        drawings = _draw(inputs, typeface)
        contents = {
            (name, form): saved(drawing, form, dpi)
            for name, drawing in drawings.items()
            for form in dict.fromkeys(formats)
        }
    _report_missing(typeface, reporter or NullReporter())
    output.mkdir(parents=True, exist_ok=True)
    for name, drawing in drawings.items():
        files = {form: output / f"{name}.{form}" for form in dict.fromkeys(formats)}
        for form, path in files.items():
            write_atomic(path, contents[name, form])
        figures.append(PrintFigure(name, drawing.title, drawing.caption, files))
        write_atomic(output / f"{name}.txt", f"{translated(drawing.title)}\n\n{translated(drawing.caption)}\n")
    return figures


def _draw(inputs: PageInputs, typeface: Typeface) -> dict[str, Drawing]:
    drawings: dict[str, Drawing] = {}
    for row in FIGURES:
        factory: Callable[[PageInputs, Typeface], Drawing | None] = load_factory(row.factory)
        drawing = factory(inputs, typeface)
        if drawing is not None:
            drawings[row.name] = drawing
    return drawings


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
