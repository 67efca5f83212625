"""Tables of pandas as HTML for notebooks, without style attributes."""

from __future__ import annotations

import pandas as pd
from markupsafe import Markup

CELL, HEADING = Markup("<td>{}</td>"), Markup('<th scope="col">{}</th>')


def frame_html(frame: pd.DataFrame) -> Markup:
    """Return a table without its index; pandas' own HTML has a style attribute. Fractions have four digits."""
    header = Markup("").join(HEADING.format(name) for name in frame.columns)
    rows = (
        Markup("<tr>{}</tr>").format(Markup("").join(CELL.format(_cell(value)) for value in row))
        for row in frame.itertuples(index=False, name=None)
    )
    return Markup('<table class="dataframe"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>').format(
        header, Markup("").join(rows)
    )


def _cell(value: object) -> str:
    if pd.isna(value):  # type: ignore[call-overload]
        return "NaN"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
