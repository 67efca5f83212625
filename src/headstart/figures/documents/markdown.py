"""Render a document as Markdown (CommonMark with tables)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from headstart.figures.documents.model import (
    AUTHOR_MARK,
    EMPTY_TEXT,
    Blank,
    Block,
    BulletList,
    Code,
    CrossReference,
    Document,
    DocumentFigure,
    DocumentTable,
    Heading,
    Paragraph,
    SourceList,
    Target,
    numbered_words,
    text_parts,
)
from headstart.i18n import join, translated
from headstart.markdown import as_paragraph, escape, keep_edges


def render(document: Document, folder: Path) -> bytes:
    """Return the document as UTF-8; paths of pictures are relative to `folder`."""
    blocks = [f"# {keep_edges(_text(document, document.title))}"]
    blocks += [_block(document, block, folder) for block in document.blocks]
    return ("\n\n".join(blocks) + "\n").encode()


def _text(document: Document, text: str) -> str:
    """Return a text with its references."""
    return "".join(
        translated(document.reference_words(part)) if isinstance(part, CrossReference) else escape(part)
        for part in text_parts(text)
    )


def _paragraph(document: Document, text: str) -> str:
    """Return a text that does not begin like a list or a heading."""
    return as_paragraph(_text(document, text))


def _block(document: Document, block: Block, folder: Path) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * (level + 1)} {keep_edges(_text(document, text))}"
        case Paragraph(text):
            return _paragraph(document, text)
        case BulletList(items):
            return "\n".join(f"- {_paragraph(document, item)}" for item in items)
        case DocumentTable():
            return _table(document, block)
        case DocumentFigure():
            return _figure(document, block, folder)
        case Blank():
            return _blank(document, block)
        case Code():
            text = "\n".join(block.lines)
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
            return f"{fence}{block.language}\n{text}\n{fence}"
        case SourceList(sources):
            lines = [f"{_text(document, source.text)} <{source.url}>" for source in sources]
            return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))


def _caption(document: Document, target: Target, key: str, caption: str) -> str:
    number = translated(numbered_words(target, document.numbers[target, key]))
    return f"**{escape(number)}.** {_text(document, caption)}"


def _table(document: Document, table: DocumentTable) -> str:
    caption = _caption(document, Target.TABLE, table.key, table.caption)
    lines = [_row([_text(document, name) for name in table.header]), _row(["---"] * len(table.header))]
    lines += [_row([_text(document, cell) for cell in row]) for row in table.rows]
    return "\n".join([caption, "", *lines])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(keep_edges, cells))} |"


def _figure(document: Document, figure: DocumentFigure, folder: Path) -> str:
    path = figure.file.relative_to(folder).as_posix()
    words = join([figure.title, figure.caption], ". ")
    caption = _caption(document, Target.FIGURE, figure.key, words)
    return f"![{_text(document, figure.title)}]({path})\n\n{caption}"


def _blank(document: Document, blank: Blank) -> str:
    """Return a quotation with the questions, and a paragraph for the text."""
    lines = [f"**{_text(document, blank.title)}** ({_text(document, AUTHOR_MARK)})"]
    if blank.questions:
        lines += ["", *(f"- {_paragraph(document, question)}" for question in blank.questions)]
    quoted = "\n".join(f"> {line}".rstrip() for line in lines)
    return f"{quoted}\n\n{_text(document, EMPTY_TEXT)}"
