"""Check before a run is resumed that its plan, its inputs and its best model still fit together."""

from __future__ import annotations

from pathlib import Path

from headstart.artifacts.model_folder import saved_epoch
from headstart.config.plan_file import PLAN_FILE, PlanFile, read_plan_file
from headstart.config.run_config import RunConfig, differences
from headstart.errors import DataError, UsageError
from headstart.storage import files
from headstart.training import checkpoint


def unchanged_plan(folder: Path) -> PlanFile:
    """Return the content of the plan.json of a run.

    Raises:
        UsageError: The plan was changed by hand; the message lists the differences.
    """
    original = checkpoint.newest_position(folder / "checkpoints")
    try:
        content = read_plan_file(folder)
        if not content.plan.unresolved_fields and content.plan.hash == content.hash:
            return content
    except DataError:
        if original is None:
            raise
    changes = "there is no checkpoint to compare with"
    if original is not None:
        changed_plan = files.read_json(folder / PLAN_FILE).get("plan", {})  # it may not be a valid plan
        changes = "; ".join(differences(original.plan.to_json(), changed_plan))
    raise UsageError(
        f"The plan in {folder} was changed by hand ({changes}).",
        "Undo the change, or start a new run with --force-new.",
    )


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
    epoch, position = saved_epoch(folder / "model"), checkpoint.newest_position(folder / "checkpoints")
    if position is not None and epoch > position.best_epoch:
        raise UsageError(
            f"The best model in {folder} is of epoch {epoch}, after the checkpoint, and other versions or another "
            "machine may not reproduce that epoch.",
            "Resume the run in its original environment, or start a new run with --force-new.",
        )
