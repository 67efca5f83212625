"""Base class of the schemas, and reading and writing them."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from headstart.errors import DataError
from headstart.storage.files import SCHEMA_VERSION, JsonData


class Schema(BaseModel):
    """Frozen value with typed fields; an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, json_schema_serialization_defaults_required=True
    )

    def to_json(self) -> dict[str, JsonData]:
        """Return the value as JSON data: dictionaries, lists, text, numbers and None."""
        return self.model_dump(mode="json")

    @classmethod
    def read(cls, path: Path, hint: str = "Restore it from a copy.") -> Self:
        """Read the value in a JSON file.

        Raises:
            DataError: The file is missing or damaged, or has another schema version.
        """
        return cls.parse(_read(path), str(path), hint)

    @classmethod
    def read_by_name(cls, path: Path, hint: str = "Restore it from a copy.") -> dict[str, Self]:
        """Read the values in a JSON file by name.

        Raises:
            DataError: The file is missing or damaged.
        """
        try:
            return TypeAdapter(dict[str, cls]).validate_json(_read(path))  # type: ignore[valid-type]
        except ValidationError as error:
            raise DataError(f"{path} is damaged ({first_fault(error)}).", hint) from None

    @classmethod
    def parse(cls, text: str | bytes, name: str, hint: str = "Restore it from a copy.") -> Self:
        """Return the value in a JSON text.

        Args:
            text: The JSON text.
            name: What the text is, for messages.
            hint: Hint of the error.

        Raises:
            DataError: The text is damaged, or has another schema version.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise DataError(f"{name} is damaged ({first_fault(error)}).", hint) from None


class VersionedSchema(Schema):
    """Content of a file that has the version of its format."""

    schema_version: int = Field(
        SCHEMA_VERSION, description="version of the file formats", json_schema_extra={"const": SCHEMA_VERSION}
    )

    @classmethod
    def parse(cls, text: str | bytes, name: str, hint: str = "Restore it from a copy.") -> Self:
        """Return the value in a JSON text, as `Schema.parse`; its version is checked before its other fields."""
        try:
            version = _Version.model_validate_json(text).schema_version
        except ValidationError as error:
            raise DataError(f"{name} is damaged ({first_fault(error)}).", hint) from None
        if version != SCHEMA_VERSION:
            raise DataError(
                f"{name} has schema {version}, but this version reads {SCHEMA_VERSION}.", "Update headstart."
            )
        return super().parse(text, name, hint)


class _Version(BaseModel):
    """The version of a file; its other fields may be of any version."""

    schema_version: int


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.", "Check the path.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).", "Grant read permission.") from None


def first_fault(error: ValidationError) -> str:
    """Return the first fault of a validation error: "arms.0.val: field required"."""
    fault = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    text = str(fault["msg"]).removeprefix("Value error, ")
    return f"{place}: {text[0].lower()}{text[1:]}" if place else text
