"""Errors in reading the images of a data source that callers tell apart, as they know another way on."""

from __future__ import annotations

from headstart.errors import DataError, UsageError
from headstart.i18n import Message


class ReadError(DataError):
    """The images of a plan cannot be read as the plan says."""


class MissingFilesError(ReadError):
    """The data source, or files that it lists, do not exist."""


class MissingColumnError(ReadError):
    """A table does not have the column that its options name for a role."""

    def __init__(self, message: Message, hint: Message, role: str) -> None:
        super().__init__(message, hint)
        self.role = role


class NoTableError(UsageError):
    """A column is named for data that is no table."""
