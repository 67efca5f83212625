"""Enter what uses the test images of a study in the ledger of test sets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from headstart.analysis.run_records import RunRecord, main_runs
from headstart.analysis.set_uses import digest_of_runs
from headstart.i18n import NOTHING, Message
from headstart.storage import ledger
from headstart.storage.schemas.ledger import LedgerUse


@dataclass(frozen=True)
class StudyOnTestSet:
    """A study that uses a test set.

    Attributes:
        folder: Its folder.
        study: Its id: sha256 of what it declared.
        test_set: Digest of its test images; "" if it is unknown, and nothing is entered.
        uses: What the ledger had before this study.
    """

    folder: Path
    study: str
    test_set: str
    uses: ledger.LedgerUses = field(default_factory=ledger.LedgerUses)

    @classmethod
    def of_runs(cls, folder: Path, study: str, runs: Iterable[RunRecord]) -> StudyOnTestSet:
        """Return the study with these runs, which were read with their results on test."""
        test_set = digest_of_runs(runs)
        return cls(folder, study, test_set, ledger.uses_of(test_set) if test_set else ledger.LedgerUses())

    @classmethod
    def of_study(cls, folder: Path, study: str) -> StudyOnTestSet:
        """Return the study in a folder, some of whose compared runs have ended."""
        return cls.of_runs(folder, study, main_runs(folder, with_test=True))

    @property
    def place(self) -> int | None:
        """Place of the study among those that used the test set, from 1; None if it is unknown."""
        return self.uses.place(self.study) if self.test_set and self.uses.is_readable else None

    def enter(self, use: LedgerUse) -> Message:
        """Enter a use; return what is wrong with the ledger, empty if nothing is."""
        if not self.test_set:
            return NOTHING
        fault = ledger.enter(self.test_set, self.study, self.folder, use)
        return self.uses.fault or fault
