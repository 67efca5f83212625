"""Formats and resolution of figures, and the parser of formats, which work before any slow import."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec

from headstart.errors import UsageError
from headstart.i18n import Message, _
from headstart.text import replacement_hint

FIGURE_FORMATS = ("png", "svg", "pdf")
MIN_DPI, DEFAULT_DPI, MAX_DPI = 72, 300, 1200
FOLDER = "figures"  # default, in the folder of the study or the runs


def parse_formats(values: Iterable[str], known: Sequence[str], product: Message) -> tuple[str, ...]:
    """Return names of formats in lower case, without a dot and without duplicates: `.PNG` is png.

    Args:
        values: The names as typed.
        known: Names of all formats.
        product: What is written in them, in the plural.

    Raises:
        UsageError: A name is unknown, or there is none.
    """
    names = tuple(dict.fromkeys(value.strip().lower().removeprefix(".") for value in values))
    use = _("Use one or more of {known}.", known=", ".join(known))
    if not names:
        raise UsageError(_("No format of {product} is given.", product=product), use)
    for name in names:
        if name not in known:
            fault = _("There is no format {name!r} of {product}.", name=name, product=product)
            raise UsageError(fault, replacement_hint(name, known) or use)
    return names


def parse_figure_options(formats: Iterable[str], dpi: int) -> tuple[str, ...]:
    """Return the formats of figures as `parse_formats` does.

    Raises:
        UsageError: A format is unknown, the resolution is unsuitable, or matplotlib is not installed.
    """
    names = parse_formats(formats, FIGURE_FORMATS, _("figures"))
    if not MIN_DPI <= dpi <= MAX_DPI:
        raise UsageError(
            _("The resolution {dpi} dpi is not from {low} to {high}.", dpi=dpi, low=MIN_DPI, high=MAX_DPI),
            _("Use --dpi 300, or 600 for journals that ask for it."),
        )
    if find_spec("matplotlib") is None:
        raise UsageError(_("Figures for print need matplotlib."), _("Install it with `pip install matplotlib`."))
    return names
