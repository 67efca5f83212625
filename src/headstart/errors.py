"""The error tree: every failure a user can meet carries one sentence of what, one of what to do, and an exit code.

0 ok, 2 usage, 3 bad data, 4 diverged, 5 resources, 6 bad model file, 130 SIGINT, 143 SIGTERM.
"""

from __future__ import annotations

import errno
import signal


class HeadstartError(Exception):
    """A failure that the user can do something about.

    `what` says what is wrong in one sentence, `cure` what to do in one sentence. The command line prints both and
    exits with `exit_code`; a traceback appears with `--debug` only.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.message = message
        self.hint = hint


class UsageError(HeadstartError):
    """A flag, a name or a combination that makes no sense."""

    exit_code = 2


class DataError(HeadstartError):
    """Photos, labels, manifests or weights that are missing, unreadable or unfit."""

    exit_code = 3


class MissingWeightsError(DataError):
    """Published weights that are neither on this disk nor to be fetched; `by_hand` says how to put them there."""

    def __init__(self, message: str, hint: str, by_hand: str = "") -> None:
        super().__init__(message, hint)
        self.by_hand = by_hand


class DivergedError(HeadstartError):
    """The loss became NaN or infinite."""

    exit_code = 4


class ResourceError(HeadstartError):
    """Disk, memory, permissions or time ran out."""

    exit_code = 5


class ModelFileError(HeadstartError):
    """A weights file, model folder or checkpoint that cannot be trusted or does not fit."""

    exit_code = 6


class InterruptedRunError(HeadstartError):
    """The user or the system asked the run to stop; it can be resumed."""

    def __init__(self, number: signal.Signals, hint: str) -> None:
        super().__init__(f"Stopped by {number.name}.", hint)
        self.exit_code = 128 + number


FREE = "Free some space; a run that was begun goes on with `headstart resume RUN`."
ACCESS = "Give yourself access, or choose another place (--runs, HEADSTART_CACHE)."
NO_MEMORY = ("out of memory", "not enough memory", "allocate memory", "Storage size calculation overflowed")
REFUSED = {errno.ENOSPC: FREE, errno.EDQUOT: FREE, errno.EACCES: ACCESS, errno.EPERM: ACCESS, errno.EROFS: ACCESS}


def as_headstart_error(error: Exception) -> HeadstartError:
    """Any error as one of ours: the border where foreign ones end."""
    if isinstance(error, HeadstartError):
        return error
    if isinstance(error, OSError) and error.errno in REFUSED:
        where = f": {error.filename}" if error.filename else ""
        return ResourceError(f"The system refused ({error.strerror}{where}).", REFUSED[error.errno])
    if isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY):
        return ResourceError("The memory is not enough.", "Start anew with a smaller --batch-size or --image-size.")
    what = f"headstart failed in a way it did not expect ({type(error).__name__}: {' '.join(str(error).split())})."
    return HeadstartError(what, "Run it again with --debug and report what it prints.")
