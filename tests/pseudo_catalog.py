"""A catalog that marks what it translates: letters that are left over come from values, or were never translated."""

import contextlib
import functools
import gettext
import io
import re
import string
from pathlib import Path

import headstart

PACKAGE = Path(headstart.__file__).parent
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]\d+)?")
OPEN, CLOSE, LETTER = "⟦", "⟧", "·"


class PseudoCatalog(gettext.NullTranslations):
    """Put every template in brackets and replace its letters, and keep the templates that were looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.templates: set[str] = set()

    def gettext(self, message: str) -> str:
        self.templates.add(message)
        return _marked(message)

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        self.templates |= {msgid1, msgid2}
        return _marked(msgid1 if n == 1 else msgid2)


def _marked(template: str) -> str:
    parts = []
    for literal, name, spec, conversion in string.Formatter().parse(template):
        parts.append("".join(LETTER if c.isalpha() else c for c in literal).replace("{", "{{").replace("}", "}}"))
        if name is not None:
            parts.append("{" + name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "") + "}")
    return f"{OPEN}{''.join(parts)}{CLOSE}"


def words_left(text: str) -> set[str]:
    """Return the words of a text from the catalog that no template contains, without numbers."""
    return set(re.findall(r"[^\W\d_]+", NUMBER.sub("", text)))


@functools.cache
def extracted_templates() -> set[str]:
    """Return the templates that Babel finds in the source, as `make messages` does."""
    from babel.messages import extract

    templates: set[str] = set()
    with contextlib.redirect_stderr(io.StringIO()):  # Babel warns of formatted strings also where they are values
        for _file, _line, template, _comments, _context in extract.extract_from_dir(PACKAGE):
            templates.update([template] if isinstance(template, str) else template)
    return templates


def has_words(template: str) -> bool:
    """Return whether a template has text of its own, unlike the template that joins messages."""
    return any(character.isalpha() for literal, *_field in string.Formatter().parse(template) for character in literal)
