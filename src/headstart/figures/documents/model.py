"""The content of a document, without its format.

Texts contain references to figures, tables and sources as marks, which every format resolves in its own way.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from headstart.i18n import Message, _, join, translated, verbatim
from headstart.text import printable

# Characters for private use: they cannot be in a clean text, since `printable` escapes them.
_OPEN, _CLOSE = "\ue000", "\ue001"
_SHOWN_CATEGORIES = ("Cf", "Zs")  # joiners, direction marks and spaces, which belong to texts


class Target(StrEnum):
    """What a reference in a text points to."""

    FIGURE = "figure"
    TABLE = "table"
    SOURCE = "source"


_MARK = re.compile(f"{_OPEN}({'|'.join(Target)}):([^{_CLOSE}]*){_CLOSE}")


@dataclass(frozen=True)
class CrossReference:
    """A reference to a figure or a table, or to one source or more, by their keys."""

    target: Target
    keys: tuple[str, ...]


def refer(target: Target, *keys: str) -> Message:
    """Return the mark of a reference, for the value of a message."""
    return verbatim(f"{_OPEN}{target}:{','.join(keys)}{_CLOSE}")


def cite(*keys: str) -> Message:
    """Return the mark of a citation of sources of the document, for the value of a message."""
    return refer(Target.SOURCE, *keys)


def text_parts(text: str) -> list[str | CrossReference]:
    """Return a text, translated and on one line, divided at its references.

    Characters that cannot be printed are escaped: file and class names are untrusted.
    """
    shown = translated(text)
    parts: list[str | CrossReference] = []
    end = 0
    for match in _MARK.finditer(shown):
        parts += [_clean(shown[end : match.start()]), CrossReference(Target(match[1]), tuple(match[2].split(",")))]
        end = match.end()
    parts.append(_clean(shown[end:]))
    return [part for part in parts if part]


def _clean(text: str) -> str:
    return "".join(c if unicodedata.category(c) in _SHOWN_CATEGORIES else printable(c) for c in text)


@dataclass(frozen=True)
class Heading:
    """A heading of level 1 or 2."""

    text: str
    level: int = 1


@dataclass(frozen=True)
class Paragraph:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class BulletList:
    """Sentences as a list."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows under a header, with a caption.

    Args:
        key: Name for references, unique among the tables of the document.
        caption: What the table shows.
        header: Column names.
        rows: Rows, as long as the header.
    """

    key: str
    caption: Message
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A figure with a caption.

    Args:
        key: Name for references, unique among the figures of the document.
        title: Short title, which is also read to readers who do not see the picture.
        caption: What the figure shows and how to read it.
        file: Picture, in a format that the document can contain.
    """

    key: str
    title: Message
    caption: Message
    file: Path


@dataclass(frozen=True)
class Blank:
    """A field that the author fills in, with questions that guide the text."""

    title: Message
    questions: Sequence[Message] = ()


@dataclass(frozen=True)
class Code:
    """Lines of a file or a command, as they are."""

    text: str
    language: str


@dataclass(frozen=True)
class Source:
    """A paper or a program that the study used.

    Args:
        key: Name for citations, unique in the document.
        text: Authors, year, title and where it was published.
        url: Address, preferably a DOI; "" without one.
    """

    key: str
    text: str
    url: str


@dataclass(frozen=True)
class SourceList:
    """The numbered sources."""

    sources: Sequence[Source]


Block: TypeAlias = Heading | Paragraph | BulletList | Table | Picture | Blank | Code | SourceList


@dataclass(frozen=True)
class Document:
    """A document.

    Args:
        title: Title.
        created: When the first of its runs began, in UTC.
        blocks: Content in order.
    """

    title: Message
    created: datetime
    blocks: Sequence[Block]

    @cached_property
    def numbers(self) -> Mapping[tuple[Target, str], int]:
        """Numbers of figures, tables and sources by key, each from 1 in the order of the document."""
        keys: dict[Target, list[str]] = {target: [] for target in Target}
        for block in self.blocks:
            match block:
                case Picture():
                    keys[Target.FIGURE].append(block.key)
                case Table():
                    keys[Target.TABLE].append(block.key)
                case SourceList():
                    keys[Target.SOURCE] += [source.key for source in block.sources]
        return {(target, key): number for target, names in keys.items() for number, key in enumerate(names, 1)}

    def parts(self, text: str) -> list[str | CrossReference]:
        """Return a text divided at its references; a mark without a target, as in a name, is plain text."""
        parts: list[str | CrossReference] = []
        for part in text_parts(text):
            if isinstance(part, CrossReference) and not all((part.target, key) in self.numbers for key in part.keys):
                parts.append(printable(refer(part.target, *part.keys)))
            else:
                parts.append(part)
        return parts

    def reference_words(self, reference: CrossReference) -> Message:
        """Return a reference in words: "Figure 2", or "[1, 4]" for sources."""
        numbers = sorted(self.numbers[reference.target, key] for key in reference.keys)
        if reference.target is Target.SOURCE:
            return _("[{numbers}]", numbers=join(map(str, numbers), ", "))
        return numbered_words(reference.target, numbers[0])


def numbered_words(target: Target, number: int) -> Message:
    """Return the name of a figure or a table with its number: "Table 1"."""
    return _("Figure {number}", number=number) if target is Target.FIGURE else _("Table {number}", number=number)


AUTHOR_MARK = _("To be written by the author")
EMPTY_TEXT = _("(your text)")
