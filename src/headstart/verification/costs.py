"""What a study costs by stage: runs, training images, and seconds of training and validation."""

from __future__ import annotations

from collections.abc import Sequence

from headstart.storage.bounds import MAX_INTEGER
from headstart.verification.records import RecordedRun
from headstart.verification.tree import Tree


def study_cost(search: Sequence[RecordedRun], main: Sequence[RecordedRun], source: Sequence[RecordedRun]) -> Tree:
    """Return the cost of all runs in the folders of a study, those that have not ended among them."""
    return {"search": _stage(search), "main": _stage(main), "source": _stage(source)}


def _stage(runs: Sequence[RecordedRun]) -> Tree:
    return {
        "runs": len(runs),
        "images": min(sum(run.images for run in runs), MAX_INTEGER),
        "seconds": round(sum(run.seconds for run in runs), 1),
    }
