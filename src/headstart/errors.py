"""Exceptions for users: each has a message, a hint and an exit code.

Exit codes: 0 success, 1 unexpected error, 2 usage, 3 bad data, 4 diverged, 5 resources, 6 bad model file, 7 no
winner (`--require-winner`), 8 a verdict that does not follow from its records (`verify`), 130 SIGINT, 143 SIGTERM.
"""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Callable
from typing import Any

from headstart.i18n import Message, _
from headstart.printable import printable


class HeadstartError(Exception):
    """Base class of errors that the user can act on.

    The command line prints `message` and `hint` and exits with `exit_code`. It prints a traceback only with `--debug`.

    Args:
        message: one sentence that says what is wrong with which value or file.
        hint: one sentence with one action that helps.

    Examples:
        >>> try:
        ...     headstart.train("nowhere")
        ... except headstart.HeadstartError as error:
        ...     print(isinstance(error, headstart.DataError), error.exit_code)
        True 3
    """

    exit_code = 1

    def __init__(self, message: Message, hint: Message) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return printable(f"{self.message} {self.hint}")  # tracebacks go to terminals, and names are untrusted

    def __reduce__(self) -> tuple[Callable[..., HeadstartError], tuple[type[HeadstartError], dict[str, Any]]]:
        """Return how to copy the error without its constructor, whose arguments subclasses change."""
        return _restored, (type(self), vars(self))


def _restored(kind: type[HeadstartError], state: dict[str, Any]) -> HeadstartError:
    error = kind.__new__(kind)
    vars(error).update(state)
    error.args = (error.message, error.hint)
    return error


class UsageError(HeadstartError):
    """An invalid flag, name or combination of settings.

    Examples:
        >>> headstart.train(optimzer="sgd")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        headstart.UsageError: 'optimzer' is not a setting; did you mean 'optimizer'?
    """

    exit_code = 2


class DataError(HeadstartError):
    """Missing, unreadable or unsuitable images, labels, manifests or weights.

    Examples:
        >>> try:
        ...     headstart.train("photo")
        ... except headstart.DataError as error:
        ...     print(error.hint)
        Use 'photos'.
    """

    exit_code = 3


class MissingWeightsError(DataError):
    """Published weights are not on disk and cannot be downloaded; `instructions` describes the manual download."""

    def __init__(self, message: Message, hint: Message, instructions: Message) -> None:
        super().__init__(message, hint)
        self.instructions = instructions


class DivergedError(HeadstartError):
    """The loss became NaN or infinite."""

    exit_code = 4


class ResourceError(HeadstartError):
    """Not enough disk space, memory, permissions or time."""

    exit_code = 5


class ModelFileError(HeadstartError):
    """An unsafe or incompatible weights file, model folder or checkpoint.

    Examples:
        >>> headstart.Predictor("photos")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        headstart.ModelFileError: There is no model and no finished run in photos.
    """

    exit_code = 6


class NoWinnerError(HeadstartError):
    """A study has no winner: more than one arm is not shown to be worse than another."""

    exit_code = 7


class DifferentVerdictError(HeadstartError):
    """A value of a verdict is not the one that is computed from the records of its study."""

    exit_code = 8


class InterruptedRunError(HeadstartError):
    """The user or the system stopped the run; it can be resumed."""

    def __init__(self, number: signal.Signals, hint: Message) -> None:
        super().__init__(_("Stopped by {signal}.", signal=number.name), hint)
        self.exit_code = 128 + number


_FREE_SPACE = _("Free disk space, then resume the run or run the command again.")
_GRANT_ACCESS = _("Grant access, or choose another folder (--runs, HEADSTART_CACHE).")
_OUT_OF_MEMORY_TEXTS = ("out of memory", "not enough memory", "allocate memory", "Storage size calculation overflowed")
_OTHER_KIND = _("Rename it, or restore the folder from a copy.")
_OS_ERROR_HINTS = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EACCES: _GRANT_ACCESS,
    errno.EPERM: _GRANT_ACCESS,
    errno.EROFS: _GRANT_ACCESS,
    errno.EISDIR: _OTHER_KIND,
    errno.ENOTDIR: _OTHER_KIND,
}


def require_supported_platform() -> None:
    """Raise UsageError on Windows, which lacks the file locks and signals that runs rely on."""
    if sys.platform == "win32":
        raise UsageError(
            _("headstart runs on Linux and macOS."),
            _("On Windows use WSL: {address}", address="https://learn.microsoft.com/windows/wsl"),
        )


def as_headstart_error(error: Exception) -> HeadstartError:
    """Convert any exception to a HeadstartError; a HeadstartError is returned unchanged."""
    if isinstance(error, HeadstartError):
        return error
    if isinstance(error, OSError) and error.errno in _OS_ERROR_HINTS:
        message = _("The operating system reported an error ({reason}).", reason=error.strerror)
        if error.filename:
            file = str(error.filename)
            message = _("The operating system reported an error ({reason}: {file}).", reason=error.strerror, file=file)
        return ResourceError(message, _OS_ERROR_HINTS[error.errno])
    if isinstance(error, RecursionError):  # of folders or of values
        message = _("Folders or values are nested too deeply.")
        return DataError(message, _("Name another folder, or restore it from a copy."))
    if isinstance(error, MemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY_TEXTS):
        return ResourceError(_("Out of memory."), _("Reduce --batch-size or --image-size."))
    text = " ".join(str(error).split())
    message = _("Unexpected error ({kind}: {text}).", kind=type(error).__name__, text=text)
    return HeadstartError(message, _("Run the command again with --debug and report the output."))
