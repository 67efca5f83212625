"""Sections of a page on the checks of a data set: the table of all checks, and the images of one check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from headstart.i18n import NOTHING, Message
from headstart.report.layout import SectionContent


@dataclass(frozen=True)
class CheckTile:
    """An image or a pair as the page shows it: data URLs of the pictures, a sentence, and the paths."""

    pictures: Sequence[str]
    text: Message
    names: Sequence[str]


@dataclass(frozen=True)
class CheckContent(SectionContent):
    """Rows of a table, pictures, and lines of text.

    Args:
        hint: What to do.
        rows: Name and text of each row of a table.
        tiles: Images and pairs with their pictures.
        lines: Images without pictures.
        more: How many images the page does not show; "" if it shows all.
    """

    template = "checks.html"

    hint: Message = NOTHING
    rows: Sequence[tuple[Message, Message]] = field(default_factory=tuple)
    tiles: Sequence[CheckTile] = field(default_factory=tuple)
    lines: Sequence[Message] = field(default_factory=tuple)
    more: Message = NOTHING
