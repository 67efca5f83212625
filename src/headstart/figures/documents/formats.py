"""The formats of a report, one row each. The rows import nothing slow; renderers are import paths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from headstart.errors import UsageError
from headstart.i18n import _
from headstart.text import end_sentence, suggestion

HTML = "html"  # the page, which `report.page` writes
MATPLOTLIB = ("matplotlib", "matplotlib")


@dataclass(frozen=True)
class DocumentFormat:
    """One format of a document.

    Args:
        renderer: Import path of a function from a `model.Document` and the document's folder to the content of the
            file, as bytes.
        picture: Format of its pictures.
        needs: Modules that it needs and their packages, which are optional.
    """

    renderer: str
    picture: str
    needs: Sequence[tuple[str, str]] = (MATPLOTLIB,)


FORMATS = {
    "md": DocumentFormat("headstart.figures.documents.markdown:render", "png"),
    "docx": DocumentFormat("headstart.figures.documents.docx:render", "png", (MATPLOTLIB, ("docx", "python-docx"))),
    "tex": DocumentFormat("headstart.figures.documents.tex:render", "pdf"),
}


def parse_formats(values: Iterable[str]) -> tuple[str, ...]:
    """Return the formats of a report without duplicates, after a check that what they need is installed.

    Raises:
        UsageError: A format is unknown, there is none, or a package that it needs is not installed.
    """
    known = (HTML, *FORMATS)
    names = tuple(dict.fromkeys(value.strip().lower().removeprefix(".") for value in values))
    for name in names or ("",):
        if name not in known:
            fault = _("{name!r} is not a format of a report{suggestion}", name=name, suggestion=suggestion(name, known))
            raise UsageError(end_sentence(fault), _("Use one or more of {formats}.", formats=", ".join(known)))
        require_packages(name)
    return names


def require_packages(name: str) -> None:
    """Raise UsageError if a package that a format needs is not installed."""
    for module, package in FORMATS[name].needs if name in FORMATS else ():
        if find_spec(module) is None:
            raise UsageError(
                _("A report in the format {name} needs {package}.", name=name, package=package),
                _("Install it with `pip install {package}`.", package=package),
            )
