"""What the HTML that headstart writes loads and runs, by a parser that is not the writer."""

import base64
import hashlib
from html.parser import HTMLParser

EXECUTED = {"", "module", "text/javascript"}  # types of scripts; others are data, which are not run


class PageReader(HTMLParser):
    """The policy of a page, its inline scripts and styles, and the attributes that a page must not have."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.policy = ""
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.faults: list[str] = []
        self._open: list[str] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        for name, value in values.items():
            if name == "style" or name.startswith("on") or name in {"srcdoc", "action", "formaction", "ping"}:
                self.faults.append(f"<{tag} {name}={value!r}>")
            if name in {"src", "srcset", "data", "poster"} and not value.startswith("data:image/"):
                self.faults.append(f"<{tag} {name}={value[:40]!r}>")
            if name in {"href", "xlink:href"} and not value.startswith("#"):
                self.faults.append(f"<{tag} {name}={value[:40]!r}>")
        if tag in {"base", "embed", "form", "iframe", "link", "object"}:
            self.faults.append(f"<{tag}>")
        if values.get("http-equiv", "").lower() == "content-security-policy":
            assert not self.scripts and not self.styles, "what precedes the policy is not under it"
            self.policy = values["content"]
        if tag == "script" and values.get("type", "").lower() in EXECUTED:
            self.scripts.append("")
            self._open = self.scripts
        elif tag == "style":
            self.styles.append("")
            self._open = self.styles

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self._open[-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag in {"script", "style"}:
            self._open = None


def hash_of(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def assert_is_closed(text: str) -> PageReader:
    """Assert that a page runs and loads only what is in it, by its policy and by its elements; return it."""
    page = PageReader(text)
    assert page.faults == []
    directives = dict(part.strip().split(" ", 1) for part in page.policy.split(";"))
    expected = {"default-src": {"'none'"}, "img-src": {"data:"}, "base-uri": {"'none'"}, "form-action": {"'none'"}}
    for name, contents in (("style-src", page.styles), ("script-src", page.scripts)):
        expected |= {name: set(map(hash_of, contents))} if contents else {}
    assert {name: set(value.split()) for name, value in directives.items()} == expected
    return page
