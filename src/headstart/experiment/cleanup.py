"""Remove files of a study that are no longer needed."""

from __future__ import annotations

import shutil
from pathlib import Path

from headstart.analysis.run_records import runs_in
from headstart.storage.cache import remove_stale
from headstart.storage.folders import RUN_NAME_GLOB


def remove_partial_writes(folder: Path) -> None:
    """Remove what a killed process left: temporary files, and run folders without a plan."""
    for means_run in folder.glob("mean-*"):
        remove_stale(means_run)
    for parent in (folder, folder / "search", folder / "sources"):
        remove_stale(parent)
        remove_stale(parent / "backbones")
        for path in parent.glob(RUN_NAME_GLOB):
            if path.is_dir() and not (path / "plan.json").exists():
                shutil.rmtree(path)


def remove_rung_artifacts(folder: Path) -> None:
    """Remove checkpoints and models of the trials that ended after their rung; their records stay."""
    for run in runs_in(folder):
        if not run.done:
            for part in ("checkpoints", "model"):
                shutil.rmtree(run.folder / part, ignore_errors=True)
