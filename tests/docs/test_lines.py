"""Lines of prose in the documentation have at most 120 characters, and no line ends with white space."""

import re

import pytest

from tests.docs.markdown import ROOT, Page, page_names, parse_page, read_page

MAX_CHARACTERS = 120
URL = re.compile(r"https?://\S+")
_TARGET = r"(?:\([^()\s]*(?:\s\"[^\"]*\")?\)|\[[^\[\]]*\])"  # of an inline link or of a reference link
_IMAGE = rf"!\[[^\[\]]*\]{_TARGET}"
_LINK = rf"(?:{_IMAGE}|\[(?:{_IMAGE}|[^\[\]])*\]{_TARGET}|<https?://[^<>\s]*>)"
# Links and images alone, also as an item of a list; the definition of a reference; HTML tags alone.
ONLY_LINKS = re.compile(
    rf"\s*(?:[-*+]\s+|\d+[.)]\s+|>\s*)*(?:{_LINK}[\s.,;:]*)+|\s*\[[^\[\]]+\]:\s+\S+.*|\s*(?:<[^<>]+>\s*)+"
)


def line_faults(page: Page) -> list[str]:
    """Return the lines of a page that are too long or end with white space."""
    faults = []
    for number, line in enumerate(page.lines, start=1):
        if line != line.rstrip():
            faults.append(f"{page.name}:{number}: ends with white space")
        may_be_long = number in page.code_lines | page.table_lines or is_exempt(line)
        if len(line) > MAX_CHARACTERS and not may_be_long:
            faults.append(f"{page.name}:{number}: has {len(line)} characters, more than {MAX_CHARACTERS}")
    return faults


def is_exempt(line: str) -> bool:
    """Return whether a line of prose may be long: links or images alone, or short but for its URLs."""
    is_comment = line.lstrip().startswith("<!--")
    return (ONLY_LINKS.fullmatch(line) is not None and not is_comment) or short_without_urls(line)


def short_without_urls(line: str) -> bool:
    return URL.search(line) is not None and len(URL.sub("", line)) <= MAX_CHARACTERS


@pytest.mark.parametrize("name", page_names())
def test_lines_of_the_page_are_short(name: str) -> None:
    faults = line_faults(read_page(ROOT / name))
    assert not faults, "\n".join(faults)


WORDS = "word " * 25  # 125 characters
LONG = "x" * MAX_CHARACTERS


@pytest.mark.parametrize(
    "text",
    [
        "x" * MAX_CHARACTERS,
        f"| {WORDS}|\n|---|\n| {WORDS}|",
        f"- item\n\n  | {WORDS}|\n  |---|\n",
        f"```text\n{WORDS}x\n```",
        f"~~~\n{WORDS}x\n~~~",
        f"text\n\n    {WORDS}x",
        f"- item\n\n  ```console\n  {WORDS}x\n  ```",
        f"[text of a link]({LONG}.md)",
        f"- [text of a link]({LONG}.md).",
        f"![text of an image]({LONG}.png)",
        f"[![text](small.png)](https://example.org/{LONG})",
        f'<img src="{LONG}.png" alt="text">',
        f"[name]: {LONG}.md",
        f"<https://example.org/{LONG}>",
        f"The paper is at https://example.org/{LONG}, with its code.",
    ],
)
def test_lines_that_may_be_long_are_accepted(text: str) -> None:
    assert line_faults(parse_page(text)) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"text\n\n{WORDS}x", 3),
        (f"# {WORDS}x", 1),
        (f"- item\n- {WORDS}x", 2),
        (f"text\n    {WORDS}x", 2),  # a paragraph that continues is not code
        (f"{WORDS}[a link](b.md)", 1),
        (f"{WORDS}https://example.org", 1),
        (f"```text\ncode\n```\n{WORDS}x", 4),
        (f"| {WORDS}x", 1),  # no table
        (f"| a |\n|---|\n| b |\n\n| {WORDS}|", 5),
        (f"<!-- not run: {WORDS}-->", 1),
        ("text \nmore", 1),
        ("text\n\t\nmore", 2),
        ("```text\ncode  \n```", 2),
    ],
)
def test_other_lines_are_faults(text: str, line: int) -> None:
    (fault,) = line_faults(parse_page(text))
    assert fault.startswith(f"page.md:{line}: ")
