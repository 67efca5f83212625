"""Verify the verdict of a study, after the hash of each plan was checked."""

from __future__ import annotations

from pathlib import Path

from headstart.analysis.run_records import runs_in
from headstart.analysis.status import RUN_FOLDERS
from headstart.verification.outcome import Verification
from headstart.verification.verify import verify


def verify_study(folder: Path) -> Verification:
    """Compute the verdict of the study in a folder again from its records, and compare every value.

    The recomputation has no configuration, by which the hash of a plan is computed. So plans are read here, too.

    Raises:
        DataError: It is no study, has no verdict yet, or a file is missing, damaged or of another study.
        BrokenSealError: A file of a run has changed since the run ended.
    """
    verification = verify(folder)
    for part in RUN_FOLDERS:
        for _run in runs_in(folder, part):
            pass  # reading it raises the error
    return verification
