"""A chart of the report for notebooks, which displays itself and can be saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup

from headstart.errors import UsageError
from headstart.figures.settings_file import import_matplotlib
from headstart.i18n import Message, _, translated
from headstart.report.layout import Figure
from headstart.report.policy import content_security_policy
from headstart.report.svg import charts
from headstart.report.svg.standalone import standalone
from headstart.results.frame_html import CELL, HEADING
from headstart.storage.files import write_atomic

CHART_STYLE = ".headstart.chart { background: var(--paper); color: var(--ink); max-width: 900px; }"
PAGE = Markup("""<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>{body}</body>
</html>
""")
CSS_DPI = 96  # units of the view box per inch
MAX_DPI = 1200
FIGURE_HEADING = Markup("<h5>{}</h5>")  # of a figure in a chart with several figures


@dataclass(frozen=True)
class Chart:
    """A chart with its main result as title and an explanation of how to read it.

    Examples:
        >>> chart = run.plot.confusion()  # a notebook displays it
        >>> chart.save("confusion.html").name
        'confusion.html'
    """

    title: Message
    html: Markup = field(repr=False)
    figures: Sequence[Figure] = field(default=(), repr=False)

    def _repr_html_(self) -> str:
        return str(Markup("<style>{}</style>{}").format(_chart_style(), self._body()))

    def _body(self) -> Markup:
        return Markup('<div class="headstart chart"><h4>{}</h4>{}</div>').format(translated(self.title), self.html)

    def _page(self) -> str:
        """Return a page with the chart."""
        style = _chart_style()
        return PAGE.format(
            language=translated(_("en")),
            policy=content_security_policy([style]),
            title=translated(self.title),
            style=style,
            body=self._body(),
        )

    def save(self, path: str | Path, *, dpi: float = 200) -> Path:
        """Write the chart as a file; return its path.

        Args:
            path: `.html` for a page with the title, the explanation and the numbers; `.svg` or `.png` for the drawing
                alone.
            dpi: Pixels per inch of a PNG, whose width is about 8 inches.

        Raises:
            UsageError: The path has another suffix, the chart consists of photos, which only a page has, or the
                package for PNG files is missing.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix == ".svg" and self.figures:
            write_atomic(path, self._svg())
        elif suffix == ".png" and self.figures:
            write_atomic(path, _png(self._svg(), dpi))
        elif suffix == ".html":
            write_atomic(path, self._page())
        else:
            suffixes = ".html, .svg, .png" if self.figures else ".html"
            raise UsageError(
                _("A chart like this cannot be saved as {path}.", path=path.name),
                _("Use a name that ends with {suffixes}.", suffixes=suffixes),
            )
        return path

    def _svg(self) -> str:
        """Return the drawings below each other as one SVG document."""
        several = len(self.figures) > 1
        named = [(translated(figure.choice) if several else "", figure.chart) for figure in self.figures]
        return standalone(named, translated(self.title))


def _chart_style() -> Markup:
    return charts.style() + CHART_STYLE


def _png(svg: str, dpi: float) -> bytes:
    """Render an SVG document, with the fonts of matplotlib where the system has none."""
    if not 0 < dpi <= MAX_DPI:
        raise UsageError(_("{dpi:g} dpi are not possible.", dpi=dpi), _("Use a number up to {count}.", count=MAX_DPI))
    try:
        import_matplotlib()
        import matplotlib
        import resvg_py
    except ImportError as error:
        raise UsageError(
            _("PNG files need the packages of the extra `figures`."),
            _("Run `{command}` in the checkout, or save the chart as .svg.", command="pip install '.[figures]'"),
        ) from error
    fonts = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf")
    return bytes(
        resvg_py.svg_to_bytes(svg_string=svg, zoom=dpi / CSS_DPI, font_dirs=[fonts], sans_serif_family="DejaVu Sans")
    )


def headed_figures(figures: Sequence[Figure]) -> Markup:
    """Return figures below each other, with their names as headings."""
    return Markup("").join(
        FIGURE_HEADING.format(translated(figure.choice)) + figure_html(figure) if figure.choice else figure_html(figure)
        for figure in figures
    )


def figure_html(figure: Figure) -> Markup:
    """Return a figure with its caption and numbers as HTML."""
    return Markup('<figure><div class="scroll">{}</div><figcaption>{}</figcaption>{}</figure>').format(
        figure.chart, translated(figure.caption), _numbers(figure.header, figure.rows) if figure.rows else ""
    )


def _numbers(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Return the values of a chart as a table, for readers who cannot see the chart."""
    lines = [Markup("<tr>{}</tr>").format(_cells(CELL, row)) for row in rows]
    return Markup("<details><summary>{}</summary><table><tr>{}</tr>{}</table></details>").format(
        translated(_("Numbers")), _cells(HEADING, head), Markup("").join(lines)
    )


def _cells(template: Markup, row: Sequence[str]) -> Markup:
    return Markup("").join(template.format(translated(text)) for text in row)
