"""Charts as an SVG file of their own, in the colors of a light page.

The style sheet of the page uses variables and computed values, which many programs other than browsers cannot read.
Here they are replaced by their values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup

from headstart.report.svg.charts import style
from headstart.report.svg.elements import WIDTH, tag, text_at

MARGIN, NAME_HEIGHT = 16, 26  # units of the view box around the charts, and of the name above each


def standalone(named: Sequence[tuple[str, Markup]], title: str) -> str:
    """Return one SVG document with charts below each other.

    Args:
        named: Names, "" for none, and charts of this package.
        title: Title of the document.
    """
    parts: list[Markup] = []
    top: float = MARGIN
    for name, chart in named:
        if name:
            parts.append(text_at(MARGIN, top + NAME_HEIGHT - 10, name, "start", "strong"))
            top += NAME_HEIGHT
        height = _height(chart)
        position = Markup('<svg x="{}" y="{}" width="{}" height="{}"').format(MARGIN, round(top), WIDTH, round(height))
        parts.append(Markup(chart.replace("<svg", position, 1)))  # noqa: S704 - charts are escaped markup
        top += height + MARGIN
    width, total = WIDTH + 2 * MARGIN, round(top)
    background = tag("rect", "", x=0, y=0, width=width, height=total, fill="#fff")
    inner = tag("svg", Markup("").join([background, *parts]), width=width, height=total)  # for `.headstart svg …`
    content = tag("title", title) + tag("style", plain_style()) + inner
    attributes = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {width} {total}", "width": width}
    return str(tag("svg", content, cls="headstart", height=total, **attributes)) + "\n"


def plain_style() -> Markup:
    """Return the style sheet of the charts without variables, computed values and dark colors."""
    text = str(style())
    values = dict(re.findall(r"--(\w+): ([^;}]+);", text[: text.index("}")]))
    text = re.sub(r"@media screen.*?\} \}", "", text, flags=re.DOTALL)
    text = re.sub(r"var\(--(\w+)\)", lambda match: values.get(match[1], "none"), text)
    text = re.sub(r"calc\(([\d.]+) \+ ([\d.]+) \* \(([\d.]+) - ([\d.]+)\)\)", _computed, text)
    return Markup(re.sub(r"fill: rgba\(([^()]+), ([\d.]+)\)", r"fill: rgb(\1); fill-opacity: \2", text))  # noqa: S704


def _computed(match: re.Match[str]) -> str:
    """Return the value of `a + b * (c - d)`."""
    a, b, c, d = map(float, match.groups())
    return f"{a + b * (c - d):.3f}"


def _height(chart: Markup) -> float:
    """Return the height of a chart in units of its view box."""
    box = re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', chart)
    if box is None:
        raise ValueError("not a chart of this package")
    return float(box[1])
