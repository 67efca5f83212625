"""The content of a document, without its format.

Messages contain references to figures, tables and sources as marks, which every format resolves in its own way. Only
`refer` makes marks: in all other values, such as file and class names, their characters are escaped.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from headstart.i18n import Message, Value, _, join, translated
from headstart.printable import printable

# Characters for private use, which `clean` escapes.
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


class _Mark(Message):
    """The mark of a reference. A text with the same characters is none."""


def refer(target: Target, *keys: str) -> Message:
    """Return the mark of a reference, for the value of a message."""
    return _Mark("{mark}", {"mark": f"{_OPEN}{target}:{','.join(keys)}{_CLOSE}"})


def cite(*keys: str) -> Message:
    """Return the mark of a citation of sources of the document, for the value of a message."""
    return refer(Target.SOURCE, *keys)


def text_parts(text: str) -> list[str | CrossReference]:
    """Return a text, translated, cleaned and on one line, divided at its references, which only messages have."""
    shown = translated(_without_forged_marks(text))
    parts: list[str | CrossReference] = []
    end = 0
    for match in _MARK.finditer(shown):
        parts += [clean(shown[end : match.start()]), CrossReference(Target(match[1]), tuple(match[2].split(",")))]
        end = match.end()
    parts.append(clean(shown[end:]))
    return [part for part in parts if part]


def _without_forged_marks(value: str) -> str:
    """Return a text in which marks that `refer` did not make are escaped, also in the values of messages."""
    if isinstance(value, _Mark):
        return value
    if not isinstance(value, Message):
        return _escape_marks(value)
    values = {name: _clean_value(part) for name, part in value.values.items()}
    return Message(value.template, values, value.plural, value.number)


def _clean_value(value: Value) -> Value:
    if isinstance(value, str):
        return _without_forged_marks(value)
    return _escape_marks(str(value)) if isinstance(value, (Path, Exception)) else value


def _escape_marks(text: str) -> str:
    return "".join(printable(c) if c in (_OPEN, _CLOSE) else c for c in text)


def clean(text: str) -> str:
    """Return a text with escapes for characters that cannot be printed: file and class names are untrusted."""
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
class DocumentTable:
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
class DocumentFigure:
    """A figure with a caption.

    Args:
        key: Name for references, unique among the figures of the document.
        title: Short title, which is also read to readers who do not see the picture.
        caption: What the figure shows and how to read it.
        file: DocumentFigure, in a format that the document can contain.
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
    """Lines of a file or a command."""

    text: str
    language: str

    @property
    def lines(self) -> Sequence[str]:
        """The lines with escapes for characters that cannot be printed; a tab is four spaces."""
        return [clean(line.removesuffix("\r").replace("\t", "    ")) for line in self.text.split("\n")]


@dataclass(frozen=True)
class Source:
    """A paper or a program that the study used.

    Args:
        key: Name for citations, unique in the document.
        text: Authors, year, title and where it was published.
        url: Address, preferably a DOI.
    """

    key: str
    text: str
    url: str


@dataclass(frozen=True)
class SourceList:
    """The numbered sources."""

    sources: Sequence[Source]


Block: TypeAlias = Heading | Paragraph | BulletList | DocumentTable | DocumentFigure | Blank | Code | SourceList


@dataclass(frozen=True)
class Document:
    """A document.

    Args:
        title: Title.
        created: When the first of its runs began, in UTC; None if that is not known.
        blocks: Content in order.
    """

    title: Message
    created: datetime | None
    blocks: Sequence[Block]

    @cached_property
    def numbers(self) -> Mapping[tuple[Target, str], int]:
        """Numbers of figures, tables and sources by key, each from 1 in the order of the document."""
        keys: dict[Target, list[str]] = {target: [] for target in Target}
        for block in self.blocks:
            match block:
                case DocumentFigure():
                    keys[Target.FIGURE].append(block.key)
                case DocumentTable():
                    keys[Target.TABLE].append(block.key)
                case SourceList():
                    keys[Target.SOURCE] += [source.key for source in block.sources]
        return {(target, key): number for target, names in keys.items() for number, key in enumerate(names, 1)}

    def reference_words(self, reference: CrossReference) -> Message:
        """Return a reference in words: "Figure 2", or "[1, 4]" for sources."""
        numbers = sorted(self.numbers[reference.target, key] for key in reference.keys)
        if reference.target is Target.SOURCE:
            return _("[{numbers}]", numbers=join(map(str, numbers), ", "))
        return numbered_words(reference.target, numbers[0])


def cited_keys(blocks: Iterable[Block]) -> set[str]:
    """Return the keys of the sources that texts of the blocks cite."""
    parts = (part for block in blocks for text in _texts(block) for part in text_parts(text))
    references = (part for part in parts if isinstance(part, CrossReference) and part.target is Target.SOURCE)
    return {key for reference in references for key in reference.keys}


def _texts(block: Block) -> Iterator[str]:
    """Yield the texts of a block that may have references."""
    match block:
        case Heading(text) | Paragraph(text):
            yield text
        case BulletList(items):
            yield from items
        case DocumentTable():
            yield from (block.caption, *block.header, *chain.from_iterable(block.rows))
        case DocumentFigure():
            yield from (block.title, block.caption)
        case Blank(title, questions):
            yield from (title, *questions)


def numbered_words(target: Target, number: int) -> Message:
    """Return the name of a figure or a table with its number: "Table 1"."""
    return _("Figure {number}", number=number) if target is Target.FIGURE else _("Table {number}", number=number)


AUTHOR_MARK = _("To be written by the author")
EMPTY_TEXT = _("(your text)")
