"""Formats and resolution of figures, checked before any slow import."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from headstart.errors import UsageError
from headstart.i18n import _
from headstart.text import replacement_hint

FORMATS = ("png", "svg", "pdf")
MIN_DPI, MAX_DPI = 72, 1200
FOLDER = "figures"  # default, in the folder of the study or the runs


def check_options(formats: Sequence[str], dpi: int) -> None:
    """Raise UsageError for an unknown format, an unsuitable resolution, or without matplotlib."""
    choices = ", ".join(FORMATS)
    if not formats:
        raise UsageError(_("No format is given."), _("Use one or more of {choices}.", choices=choices))
    for form in formats:
        if form not in FORMATS:
            hint = replacement_hint(form, FORMATS) or _("Use one or more of {choices}.", choices=choices)
            raise UsageError(_("There is no format {form!r} for figures.", form=form), hint)
    if not MIN_DPI <= dpi <= MAX_DPI:
        raise UsageError(
            _("The resolution {dpi} dpi is not from {low} to {high}.", dpi=dpi, low=MIN_DPI, high=MAX_DPI),
            _("Use --dpi 300, or 600 for journals that ask for it."),
        )
    if find_spec("matplotlib") is None:
        raise UsageError(_("Figures for print need matplotlib."), _("Install it with `pip install matplotlib`."))
