"""Check before a run is resumed that its plan, its inputs and its best model still fit together."""

from __future__ import annotations

from pathlib import Path

from headstart.artifacts.model_folder import saved_epoch
from headstart.config.plan_file import PlanFile, differences, read_plan_file
from headstart.config.run_config import RunConfig
from headstart.errors import DataError, UsageError
from headstart.i18n import _
from headstart.storage.run_files import MODEL_FOLDER
from headstart.training import checkpoint
from headstart.training.state import TrainingContext


def unchanged_plan(folder: Path) -> PlanFile:
    """Return the content of the plan.json of a run.

    Raises:
        UsageError: The plan was changed by hand; the message lists the differences from the plan of the checkpoint.
        DataError: plan.json is missing, damaged or of another schema version, or its plan does not have its hash.
    """
    content = read_plan_file(folder, require_hash=False)
    position = checkpoint.newest_position(folder)
    changes = [] if position is None else differences(position.plan.identity(), content.plan.identity())
    if changes:
        raise UsageError(
            _("The plan in {folder} was changed by hand ({changes}).", folder=folder, changes="; ".join(changes)),
            _("Undo the change, or start a new run with --force-new."),
        )
    return read_plan_file(folder)


def require_unchanged_inputs(original: RunConfig, resolved: RunConfig) -> None:
    """Raise DataError, with the differences, if the data or the weights have changed since the run started."""
    changes = differences(original.identity(), resolved.identity())
    if changes and all(change.startswith("facts.near_duplicates_sha256:") for change in changes):
        raise DataError(
            _("The near-duplicates that are found among the images are not those that the run began with."),
            _("Resume the run on the computer on which it began, or start a new run with --force-new."),
        )
    if changes:
        raise DataError(
            _("The data or the weights have changed since the run started: {changes}.", changes="; ".join(changes)),
            _("Restore them, name the place of the original images with --data, or start a new run with --force-new."),
        )


def require_reproducible_best(folder: Path, context: TrainingContext) -> None:
    """Raise UsageError if the best model is newer than the checkpoint: another environment may not reproduce it."""
    epoch, position = saved_epoch(folder, MODEL_FOLDER), checkpoint.newest_position(folder, context)
    if position is not None and epoch > position.best_epoch:
        raise UsageError(
            _(
                "The best model in {folder} is of epoch {epoch}, after the checkpoint, and other versions or "
                "another machine may not reproduce that epoch.",
                folder=folder,
                epoch=epoch,
            ),
            _("Resume the run in its original environment, or start a new run with --force-new."),
        )
