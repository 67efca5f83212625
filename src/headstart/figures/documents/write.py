"""Write the report on a study or on runs as documents, with their figures beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from headstart.factories import load_factory
from headstart.figures.documents.build import build_document
from headstart.figures.documents.formats import FORMATS, require_packages
from headstart.figures.documents.model import Document
from headstart.figures.draw import write_figures
from headstart.figures.options import FOLDER
from headstart.i18n import _
from headstart.report.page import read_inputs
from headstart.reporter import NullReporter, Reporter
from headstart.storage.files import write_atomic


def write_documents(folder: Path, formats: Sequence[str], reporter: Reporter | None = None) -> list[Path]:
    """Write the report on a study, a run or several runs as documents into their folder.

    The figures are written into `figures/` in this folder. An earlier document with another content is renamed.

    Args:
        folder: Folder of a study, of a run, or of several runs.
        formats: Names of rows in `FORMATS`.
        reporter: Receives a warning if no font has the characters of a name.

    Returns:
        Paths of the documents, in the order of the formats.

    Raises:
        UsageError: A package that a format needs is not installed.
        DataError: The folder has no runs.
    """
    for name in formats:
        require_packages(name)
    inputs = read_inputs(folder)
    pictures = sorted({FORMATS[name].picture for name in formats})
    figures = write_figures(folder, folder / FOLDER, pictures, reporter=reporter)
    paths = []
    for name in formats:
        document = build_document(inputs, figures, FORMATS[name].picture)
        renderer: Callable[[Document, Path], bytes] = load_factory(FORMATS[name].renderer)
        path, content = folder / f"report.{name}", renderer(document, folder)
        _keep_earlier(path, content, reporter or NullReporter())
        write_atomic(path, content)
        paths.append(path)
    return paths


def _keep_earlier(path: Path, content: bytes, reporter: Reporter) -> None:
    """Rename an earlier file with another content, which an author may have edited."""
    if not path.exists() or path.read_bytes() == content:
        return
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(1))
    kept = next(name for name in numbered if not name.exists())
    path.rename(kept)
    reporter.say(_("The earlier {name} is now {kept}.", name=path.name, kept=kept.name))
