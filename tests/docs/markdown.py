"""The parts of a Markdown page that the tests of the documentation read: code blocks, links, images and anchors."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"<!--\s*(not run|run):\s*(.*?)\s*-->", re.DOTALL)
BARE_URL = re.compile(r"\bhttps?://[^\s<>\"'`)\]]+")


@dataclass(frozen=True)
class Mark:
    """A comment before a code block: `<!-- not run: REASON -->` or `<!-- run: SCENARIO -->`.

    Attributes:
        line: Line of the comment, from 1.
        runs: False for `not run`.
        text: The reason, or the name of the scenario.
    """

    line: int
    runs: bool
    text: str


@dataclass(frozen=True)
class Block:
    """A fenced or indented code block.

    Attributes:
        line: Line of the first line of code, from 1.
        language: First word of the info string, in lower case; "" for an indented block.
        code: The code without fences and indentation.
        mark: The comment before the block.
    """

    line: int
    language: str
    code: str
    mark: Mark | None = None


@dataclass(frozen=True)
class Link:
    """A link or an image; `text` is the text of a link, or the alternative text of an image."""

    line: int
    target: str
    text: str
    is_image: bool = False

    @property
    def is_external(self) -> bool:
        """True for a target with a scheme or a host."""
        parts = urlsplit(self.target)
        return bool(parts.scheme or parts.netloc)


@dataclass
class Page:
    """A page of the documentation.

    Attributes:
        name: Path relative to the root of the repository, with `/`.
        lines: Lines of the file.
        blocks: Code blocks in order.
        loose_marks: Marks that stand before no code block.
        links: Links and images in order, also those of HTML tags.
        anchors: Fragments of the page that a link can name.
        code_lines: Numbers of the lines of code blocks, fences included.
        table_lines: Numbers of the lines of tables.
    """

    name: str
    lines: list[str]
    blocks: list[Block] = field(default_factory=list)
    loose_marks: list[Mark] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    code_lines: set[int] = field(default_factory=set)
    table_lines: set[int] = field(default_factory=set)


def page_names() -> list[str]:
    """Return the names of the pages in this repository."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")]
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


@cache
def read_page(path: Path, root: Path = ROOT) -> Page:
    """Return the page in a file."""
    return parse_page(path.read_text(encoding="utf-8"), path.relative_to(root).as_posix())


def parse_page(text: str, name: str = "page.md") -> Page:
    """Return the page with a text."""
    page, headings, mark = Page(name, text.split("\n")), Counter[str](), None
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    line = 1
    for position, token in enumerate(tokens):
        line = token.map[0] + 1 if token.map else line
        if token.type in ("fence", "code_block"):
            page.blocks.append(_block(token, mark))
            page.code_lines.update(_lines(token))
        elif mark is not None:
            page.loose_marks.append(mark)
        mark = _mark(token, line) if token.type == "html_block" else None
        if token.type == "table_open":
            page.table_lines.update(_lines(token))
        elif token.type == "html_block":
            _read_html(token.content, line, page)
        elif token.type == "inline":
            _read_inline(token.children or [], line, page)
            if tokens[position - 1].type == "heading_open":
                page.anchors.add(_unique(slug(_plain_text(token)), headings))
    if mark is not None:
        page.loose_marks.append(mark)
    return page


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading: lower case, without punctuation, with hyphens for spaces."""
    return "".join(_kept(character) for character in heading.strip().lower())


def _kept(character: str) -> str:
    if character == " ":
        return "-"
    category = unicodedata.category(character)
    return character if character == "-" or category[0] in "LM" or category in ("Nd", "Pc") else ""


def _unique(anchor: str, before: Counter[str]) -> str:
    """Return the anchor of a heading after those before it on the page: the second one gets `-1`."""
    number = before[anchor]
    before[anchor] += 1
    return f"{anchor}-{number}" if number else anchor


def _plain_text(inline: Token) -> str:
    return "".join(token.content for token in inline.children or [] if token.type in ("text", "code_inline"))


def _lines(token: Token) -> range:
    """Return the numbers of the lines of a block, from 1."""
    first, end = token.map or (0, 0)
    return range(first + 1, end + 1)


def _block(token: Token, mark: Mark | None) -> Block:
    start = (token.map or [0, 0])[0]
    first = start + (2 if token.type == "fence" else 1)
    return Block(first, next(iter(token.info.split()), "").lower(), token.content, mark)


def _mark(token: Token, line: int) -> Mark | None:
    match = MARK.fullmatch(token.content.strip())
    return Mark(line, match[1] == "run", match[2]) if match else None


def _read_inline(tokens: list[Token], line: int, page: Page) -> None:
    """Add the links and images of a paragraph, a heading or a cell that begins at a line."""
    open_link: tuple[int, str, str] | None = None  # line, target and text so far
    for token in tokens:
        if token.type == "link_open":
            open_link = (line, str(token.attrs["href"]), "")
        elif token.type == "link_close" and open_link is not None:
            page.links.append(Link(*open_link))
            open_link = None
        elif token.type == "image":
            page.links.append(Link(line, str(token.attrs["src"]), token.content, is_image=True))
        elif token.type == "html_inline":
            _read_html(token.content, line, page)
        elif token.type == "text" and open_link is None:
            page.links += [Link(line, match[0].rstrip(".,;:"), "") for match in BARE_URL.finditer(token.content)]
        if open_link is not None and token.type in ("text", "code_inline", "image"):
            open_link = (*open_link[:2], open_link[2] + token.content)
        line += token.type in ("softbreak", "hardbreak")


def _read_html(text: str, line: int, page: Page) -> None:
    """Add the links, images and anchors of HTML tags."""
    parser = _TagParser()
    parser.feed(text)
    parser.close()
    for offset, tag, attributes in parser.tags:
        if tag == "a":
            page.anchors.update(attributes[name] for name in ("id", "name") if attributes.get(name))
            if "href" in attributes:
                page.links.append(Link(line + offset, attributes["href"], ""))
        elif tag == "img":
            alt = attributes.get("alt", "")
            page.links.append(Link(line + offset, attributes.get("src", ""), alt, is_image=True))
        elif tag == "source":  # of a <picture>, whose <img> has the alternative text
            for target in _sources(attributes.get("srcset", "")):
                page.links.append(Link(line + offset, target, "source of a picture", is_image=True))


def _sources(srcset: str) -> Iterator[str]:
    for candidate in srcset.split(","):
        yield from candidate.split()[:1]


class _TagParser(HTMLParser):
    """The start tags of HTML: line from 0, name and attributes of each."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[int, str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((self.getpos()[0] - 1, tag, {name: value or "" for name, value in attrs}))
