"""Messages: English text, rendering from a catalog, plural forms, copies."""

import copy
import gettext
import io
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.i18n import Message, _, join, ngettext, translated

babel_pofile = pytest.importorskip("babel.messages.pofile")
babel_mofile = pytest.importorskip("babel.messages.mofile")

GERMAN = """
msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"

msgid "There is no folder {path}."
msgstr "Den Ordner {path} gibt es nicht."

msgid "{first:cap} is better than {second}."
msgstr "Besser als {second} ist {first}."

msgid "{count:,} run"
msgid_plural "{count:,} runs"
msgstr[0] "{count:,} Lauf"
msgstr[1] "{count:,} Läufe"

msgid "the last one"
msgstr "der letzte"
"""


@pytest.fixture(scope="module")
def german() -> gettext.GNUTranslations:
    """Return a catalog that Babel compiled."""
    catalog = babel_pofile.read_po(io.BytesIO(GERMAN.encode()), locale="de")
    compiled = io.BytesIO()
    babel_mofile.write_mo(compiled, catalog)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def test_text_of_a_message_is_english() -> None:
    message = _("{first:cap} is better than {second}.", first="scratch", second="imagenet")
    assert message == "Scratch is better than imagenet."
    assert [ngettext("{count:,} run", "{count:,} runs", n) for n in (0, 1, 1200)] == ["0 runs", "1 run", "1,200 runs"]


def test_catalog_may_change_the_order_of_values(german: gettext.GNUTranslations) -> None:
    message = _("{first:cap} is better than {second}.", first="scratch", second="imagenet")
    assert translated(message, german) == "Besser als imagenet ist scratch."
    assert translated(_("Not in the catalog: {n:.1f}.", n=0.25), german) == "Not in the catalog: 0.2."
    assert translated("a name", german) == "a name"


def test_values_that_are_messages_are_translated_too(german: gettext.GNUTranslations) -> None:
    inner = _(
        "{first:cap} is better than {second}.",
        first=_("the last one"),
        second=ngettext("{count:,} run", "{count:,} runs", 2),
    )
    both = join([inner, "", _("There is no folder {path}.", path="a{b}")])
    assert both == "The last one is better than 2 runs. There is no folder a{b}."
    assert translated(both, german) == "Besser als 2 Läufe ist der letzte. Den Ordner a{b} gibt es nicht."
    assert join([]) == ""


@given(st.text(), st.integers(-(10**9), 10**9))
def test_values_are_never_read_as_templates(text: str, number: int) -> None:
    assert _("{text}|{number}", text=text, number=number) == f"{text}|{number}"
    assert join([_("{text}", text=text), f"{number}"]) == (f"{text} {number}" if text else f"{number}")


def test_copies_keep_template_and_values(german: gettext.GNUTranslations) -> None:
    message = ngettext("{count:,} run", "{count:,} runs", 3)
    for other in (copy.copy(message), copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
        assert isinstance(other, Message) and other == message
        assert translated(other, german) == "3 Läufe"
