"""The result of `check` as one self-contained page with the pictures of the examples, in the layout of the report."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from headstart.audit.audit_data import AuditData
from headstart.audit.finding import SEVERITY, AuditResult, CheckRow, example_words
from headstart.errors import ResourceError
from headstart.i18n import Message, _, join, ngettext, verbatim
from headstart.printable import printable
from headstart.report.checks import CheckContent, CheckTile
from headstart.report.content import KeyFigure, PageHead
from headstart.report.page import MAX_BYTES, PageSection, render_page
from headstart.report.photos import data_url
from headstart.report.svg.labels import isolate_bidi
from headstart.storage.files import write_atomic
from headstart.storage.schemas.audit import AuditExample, CheckStatus
from headstart.text import join_first

_SIDE = 128  # px of a picture
_QUALITY = 70
_LIMITS = (48, 24, 12, 6, 3, 0)  # examples of a check; the most that fit are shown
_MAX_LINES = 500  # files without a picture


def write_audit_page(result: AuditResult, data: AuditData, path: Path) -> None:
    """Write the page of a result, of at most `MAX_BYTES`.

    Raises:
        ResourceError: The file cannot be written.
    """
    picture = functools.cache(lambda place: _picture(data, place))
    for limit in _LIMITS:
        text = render_page(_head(result), _sections(result, limit, picture))
        if len(text.encode()) <= MAX_BYTES:
            break
    try:
        write_atomic(path, text)
    except OSError as error:
        raise ResourceError(
            _("{path} cannot be written ({reason}).", path=path, reason=error.strerror),
            _("Name a file in another folder."),
        ) from None


def _head(result: AuditResult) -> PageHead:
    failed = len(result.failed)
    warned = sum(row.status is CheckStatus.WARN for row in result.rows)
    headline = (
        ngettext("{count} check of the data failed", "{count} checks of the data failed", failed)
        if failed
        else ngettext("{count} check of the data warns", "{count} checks of the data warn", warned)
        if warned
        else _("All checks of the data passed")
    )
    name = Path(result.data).name or result.data
    names = [isolate_bidi(printable(text)) for text in result.classes]
    figures = [
        KeyFigure(_("Images"), f"{result.image_count:,}", _("in all splits")),
        KeyFigure(_("Classes"), f"{len(result.classes):,}", join_first(names, 4)),
    ]
    if result.splits is not None:
        sizes = " / ".join(f"{count:,}" for _name, count in result.splits)
        source = (
            _("train, val and test, drawn with seed {seed}", seed=result.seed)
            if result.declared == "none"
            else _("train, val and test; declared: {declared}", declared=result.declared)
        )
        figures.append(KeyFigure(_("Splits"), sizes, source))
    return PageHead(
        title=_("{headline} | headstart check", headline=headline),
        origin=_("Check of {data}", data=name),
        headline=headline,
        lead=result.summary,
        details=result.notes,
        key_figures=figures,
    )


def _sections(result: AuditResult, limit: int, picture: Callable[[int], str]) -> list[PageSection]:
    rows = sorted(result.rows, key=lambda row: SEVERITY.index(row.status))
    table = [
        (_("{name}: {status}", name=row.name, status=row.status.value), join([row.sentence, row.hint])) for row in rows
    ]
    sections = [PageSection("checks", _("What was checked?"), CheckContent(result.summary, rows=table))]
    for row in rows:
        if row.status in (CheckStatus.FAIL, CheckStatus.WARN):
            question = _("{status}: {name}", status=row.status.value, name=row.name)
            sections.append(PageSection(row.check, question, _content(row, limit, picture)))
    return sections


def _content(row: CheckRow, limit: int, picture: Callable[[int], str]) -> CheckContent:
    tiles: list[CheckTile] = []
    lines: list[Message] = []
    for position, example in zip(row.positions, row.examples, strict=True):
        places = [position.image] + ([] if position.other is None else [position.other])
        pictures = [url for place in places if (url := picture(place))] if len(tiles) < limit else []
        if pictures:
            tiles.append(CheckTile(pictures, _about(example), [n for n in (example.image, example.other) if n]))
        elif len(lines) < min(_MAX_LINES, limit * _MAX_LINES):
            lines.append(example_words(example))
    hidden = max(row.count, len(row.examples)) - len(tiles) - len(lines) if row.examples else 0
    more = (
        ngettext("{count:,} more is not on this page.", "{count:,} more are not on this page.", hidden)
        if hidden
        else join([])
    )
    return CheckContent(row.sentence, hint=row.hint, tiles=tiles, lines=lines, more=more)


def _about(example: AuditExample) -> Message:
    """Return labels, splits and value of an example."""
    if example.detail:
        return verbatim(example.detail)
    sides = [(example.label, example.split)]
    sides += [(example.other_label, example.other_split)] if example.other else []
    words = [f"{isolate_bidi(label)} ({split})" if split else isolate_bidi(label) for label, split in sides]
    words += [] if example.value is None else [f"{example.value:.2f}"]
    return join(words, " | ")


def _picture(data: AuditData, place: int) -> str:
    """Return the picture of an image as a data URL; "" for one that cannot be decoded."""
    if not data.store.sizes[place, 0]:
        return ""
    image = Image.fromarray(data.store[place])
    image.thumbnail((_SIDE, _SIDE), reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY)
    return data_url("webp", buffer.getvalue())
