"""Read the values of fields that are lists."""

from __future__ import annotations

from typing import TypeVar

from headstart.config.presets import Setting

T = TypeVar("T")


def split_commas(values: T) -> T | tuple[Setting, ...]:
    """Split text at commas, for lists whose items contain none: `1,2` and ["1,2"] become ("1", "2").

    Items that are not text stay as they are; what is no list is returned unchanged.
    """
    if not isinstance(values, (str, list, tuple)):
        return values
    items: list[Setting] = []
    for value in (values,) if isinstance(values, str) else values:
        items += [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else [value]
    return tuple(items)


def as_list(value: T) -> T | tuple[str, ...]:
    """Return a text as a list of one item, for lists whose items may contain commas; other values stay unchanged."""
    return (value,) if isinstance(value, str) else value
