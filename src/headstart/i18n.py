"""Messages for users: a template with its values, translated where it is shown.

`_` and `ngettext` return a `Message`. Its text is English, so that records and logs do not depend on the reader. The
places that show messages (console, report, errors of the command line) call `translated`, which renders template and
values again with the catalog of the reader's language. English is the only catalog so far. `make messages` extracts
the templates with Babel.
"""

from __future__ import annotations

import functools
import gettext
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import SupportsFloat, TypeAlias

from headstart import shell

DOMAIN = "headstart"
LOCALE_FOLDER = Path(__file__).parent / "locale"

Value: TypeAlias = str | SupportsFloat | Path | Exception | None


class _Formatter(string.Formatter):
    """Format the fields of a template as `str.format` does, with two more formats.

    `cap` capitalizes the first letter. `shell` quotes a word of a command, which users copy into a shell; a path is
    written so that it cannot be taken for a flag.
    """

    def format_field(self, value: Value, format_spec: str) -> str:
        """Format one value."""
        if format_spec == "cap":
            text = str(value)
            return text[:1].upper() + text[1:]
        if format_spec == "shell":
            return shell.quote_path(value) if isinstance(value, Path) else shell.quote(str(value))
        return str(super().format_field(value, format_spec))


_FORMATTER = _Formatter()
_ENGLISH = gettext.NullTranslations()


class Message(str):
    """A text for users. As a string it is the text in English.

    Attributes:
        template: The text with a field in braces for each value; the singular if there is a plural.
        plural: The template for other numbers than 1; "" if the text has no number.
        number: The number that selects between singular and plural.
        values: Value of each field. A value may be a message itself.
    """

    template: str
    plural: str
    number: int
    values: Mapping[str, Value]

    def __new__(cls, template: str, values: Mapping[str, Value], plural: str = "", number: int = 0) -> Message:
        """Render the English text."""
        message = super().__new__(cls, _render(template, values, plural, number, _ENGLISH))
        message.template, message.plural, message.number, message.values = template, plural, number, values
        return message

    def __getnewargs__(self) -> tuple[str, Mapping[str, Value], str, int]:  # type: ignore[override]
        """Return the arguments with which a copy is made."""
        return self.template, self.values, self.plural, self.number


def _(template: str, **values: Value) -> Message:
    """Return a message: `_("There is no folder {path}.", path=path)`."""
    return Message(template, values)


def ngettext(singular: str, plural: str, count: int, **values: Value) -> Message:
    """Return a message with a number: `ngettext("{count} run", "{count} runs", number)`.

    Args:
        singular: Template for the number 1.
        plural: Template for other numbers.
        count: The number, also the value of the field `count`.
        values: Values of the other fields.
    """
    return Message(singular, {"count": count, **values}, plural, count)


def verbatim(text: str) -> Message:
    """Return a text that is in no catalog as a message, such as the message of an error from another program."""
    return Message("{text}", {"text": text})


def join(parts: Iterable[str], separator: str = " ") -> Message:
    """Return one message of several: the sentences of a paragraph, or the items of a list. Empty parts are left out."""
    values = {f"part{number}": part for number, part in enumerate(part for part in parts if part)}
    return Message(separator.join(f"{{{name}}}" for name in values), values)


def translated(text: str, translations: gettext.NullTranslations | None = None) -> str:
    """Return a text as it is shown: a message is rendered from the catalog, other text stays as it is.

    Args:
        text: A message or a text that is not translated, such as a name.
        translations: The catalog. Default: that of the reader's language (`LANGUAGE`, `LC_ALL`, `LC_MESSAGES`, `LANG`).
    """
    if not isinstance(text, Message):
        return text
    catalog = _reader_catalog() if translations is None else translations
    return _render(text.template, text.values, text.plural, text.number, catalog)


def _render(
    template: str, values: Mapping[str, Value], plural: str, count: int, catalog: gettext.NullTranslations
) -> str:
    chosen = catalog.ngettext(template, plural, count) if plural else catalog.gettext(template) if template else ""
    shown = {
        name: translated(value, catalog) if isinstance(value, Message) else value for name, value in values.items()
    }
    return _FORMATTER.vformat(chosen, (), shown)


@functools.cache
def _reader_catalog() -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, LOCALE_FOLDER, fallback=True)


NOTHING = join([])
