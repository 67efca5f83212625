"""The test set of a study in the ledger: its digest, and how many studies used it, in words."""

from __future__ import annotations

from collections.abc import Iterable

from headstart.analysis.run_records import RunRecord
from headstart.i18n import NOTHING, Message, _, join, ngettext
from headstart.storage import ledger
from headstart.storage.schemas.verdict import VerdictNumbers


def digest_of_runs(runs: Iterable[RunRecord]) -> str:
    """Return the digest of the test images of runs, which were read with their results on test; "" if it is unknown."""
    for run in runs:
        if run.result is not None and run.result.test is not None:
            contents = run.predictions("test").contents
            return ledger.digest_of(contents) if contents else ""
    return ""


def other_studies_note(verdict: VerdictNumbers) -> list[Message]:
    """Return that other studies used the test images of a verdict, and what this means; empty for the first."""
    count = verdict.studies_on_test_set or 0
    uncorrected = _("Error is not corrected across studies that were not declared together.")
    return [join([uses_words(count), uncorrected])] if count > 1 else []


def training_note(test_set: str) -> Message:
    """Return that studies used the test images on which a run will be evaluated; empty if none did."""
    count = len(ledger.uses_of(test_set).studies)
    if not count:
        return NOTHING
    return join([uses_words(count), _("A choice by results on them makes such results too good.")])


def uses_words(count: int) -> Message:
    """Return how many studies the test images have judged."""
    return ngettext(
        "These test images have judged {count:,} study.", "These test images have judged {count:,} studies.", count
    )
