"""What a study left behind that nobody needs: half-made by a kill, or of trials that were not kept."""

from __future__ import annotations

import shutil
from pathlib import Path

from headstart.analysis.run_records import runs_in
from headstart.storage.cache import remove_stale


def clear_half_made(folder: Path) -> None:
    """What a kill left half-made goes: temporaries, and folders of runs whose plan was not written yet."""
    for means_run in folder.glob("mean-*"):
        remove_stale(means_run)
    for place in (folder, folder / "search", folder / "sources"):
        remove_stale(place)
        remove_stale(place / "trunks")
        for path in place.glob("[A-Z][a-z][a-z][0-9][0-9]_*-s[0-9]*"):
            if path.is_dir() and not (path / "plan.json").exists():
                shutil.rmtree(path)


def drop_rungs(folder: Path) -> None:
    """Rungs that were not kept need no checkpoint and no model any more; their records stay."""
    for found in runs_in(folder):
        if not found.done:
            for part in ("checkpoints", "model"):
                shutil.rmtree(found.folder / part, ignore_errors=True)
