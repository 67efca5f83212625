"""Check before a run is resumed that its plan, its inputs and its best model still fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headstart.artifacts.model_folder import saved_epoch
from headstart.config.run_config import RunConfig, differences, read_plan
from headstart.errors import DataError, UsageError
from headstart.storage import files
from headstart.training import checkpoint


def unchanged_plan(folder: Path) -> tuple[RunConfig, dict[str, Any]]:
    """Return the plan of a run and the content of its plan.json.

    Raises:
        UsageError: The plan was changed by hand; the message lists the differences.
    """
    content = files.read_json(folder / "plan.json")
    original = checkpoint.newest_extra(folder / "checkpoints").get("plan", {})
    if original:
        changes = "; ".join(differences(original, content.get("plan", {})))
    else:
        changes = "there is no checkpoint to compare with"
    try:
        plan = read_plan(folder)
        changed = bool(plan.unresolved_fields) or plan.hash != content["hash"]
    except DataError:
        if not original:
            raise
        changed = True
    if changed:
        raise UsageError(
            f"The plan in {folder} was changed by hand ({changes}).",
            "Undo the change, or start a new run with --force-new.",
        )
    return plan, content


def require_unchanged_inputs(original: RunConfig, resolved: RunConfig) -> None:
    """Raise DataError, with the differences, if the data or the weights have changed since the run started."""
    changes = differences(original.identity(), resolved.identity())
    if changes:
        raise DataError(
            f"The data or the weights have changed since the run started: {'; '.join(changes)}.",
            "Restore them, or start a new run with --force-new.",
        )


def require_reproducible_best(folder: Path) -> None:
    """Raise UsageError if the best model is newer than the checkpoint: another environment may not reproduce it."""
    epoch = saved_epoch(folder / "model")
    if epoch > checkpoint.newest_extra(folder / "checkpoints").get("best_epoch", epoch):
        raise UsageError(
            f"The best model in {folder} is of epoch {epoch}, after the checkpoint, and other versions or another "
            "machine may not reproduce that epoch.",
            "Resume the run in its original environment, or start a new run with --force-new.",
        )
