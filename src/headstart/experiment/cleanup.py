"""Remove files of a study that are no longer needed."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from headstart.analysis.run_records import runs_in
from headstart.config.plan_file import PLAN_FILE
from headstart.storage import contained
from headstart.storage.cache import remove_stale
from headstart.storage.folders import RUN_NAME_GLOB


def remove_partial_writes(study: Path) -> None:
    """Remove what a killed process left: temporary files, and run folders without a plan."""
    for entry in contained.entries(study):
        if entry.is_folder and entry.name.startswith("mean-"):
            remove_stale(study, entry.name)
    for parent in ("", "search", "sources"):
        if parent and not contained.is_folder(study, parent):
            continue
        remove_stale(study, parent)
        for entry in contained.entries(study, parent):
            name = contained.join(parent, entry.name)
            if entry.is_folder and entry.name == "backbones":
                remove_stale(study, name)
            is_run = entry.is_folder and fnmatchcase(entry.name, RUN_NAME_GLOB)
            if is_run and contained.find(study, f"{name}/{PLAN_FILE}") is None:
                contained.remove_folder(study, name)


def remove_rung_artifacts(study: Path) -> None:
    """Remove checkpoints and models of the trials that ended after their rung; their records stay."""
    for run in runs_in(study, "search"):
        if not run.done:
            for part in ("checkpoints", "model"):
                contained.remove_folder(run.folder, part)
