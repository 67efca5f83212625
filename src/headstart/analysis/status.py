"""Whether a study has come to its end, from its files alone: asked again, it need not be gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headstart.analysis.run_records import compared
from headstart.config.study_file import StudySpec
from headstart.errors import DataError
from headstart.storage.files import SCHEMA, read_json


def ended(folder: Path, declared: StudySpec) -> dict[str, Any] | None:
    """The verdict of the study in `folder` where nothing of it is missing, else None: something is left to do.

    That is the verdict on what was declared, every run that it names, the page, and the model where there is one.
    Raises DataError where an arm has two runs of one seed.
    """
    try:
        verdict: dict[str, Any] = read_json(folder / "verdict.json")
        if (verdict["schema"], verdict["study"]) != (SCHEMA, declared.hash):
            return None
        conditions = [verdict, *verdict["conditions"]]
        named = {run["run"] for one in conditions for arm in one["arms"] for run in arm["seeds"]}
        model = folder / verdict["exported"]["run"] / "model"
        verdict["chosen"]  # an older one has no such field, and is written anew
    except (DataError, KeyError, TypeError):  # there is none yet, or it is damaged, or of another version
        return None
    whole = (folder / "report.html").is_file() and ((folder / "model").is_dir() or not model.is_dir())
    there = {run.folder.name for run in compared(folder)}
    return verdict if whole and named and named <= there else None
