"""Validate that a text is the name of a row in a registry, which may have been extended since the import."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from headstart.i18n import Message, _
from headstart.text import suggestion

R = TypeVar("R")


@dataclass(frozen=True)
class OneOf(Generic[R]):
    """Metadata of a field whose values are the names in a registry.

    Args:
        registry: Rows by name.
        accepts: Returns whether a row is valid for the field; default: every row.
        rejection: Why a row that is not accepted is invalid, for the error.
    """

    registry: Mapping[str, R]
    accepts: Callable[[R], bool] = lambda row: True
    rejection: Message | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the accepted rows."""
        return tuple(name for name, row in self.registry.items() if self.accepts(row))

    def __get_pydantic_core_schema__(self, source: type[str], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of a text that is checked by `check`."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def check(self, value: str) -> str:
        """Return the name as in the registry. Raises ValueError if it has no such row, or the row is not accepted."""
        value = registered_name(value, self.registry)
        if value not in self.registry:
            raise ValueError(not_a_choice(value, self.names))
        if not self.accepts(self.registry[value]):
            names = ", ".join(self.names)
            raise ValueError(_("{rejection}: choose one of {names}", rejection=self.rejection, names=names))
        return value


def registered_name(name: str, registry: Iterable[str]) -> str:
    """Return a name as it is registered: `Adam` is `adam`, `one_cycle` is `one-cycle`. An unknown name is returned."""
    names = tuple(registry)
    if name in names:
        return name
    folded = name.casefold().replace("_", "-")
    return next((other for other in names if other.casefold().replace("_", "-") == folded), name)


def not_a_choice(value: str, choices: Sequence[str]) -> Message:
    """Return the choices of which a value is none, with the most similar one."""
    similar = suggestion(value, choices)
    return _("choose one of {choices}{suggestion}", choices=", ".join(choices), suggestion=similar)
