"""Standard streams that are closed or cannot be written: what is printed is lost, and the work goes on."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

from headstart.i18n import Message, _

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


MIN_COLUMNS, MAX_COLUMNS = 20, 1000  # of a terminal


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal; False for a closed one, which Python may represent as None."""
    try:
        return stream is not None and stream.isatty()
    except (OSError, ValueError):  # ValueError: it was closed by Python code
        return False


class _LossyFile(io.FileIO):
    """A file that drops everything from its first error on, which it keeps.

    What came later would stand behind a hole, if space became free.
    """

    fault: OSError | None = None

    def write(self, content: ReadableBuffer, /) -> int:
        """Write bytes, or drop them."""
        if self.fault is None:
            try:
                return super().write(content)
            except OSError as error:
                self.fault = error
        return memoryview(content).nbytes


class TolerantStream:
    """A text stream of somebody else that drops what it cannot write, or everything if it is None."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text, or drop it."""
        if self._stream is not None:
            try:
                self._stream.write(text)
            except (OSError, ValueError):  # ValueError: it was closed by Python code
                self._stream = None
        return len(text)

    def flush(self) -> None:
        """Flush the stream if it is not lost."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._stream = None

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return is_terminal(self._stream)

    @property
    def encoding(self) -> str:
        """Encoding of the stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"


def occupy_descriptors() -> None:
    """Open closed descriptors 0, 1 and 2 on the null device.

    Otherwise the next files that are opened would get these numbers, and what a library prints would be written into
    them. Child processes inherit the descriptors.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:  # another thread was faster
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)


def replace_streams() -> None:
    """Replace the standard streams of a process of our own by streams that are open and drop what cannot be written.

    A width in the environment that no terminal has is ignored: help is laid out in lines of that length.
    """
    occupy_descriptors()
    columns = os.environ.get("COLUMNS", "")
    if columns and not (columns.isdecimal() and MIN_COLUMNS <= int(columns[:9]) <= MAX_COLUMNS):
        del os.environ["COLUMNS"]
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = _lossy_stream(1, sys.stdout), _lossy_stream(2, sys.stderr)


def _lossy_stream(number: int, stream: TextIO | None) -> TextIO:
    file = _LossyFile(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=getattr(stream, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=number == 2 or file.isatty(),
        write_through=getattr(stream, "write_through", False),
    )


def lost_output() -> Message | None:
    """Return a sentence that standard output could not be written; None if it was, or if its reader has gone."""
    if sys.stdout is not None:
        sys.stdout.flush()
    file = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    fault = file.fault if isinstance(file, _LossyFile) else None
    if fault is None or fault.errno == errno.EPIPE:
        return None
    return _("Standard output could not be written ({reason}): what was printed is lost.", reason=fault.strerror)
