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
_AS_CSV = _("Save the table as CSV.")
_UNPACK = _("Unpack it, and name the table in it.")
_OTHER_FILES = (  # first bytes, in lower case
    (b"pk\x03\x04", _("an Excel file or another archive"), _AS_CSV),
    (b"\xd0\xcf\x11\xe0", _("an Excel file"), _AS_CSV),
    (b"\x1f\x8b", _("a compressed file"), _UNPACK),
    (b"bzh", _("a compressed file"), _UNPACK),
    (b"\xfd7zxz", _("a compressed file"), _UNPACK),
    (b"par1", _("a Parquet file"), _("Rename it, so that it ends in .parquet.")),
    (b"sqlite format", _("a database of SQLite"), _("Export the table as CSV.")),
    (b"insert into", _("an SQL script"), _("Export the table as CSV.")),
    (b"create table", _("an SQL script"), _("Export the table as CSV.")),
    (b"{\\rtf", _("a text document"), _AS_CSV),
    (b"%pdf", _("a PDF file"), _AS_CSV),
    (b"\x89png", _("an image"), _("Name the table of the images.")),
    (b"\xff\xd8\xff", _("an image"), _("Name the table of the images.")),
    (b"<!doctype", _("a web page"), _("Download the file itself, not the page about it.")),
    (b"<html", _("a web page"), _("Download the file itself, not the page about it.")),
    (b"version https://git-lfs", _("the pointer of Git LFS to a table"), _("Run `git lfs pull` in its folder.")),
)
_SAMPLE_BYTES = 4096
_WORD = re.compile(r"[^\s,;\t|\"'/\\]*[^\x00-\x7f][^\s,;\t|\"'/\\]*")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_MAX_WORD = 40  # characters before and behind the first accent
_FOREIGN_RUN = re.compile(r"[^\x00-\x7f]{3}")  # Western European words have no three accents in a row
_ESCAPED = re.compile("[\udc80-\udcff]")
_DECODED = re.compile("[\u0080-\ud7ff\ue000-\U0010ffff]")
# Other encodings that are read as Windows-1252 have signs beside letters, and capitals behind small letters.
_NO_WORD = re.compile(
    "[ƒ\u02c6\u02dc†‡‰¤¦¨¬¯¶¸¹]|[^\\W\\d_][¡¢£¥±¼½¾¿‚„•‹]|[¢¥±»”›•][À-ÿŠŒŽšœžŸ]|[”›»¢¥™][a-zA-Z]|[a-zß-ÿšœž][À-ÞŠŒŽŸ]"
)


def decode_table(content: bytes, manifest: str) -> tuple[str, list[Message]]:
    """Return the text of a table with the line ends of Unix, and a note on an encoding other than UTF-8.

    Args:
        content: The bytes of the file.
        manifest: Name of the file in messages.

    Raises:
        DataError: The file is no text, its encoding is unknown, or it mixes two of them.
    """
    require_table(content, manifest)
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
        accent = _NOT_ASCII.search(text)  # _WORD would look at the letters before it again and again
        place = accent.start() if accent else 0
        example = _WORD.search(text, max(place - _MAX_WORD, 0), place + _MAX_WORD)
        notes.append(
            _(
                "{manifest} is not UTF-8 and is read as Windows-1252, with words such as {word!r}.",
                manifest=manifest,
                word=example[0] if example else "",
            )
        )
    text = text.rstrip("\0\x1a")  # programs of DOS end text with ^Z
    if "\r" in text:
        text = re.sub("(?<!\r)\r+\n|\r", "\n", text)  # without the first part, many \r take quadratic time
    return text.lstrip("\ufeff").replace("\n\ufeff", "\n"), notes


def require_table(content: bytes, manifest: str) -> None:
    """Raise DataError for the content of a file of another kind, known from its first bytes."""
    start = content[:_SAMPLE_BYTES].lstrip().lower()
    if other := next(((kind, hint) for first, kind, hint in _OTHER_FILES if start.startswith(first)), None):
        kind, hint = other
        raise DataError(_("{manifest} is {kind}, not a table as text.", manifest=manifest, kind=kind), hint)


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
    lines = content.decode("utf-8", errors="surrogateescape").split("\n")
    line = next(number for number, text in enumerate(lines, 1) if _ESCAPED.search(text))
    if any(_DECODED.search(text) and not _ESCAPED.search(text) for text in lines):
        raise DataError(
            _("Line {line} of {manifest} is not UTF-8, but other lines are.", line=line, manifest=manifest),
            _("Write the accents of that line again, and save the file as UTF-8."),
        )
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        text = ""
    if not text or _FOREIGN_RUN.search(text) or _NO_WORD.search(text):
        raise DataError(
            _(
                "Line {line} of {manifest} is neither UTF-8 nor Western European text in Windows-1252.",
                line=line,
                manifest=manifest,
            ),
            _("Save it as UTF-8."),
        )
    return text
