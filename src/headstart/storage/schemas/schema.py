"""Base class of the schemas, and reading and writing them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, ErrorDetails

from headstart.errors import DataError
from headstart.i18n import Message, _, verbatim
from headstart.storage import contained
from headstart.storage.bounds import MAX_INTEGER, MAX_NUMBER, bound_numbers
from headstart.storage.files import SCHEMA_VERSION, JsonData
from headstart.text import message_of

MAX_JSON_BYTES = 64_000_000  # of a file; the largest ones, verdicts, grow with the number of runs
ROUNDING = 1e-6  # by which a mean of shares may lie outside their range
RESTORE_HINT = _("Restore it from a copy.")
UPDATE_HINT = _("Update headstart.")
Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Positive = Annotated[float, Field(ge=0, le=MAX_NUMBER)]  # a norm, a rate, a width
Share = Annotated[float, Field(ge=-ROUNDING, le=1 + ROUNDING)]  # an accuracy, a probability
Fraction = Annotated[float, Field(gt=0, le=1)]  # of the training images
Difference = Annotated[float, Field(ge=-1 - ROUNDING, le=1 + ROUNDING)]  # of two shares
Seconds = Annotated[float, Field(ge=0, le=1e12)]  # a duration, or a time since 1970


class Schema(BaseModel):
    """Frozen value with typed fields; an unknown key is an error, and so is a number beyond those of `bounds`."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, json_schema_serialization_defaults_required=True
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
        return bound_numbers(handler(source))

    def to_json(self) -> dict[str, JsonData]:
        """Return the value as JSON data: dictionaries, lists, text, numbers and None."""
        return self.model_dump(mode="json")

    @classmethod
    def read(cls, path: Path, hint: Message = RESTORE_HINT, *, root: Path | None = None) -> Self:
        """Read the value in a JSON file.

        Args:
            path: The file.
            hint: Hint of the error if it is damaged.
            root: Folder that contains it, below which no link is followed (`contained`). Default: that of the file.

        Raises:
            DataError: The file is missing, damaged, too large or a link, or has another schema version.
        """
        return cls.parse(_read(path.parent if root is None else root, path), str(path), hint)

    @classmethod
    def parse(cls, text: str | bytes, name: str, hint: Message = RESTORE_HINT) -> Self:
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
            raise _damaged(name, error, hint) from None


class StoredFile(Schema):
    """Size and hash of a file when it was written; a reader compares them with the content."""

    size: int = Field(ge=0, description="size in bytes")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="sha256 of the content, in hexadecimal digits")

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Return the size and the hash of a content."""
        return cls(size=len(content), sha256=hashlib.sha256(content).hexdigest())


class VersionedSchema(Schema):
    """Content of a file that has the version of its format."""

    schema_version: int = Field(
        SCHEMA_VERSION, description="version of the file formats", json_schema_extra={"const": SCHEMA_VERSION}
    )

    @classmethod
    def parse(cls, text: str | bytes, name: str, hint: Message = RESTORE_HINT) -> Self:
        """Return the value in a JSON text, as `Schema.parse`; its version is checked before its other fields."""
        try:
            version = _Version.model_validate_json(text).schema_version
        except ValidationError as error:
            raise _damaged(name, error, hint) from None
        if version != SCHEMA_VERSION:
            raise DataError(unsupported_version(name, version), UPDATE_HINT)
        return super().parse(text, name, hint)


class _Version(BaseModel):
    """The version of a file; its other fields may be of any version."""

    schema_version: int


def unsupported_version(name: Path | str, version: int | str) -> Message:
    """Return that the file `name` has another schema version than the one that is read."""
    return _(
        "{name} has schema {schema}, but this version reads {supported}.",
        name=name,
        schema=version,
        supported=SCHEMA_VERSION,
    )


def _read(root: Path, path: Path) -> bytes:
    try:
        return contained.read_bytes(root, path.relative_to(root).as_posix(), MAX_JSON_BYTES)
    except FileNotFoundError:
        raise DataError(_("{path} does not exist.", path=path), _("Check the path.")) from None
    except OSError as error:
        raise DataError(
            _("{path} cannot be read ({reason}).", path=path, reason=error.strerror), _("Grant read permission.")
        ) from None


def _damaged(name: str, error: ValidationError, hint: Message) -> DataError:
    return DataError(_("{name} is damaged ({fault}).", name=name, fault=first_fault(error)), hint)


def first_fault(error: ValidationError) -> Message:
    """Return the first fault of a validation error: "arms.0.val: Field required"."""
    fault = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    return _("{place}: {fault}", place=place, fault=fault_text(fault)) if place else fault_text(fault)


def fault_text(error: ErrorDetails) -> Message:
    """Return what is wrong with a value: the message of a validator, or pydantic's text, which is not translated."""
    if error["type"] == "value_error":
        return message_of(error["ctx"]["error"])
    return verbatim(str(error["msg"]))
