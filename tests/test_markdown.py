"""Untrusted text in Markdown is shown as it is by real parsers, and makes no structure, link, image or HTML."""

import re
import warnings
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from headstart.markdown import as_paragraph, escape, keep_edges
from headstart.printable import printable

with warnings.catch_warnings():  # of the html5lib that TensorBoard ships
    warnings.simplefilter("ignore", DeprecationWarning)
    from tensorboard.plugin_util import markdown_to_safe_html

SNIPPETS = [
    "![x](http://example.com/a.png)", "[x](http://example.com)", "<img src=x onerror=alert(1)>", "<!-- x -->", "**x**",
    "_x_", "__x__", "`x`", "```", "~~x~~", "~~~", "https://example.com/a_b", "www.example.com", "me@example.com",
    "<x@y.z>", "# x", "#", "- x", "-", "+ x", "* x", "1. x", "1)", "===", "---", "> x", "| a | b |", "|", "||", ":---",
    "[x]: y",
    "[^1]", "&lt;", "&#42;", "&amp;", "\\", "\\\\", "\\|", "$x$", "$$", "^x^", "{x}", "{: .y}", "    code", "  ", " ",
    "!", "[", "]", "(", ")", "ftp://x.yz", "//example.com", "example.com", "=cmd|' /C calc'!A0", "\\[x\\]", ":+1:",
    "--",
    "<https://x.yz>", "a\nb", "\x1b[31m", "\u202e", "- [ ] x", "x\\",
]  # fmt: skip
names = st.lists(st.sampled_from(SNIPPETS) | st.text(max_size=8), min_size=1, max_size=5).map("".join).map(printable)
names = names.filter(bool)


def leaves(tokens: list[Token]) -> list[Token]:
    return [leaf for token in tokens for leaf in (leaves(token.children) if token.children else [token])]


def inline_text(tokens: list[Token]) -> str:
    (inline,) = (token for token in tokens if token.type == "inline")
    assert {leaf.type for leaf in inline.children or ()} <= {"text"}
    return "".join(leaf.content for leaf in inline.children or ())


def parsers() -> list[MarkdownIt]:
    return [MarkdownIt("commonmark"), MarkdownIt("commonmark").enable(["table", "strikethrough"])]


@given(names)
@example("a" * 3 + "  ")
def test_paragraphs_headings_items_and_cells_show_the_text(name: str) -> None:
    for parser in parsers():
        tokens = parser.parse(as_paragraph(escape(name)))
        assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
        assert inline_text(tokens) == name
        tokens = parser.parse(f"before\n\n## {keep_edges(escape(name))}\n\n- {as_paragraph(escape(name))}\n")
        texts = [token for token in tokens if token.type == "inline"]
        assert [token.type for token in tokens if token.type.endswith("_open")] == [
            "paragraph_open", "heading_open", "bullet_list_open", "list_item_open", "paragraph_open"
        ]  # fmt: skip
        assert [inline_text([text]) for text in texts] == ["before", name, name]
    cell = keep_edges(escape(name))
    table = parsers()[1].parse(f"| a | b |\n| --- | --- |\n| {cell} | {cell} |\n")
    assert [inline_text([token]) for token in table if token.type == "inline"] == ["a", "b", name, name]


@given(names)
def test_text_within_a_sentence_makes_no_link(name: str) -> None:
    tokens = MarkdownIt("commonmark").parse(f"Arm {escape(name)}, seed 0.")
    assert inline_text(tokens) == f"Arm {name}, seed 0."
    assert not re.search(r"\w://|www\.|@|\w\.[^\W\d_]", escape(name))  # links of dialects that need no brackets


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, _attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(names)
def test_tensorboard_shows_the_text(name: str) -> None:
    page = Tags(markdown_to_safe_html(as_paragraph(escape(name))))
    assert page.tags == ["p"] and page.text.removesuffix("\n") == name


@pytest.mark.parametrize(
    "sentence", ["Accuracy 61.8 % on 40 images (test), 0.5 to 1.2.", "lr 1e-3: layer1.0, it's so."]
)
def test_plain_sentences_are_unchanged(sentence: str) -> None:
    assert as_paragraph(escape(sentence)) == sentence
