"""Bounds of the numbers in files that others may have made.

A number in a file may be any that JSON can write. What is computed from it must not overflow: sums, squares and ratios
of numbers, and integers in arrays. Every field of a schema that declares no bounds of its own has these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_core import CoreSchema

MAX_INTEGER = 2**53  # a number that is exact in JSON of every program
MAX_NUMBER = 1e100  # above squares and ratios of float32 numbers and sums of them; its own square is finite
_BOUNDS = {"int": MAX_INTEGER, "float": MAX_NUMBER}


def bound_numbers(schema: CoreSchema) -> CoreSchema:
    """Add the bounds to the numbers of a schema of pydantic that have none, in place, and return it."""
    for part in _parts(schema):
        if (bound := _BOUNDS.get(part.get("type", ""))) is not None:
            if not {"ge", "gt"} & part.keys():
                part["ge"] = -bound
            if not {"le", "lt"} & part.keys():
                part["le"] = bound
    return schema


def _parts(schema: CoreSchema) -> Iterator[dict[str, Any]]:
    """Yield a schema and those in it, but what functions do and what only describes values."""
    open_parts: list[Any] = [schema]
    while open_parts:
        part = open_parts.pop()
        if isinstance(part, dict):
            if isinstance(part.get("type"), str):
                yield part
            open_parts += (value for key, value in part.items() if key not in ("metadata", "config", "serialization"))
        elif isinstance(part, (list, tuple)):
            open_parts += part
