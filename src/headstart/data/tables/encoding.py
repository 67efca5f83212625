"""Decode the text of a table: UTF-8, UTF-16 or UTF-32, else Windows-1252, which older programs of Windows write."""

from __future__ import annotations

import codecs
import re

from headstart.errors import DataError
from headstart.i18n import Message, _

_MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NAMES = {"utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-16": "UTF-16", "utf-32": "UTF-32"}
_OTHER_FILES = (  # first bytes, in lower case
    (b"pk\x03\x04", _("an Excel file or another archive")),
    (b"\xd0\xcf\x11\xe0", _("an Excel file")),
    (b"\x1f\x8b", _("a compressed file")),
    (b"par1", _("a Parquet file")),
    (b"%pdf", _("a PDF file")),
    (b"\x89png", _("an image")),
    (b"\xff\xd8\xff", _("an image")),
    (b"<!doctype", _("a web page")),
    (b"<html", _("a web page")),
)
_SAMPLE_BYTES = 4096
_WORD = re.compile(r"[^\s,;\t|\"'/\\]*[^\x00-\x7f][^\s,;\t|\"'/\\]*")
_FOREIGN_RUN = re.compile(r"[^\x00-\x7f]{3}")  # Western European words have no three accents in a row
_ESCAPED = re.compile("[\udc80-\udcff]")


def decode_table(content: bytes, manifest: str) -> tuple[str, list[Message]]:
    """Return the text of a table with the line ends of Unix, and a note on an encoding other than UTF-8.

    Args:
        content: The bytes of the file.
        manifest: Name of the file in messages.

    Raises:
        DataError: The file is no text, its encoding is unknown, or it mixes two of them.
    """
    if kind := next(
        (kind for start, kind in _OTHER_FILES if content[:_SAMPLE_BYTES].lstrip().lower().startswith(start)), None
    ):
        raise DataError(
            _("{manifest} is {kind}, not a table as text.", manifest=manifest, kind=kind),
            _("Save the table as CSV in UTF-8."),
        )
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "") or _unmarked(content)
    notes: list[Message] = []
    try:
        text = content.decode(encoding)
        if encoding in _NAMES:
            notes.append(_("{manifest} is read as {encoding}.", manifest=manifest, encoding=_NAMES[encoding]))
    except UnicodeDecodeError as error:
        if encoding in _NAMES:
            raise DataError(
                _("{manifest} is cut or damaged {encoding} text.", manifest=manifest, encoding=_NAMES[encoding]),
                _("Save it as UTF-8."),
            ) from error
        text = _windows_text(content, manifest)
        example = _WORD.search(text)
        notes.append(
            _(
                "{manifest} is not UTF-8 and is read as Windows-1252, with words such as {word!r}.",
                manifest=manifest,
                word=example[0] if example else "",
            )
        )
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"), notes


def _unmarked(content: bytes) -> str:
    """Return the encoding of text without a mark: ASCII in UTF-16 has a zero byte in every second place."""
    sample = content[:_SAMPLE_BYTES]
    even, odd = sample[::2], sample[1::2]
    if len(sample) >= 4 and odd.count(0) > 0.4 * len(odd) and even.count(0) < 0.1 * len(even):
        return "utf-16-le"
    if len(sample) >= 4 and even.count(0) > 0.4 * len(even) and odd.count(0) < 0.1 * len(odd):
        return "utf-16-be"
    return "utf-8"


def _windows_text(content: bytes, manifest: str) -> str:
    """Return Windows-1252 text. Raises DataError for text that mixes it with UTF-8, or that it does not explain."""
    escaped = content.decode("utf-8", errors="surrogateescape")
    line = escaped.count("\n", 0, _ESCAPED.search(escaped).start()) + 1  # type: ignore[union-attr]  # it is not UTF-8
    if re.search("[\u0080-\ud7ff\ue000-\U0010ffff]", escaped):
        raise DataError(
            _("Line {line} of {manifest} is not UTF-8, but other lines are.", line=line, manifest=manifest),
            _("Write the accents of that line again, and save the file as UTF-8."),
        )
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        text = ""
    if not text or _FOREIGN_RUN.search(text):
        raise DataError(
            _(
                "Line {line} of {manifest} is neither UTF-8 nor Western European text in Windows-1252.",
                line=line,
                manifest=manifest,
            ),
            _("Save it as UTF-8."),
        )
    return text
