"""Values of messages, so that tests of numbers and names do not depend on sentences."""

from headstart.i18n import Message, Value
from headstart.reporter import NullReporter


def values_of(text: str) -> list[Value]:
    """Return the values of a message in their order; those of a nested message stand in its place."""
    assert isinstance(text, Message), f"not a message: {text!r}"
    found: list[Value] = []
    for value in text.values.values():
        found += values_of(value) if isinstance(value, Message) else [value]
    return found


def fields_of(text: str) -> dict[str, Value]:
    """Return the named values of a message and of the messages in it; the outer one has precedence."""
    assert isinstance(text, Message), f"not a message: {text!r}"
    found: dict[str, Value] = {}
    for name, value in text.values.items():
        if isinstance(value, Message):
            found = {**fields_of(value), **found}
        else:
            found[name] = value
    return found


class SentenceReporter(NullReporter):
    """A reporter that keeps its sentences."""

    def __init__(self) -> None:
        self.sentences: list[Message] = []

    def say(self, sentence: Message) -> None:
        """Keep the sentence."""
        self.sentences.append(sentence)
