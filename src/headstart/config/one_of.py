"""Validate that a text is the name of a row in a registry, which may have been extended since the import."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

UNKNOWN_NAME = "literal_error"  # pydantic's type of the error for a value that is not among the choices
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
    rejection: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the accepted rows."""
        return tuple(name for name, row in self.registry.items() if self.accepts(row))

    def __get_pydantic_core_schema__(self, source: type[str], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of a text that is checked by `check`."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def check(self, value: str) -> str:
        """Return the value.

        Raises:
            PydanticCustomError: It is not a name in the registry (type `UNKNOWN_NAME`), or its row is not accepted.
        """
        if value not in self.registry:
            names = ", ".join(f"'{name}'" for name in self.names)
            raise PydanticCustomError(UNKNOWN_NAME, "Input should be one of {names}", {"names": names})
        if not self.accepts(self.registry[value]):
            context = {"rejection": self.rejection, "names": ", ".join(self.names)}
            raise PydanticCustomError("row_not_accepted", "{rejection}: choose one of {names}", context)
        return value
