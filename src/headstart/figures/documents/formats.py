"""The formats of a report, one row each. The rows import nothing slow; renderers are import paths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from headstart.errors import UsageError
from headstart.figures.options import parse_formats
from headstart.i18n import _

HTML = "html"  # the page, which `report.page` writes
MATPLOTLIB = ("matplotlib", "matplotlib")


@dataclass(frozen=True)
class DocumentFormat:
    """One format of a document.

    Args:
        renderer: Import path of a function from a `model.Document` and the document's folder to the content of the
            file, as bytes.
        figure_format: Format of its figures.
        needs: Modules that it needs and their packages, which are optional.
    """

    renderer: str
    figure_format: str
    needs: Sequence[tuple[str, str]] = (MATPLOTLIB,)


DOCUMENT_FORMATS = {
    "md": DocumentFormat("headstart.figures.documents.markdown:render", "png"),
    "docx": DocumentFormat("headstart.figures.documents.docx:render", "png", (MATPLOTLIB, ("docx", "python-docx"))),
    "tex": DocumentFormat("headstart.figures.documents.tex:render", "pdf"),
}


def parse_report_formats(values: Iterable[str]) -> tuple[str, ...]:
    """Return the formats of a report, html and those of documents, as `options.parse_formats` does.

    Raises:
        UsageError: A format is unknown, there is none, or a package that it needs is not installed.
    """
    return _installed(parse_formats(values, (HTML, *DOCUMENT_FORMATS), _("reports")))


def parse_document_formats(values: Iterable[str]) -> tuple[str, ...]:
    """Return the formats of documents; it raises the errors of `parse_report_formats`."""
    return _installed(parse_formats(values, tuple(DOCUMENT_FORMATS), _("documents")))


def _installed(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of formats whose packages are installed. Raises UsageError for others."""
    for name in names:
        for module, package in DOCUMENT_FORMATS[name].needs if name != HTML else ():
            if find_spec(module) is None:
                raise UsageError(
                    _("A report in the format {name} needs {package}.", name=name, package=package),
                    _("Install it with `pip install {package}`.", package=package),
                )
    return tuple(names)
