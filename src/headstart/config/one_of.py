"""Validate that a text is the name of a row in a registry, which may have been extended since the import."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True)
class OneOf:
    """Metadata of a field whose values are the names in a registry.

    Args:
        registry: Rows by name.
    """

    registry: Collection[str]

    def __get_pydantic_core_schema__(self, source: type[str], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of a text that is checked by `check`."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def check(self, value: str) -> str:
        """Return the value. Raises an error of pydantic's type `literal_error` if it is not a name in the registry."""
        if value not in self.registry:
            names = ", ".join(f"'{name}'" for name in self.registry)
            raise PydanticCustomError("literal_error", "Input should be one of {names}", {"names": names})
        return value
