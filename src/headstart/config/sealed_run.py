"""Read the result of a run, and require that the run has its seal, before what it wrote is used."""

from __future__ import annotations

from pathlib import Path

from headstart.config.plan_file import PLAN_FILE, PlanFile, read_plan_file
from headstart.storage import contained, repair, seals
from headstart.storage.run_files import MODEL_FOLDER
from headstart.storage.schemas.result import RESULT_FILE, RunResult


def read_result(folder: Path, content: PlanFile) -> RunResult | None:
    """Return the result of a run; None until it has ended.

    Args:
        folder: The folder of the run.
        content: Its plan.json.

    Raises:
        DataError: result.json is damaged.
        BrokenSealError: The result or plan.json has changed since the run ended.
    """
    if not contained.is_file(folder, RESULT_FILE):
        return None
    result = RunResult.read(folder / RESULT_FILE, repair.run_hint(folder))
    seals.require_result(folder, result, content.sealed)
    return result


def require_intact_model(root: Path, name: str = MODEL_FOLDER) -> None:
    """Raise BrokenSealError if a model, or the run that wrote it, has changed since the run ended.

    Every reader of a model calls this first. A model folder that is not in the folder of a run has no seal; the hashes
    in its config.json are those of its weights. Files that were hashed before are not read again.

    Args:
        root: The folder that the user has named, or the folder of a run.
        name: Name of the model folder below it; "" for the root.

    Raises:
        DataError: plan.json or result.json is damaged.
    """
    if name != MODEL_FOLDER or not contained.is_file(root, PLAN_FILE):
        return
    result = read_result(root, read_plan_file(root))
    if result is not None:
        for file in result.seal.files:
            if file.startswith(f"{MODEL_FOLDER}/"):
                seals.require_file(root, result.seal, file)
