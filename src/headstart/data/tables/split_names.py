"""Read the splits that a table declares."""

from __future__ import annotations

from headstart.data.image_index import SPLIT_NAMES
from headstart.data.split_names import split_names
from headstart.data.tables.labels import WORDS_FOR_NOTHING
from headstart.data.tables.table import Column, Table, first_row
from headstart.errors import DataError
from headstart.i18n import Message, _, ngettext
from headstart.text import replacement_hint


def read_splits(table: Table, column: Column) -> tuple[list[str], list[Message]]:
    """Return the split of each row, "" for none, and a note on words for nothing.

    Raises:
        DataError: A split has another name.
    """
    values = [value.strip().casefold() for value in column.values]
    used = {name.folder: name.split for name in split_names({*values})}  # as for folders: eval beside val is test
    names = {"": "", **used, **dict.fromkeys(WORDS_FOR_NOTHING, "")}
    if unknown := set(values) - names.keys():
        row = first_row([value in unknown for value in values])
        value = column.values[row].strip()
        raise DataError(
            _("{place} has the split {split!r}.", place=table.place(row), split=value),
            replacement_hint(value, SPLIT_NAMES) or _("Use train, val or test."),
        )
    notes: list[Message] = []
    if count := sum(value in WORDS_FOR_NOTHING for value in values):
        notes.append(
            ngettext(
                "{count:,} row of {manifest} has a word for a missing value as its split and declares none.",
                "{count:,} rows of {manifest} have a word for a missing value as their split and declare none.",
                count,
                manifest=table.name,
            )
        )
    return [names[value] for value in values], notes
