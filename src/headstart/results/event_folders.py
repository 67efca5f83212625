"""Find the event files in a folder that other programs wrote. Imports no TensorBoard."""

from __future__ import annotations

from pathlib import Path

from headstart.config.plan_file import PLAN_FILE

EVENT_FILES = "*tfevents*"
OWN_FILES = (PLAN_FILE, "study.toml")  # of folders whose event files headstart wrote


def find_event_files(folder: Path) -> dict[Path, list[Path]]:
    """Return the event files by their folder, without those of headstart's runs and studies."""
    found: dict[Path, list[Path]] = {}
    own: set[Path] = set()
    for file in sorted(folder.rglob(EVENT_FILES)):
        above = [parent for parent in file.parents if parent == folder or folder in parent.parents]
        if own.intersection(above) or not file.is_file() or not file.stat().st_size:
            continue
        if any((parent / name).exists() for parent in above for name in OWN_FILES):
            own.add(above[0])
            continue
        found.setdefault(file.parent, []).append(file)
    return found
