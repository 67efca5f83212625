"""The ledger of test sets: which studies of this user used the same test images.

A test set is known by the content of its images, not by their names or their place. The ledger is a file of JSON lines
beside the index of runs (`run_index.data_root`): the cache may be deleted at any time, the ledger is not in it. Each
line has a checksum, as in a record. A damaged line is not counted and not removed.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from headstart.errors import DataError
from headstart.i18n import NOTHING, Message, _
from headstart.storage import contained
from headstart.storage.journal import checked_object, with_checksum
from headstart.storage.run_index import data_root
from headstart.storage.schemas.ledger import LedgerLine, LedgerUse
from headstart.text import message_of

LEDGER_FILE = "test-sets.jsonl"
MAX_LEDGER_BYTES = 64_000_000  # some 150,000 lines


def digest_of(contents: Iterable[str]) -> str:
    """Return the sha256 by which a test set is known: of the sorted content hashes of its images, one a line."""
    return hashlib.sha256("\n".join(sorted(contents)).encode()).hexdigest()


@dataclass(frozen=True)
class LedgerUses:
    """The uses of a test set in the ledger.

    Attributes:
        studies: Ids of the studies, in the order of their first use.
        fault: Why some or all uses are unknown; empty if nothing is wrong.
        is_readable: Whether the ledger could be read; a ledger that does not exist yet has no uses.
    """

    studies: tuple[str, ...] = ()
    fault: Message = NOTHING
    is_readable: bool = True

    def place(self, study: str) -> int:
        """Return the place of a study among those that used the test set, from 1; a new one is the last."""
        return self.studies.index(study) + 1 if study in self.studies else len(self.studies) + 1


def uses_of(test_set: str) -> LedgerUses:
    """Return which studies used a test set. Never raises: the fault says what is wrong with the ledger."""
    try:
        lines, fault = _read()
    except _UNREADABLE as error:
        return LedgerUses(fault=_unusable(error), is_readable=False)
    return LedgerUses(tuple(dict.fromkeys(line.study for line in lines if line.test_set == test_set)), fault)


def enter(test_set: str, study: str, folder: Path, use: LedgerUse) -> Message:
    """Enter a use of a test set; one that is there already is not entered twice.

    Args:
        test_set: The digest of its images, see `digest_of`.
        study: The id of the study: sha256 of what it declared.
        folder: The folder of the study.
        use: What the images were used for.

    Returns:
        Why the use could not be entered; empty if it is in the ledger.
    """
    try:
        if any((line.test_set, line.study, line.use) == (test_set, study, use) for line in _read()[0]):
            return NOTHING
        line = LedgerLine(time=time.time(), test_set=test_set, study=study, folder=str(folder.absolute()), use=use)
        root = data_root()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contained.append(root, LEDGER_FILE) as file:
            os.fchmod(file.fileno(), 0o600)
            is_torn = _last_byte(root) not in (b"", b"\n")  # a process was killed while it wrote
            # one write: processes share the file
            file.write(b"\n" * is_torn + with_checksum(line.model_dump_json().encode()))
    except _UNREADABLE as error:
        return _unusable(error)
    return NOTHING


_UNREADABLE = (OSError, RuntimeError, ValueError, DataError)  # a missing home, a name that is not UTF-8, a link


def _unusable(error: Exception) -> Message:
    reason = error.message if isinstance(error, DataError) else message_of(error)
    return _("The ledger of test sets cannot be used: {reason}", reason=reason)


def _read() -> tuple[list[LedgerLine], Message]:
    """Return the lines of the ledger, and which are damaged; none without the file."""
    root = data_root()
    try:
        content = contained.read_bytes(root, LEDGER_FILE, MAX_LEDGER_BYTES)
    except FileNotFoundError:
        return [], NOTHING
    lines, damaged = [], []
    for number, text in enumerate(content.splitlines(keepends=True), start=1):
        try:
            lines.append(LedgerLine.model_validate_json(checked_object(text) or b""))
        except ValidationError:
            damaged.append(number)
    if not damaged:
        return lines, NOTHING
    fault = _(
        "Line {number} of the ledger of test sets, {path}, is damaged and does not count: restore the file from a "
        "copy, or remove the line.",
        number=damaged[0],
        path=root / LEDGER_FILE,
    )
    return lines, fault


def _last_byte(root: Path) -> bytes:
    with contained.open_file(root, LEDGER_FILE) as file:
        if not file.seek(0, os.SEEK_END):
            return b""
        file.seek(-1, os.SEEK_END)
        return file.read(1)
