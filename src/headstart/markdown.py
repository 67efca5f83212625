"""Write untrusted text into Markdown, so that it is shown as it is and has no structure, link, image or HTML.

The escapes hold in CommonMark, in GitHub's dialect and in Python-Markdown, which TensorBoard uses. The last one knows
a backslash only before some characters. For the others there are entities, which no dialect reads as structure.
"""

from __future__ import annotations

import re

_BACKSLASH = frozenset("\\`*_{}[]#!")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# characters with a meaning anywhere, and what makes an address a link without brackets: ://, //, @ and inner dots
_SPECIAL = re.compile(r"[\\`*_{}\[\]#!&<>|~$^@]|:(?=//)|(?<=/)/|(?<=\w)\.(?=[^\W\d_])")
# at the start of a block: a list, a heading, a rule, or a definition
_MARKER = re.compile(r"(?:[-+=:]|\d+[.)])(?=[-+=\s]|$)")
_EDGES = re.compile(r"^\s+|\s+$")


def escape(text: str) -> str:
    """Return a text on one line as Markdown within a line."""
    return _SPECIAL.sub(lambda match: _escaped(match[0]), text)


def as_paragraph(inline: str) -> str:
    """Return Markdown within a line as a paragraph: its beginning starts no list, rule or block of code."""
    if marker := _MARKER.match(inline):
        inline = f"{inline[: marker.end() - 1]}{_entity(inline[marker.end() - 1])}{inline[marker.end() :]}"
    return keep_edges(inline)


def keep_edges(inline: str) -> str:
    """Return Markdown within a line as the content of a heading or a cell, with the spaces at its ends."""
    return _EDGES.sub(lambda match: "".join(map(_entity, match[0])), inline)


def _escaped(character: str) -> str:
    return f"\\{character}" if character in _BACKSLASH else _entity(character)


def _entity(character: str) -> str:
    return _ENTITIES.get(character, f"&#{ord(character)};")
