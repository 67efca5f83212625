"""Write the lines of a run to its record and to TensorBoard's event file."""

from __future__ import annotations

from pathlib import Path

from headstart.config.run_config import RunConfig, SettingValue, plan_fields
from headstart.storage import journal
from headstart.storage.schemas.metrics import Line
from headstart.storage.schemas.study import RunRole, Stage
from headstart.telemetry import tensorboard


class RunLogger:
    """Writes each line to the record and then to TensorBoard's event file."""

    def __init__(self, folder: Path, plan: RunConfig, size: int) -> None:
        """Open the record for appending and rebuild TensorBoard's event file from it.

        Args:
            folder: The run's folder.
            plan: The run's configuration.
            size: Bytes of the record to keep; what follows them is cut.
        """
        self.folder = folder
        self.journal = journal.Journal(folder / "metrics.jsonl", size)
        self.tensorboard = tensorboard.rebuild_event_file(folder, hyperparameters(plan))

    def write(self, line: Line) -> None:
        """Append one line to the record and to the event file."""
        self.journal.append(line)
        self.tensorboard.write(line)

    def sync(self) -> int:
        """Write all lines durably to disk; return the size of the record in bytes."""
        self.tensorboard.flush()
        return self.journal.sync()

    def __enter__(self) -> RunLogger:
        return self

    def __exit__(self, *_: object) -> None:
        self.journal.close()
        self.tensorboard.close()


def hyperparameters(plan: RunConfig) -> dict[str, tensorboard.Hyperparameter]:
    """Return every field of the plan, so that all runs have the same hyperparameter keys in TensorBoard."""
    values = {name: plan.value(name) for name in plan_fields()}
    # TensorBoard has numbers and text, and would show a bool as a number
    return {
        name: value if isinstance(value, (int, float)) and not isinstance(value, bool) else _text(value)
        for name, value in values.items()
    }


def _text(value: SettingValue) -> str:
    return ", ".join(str(part) for part in value) if isinstance(value, tuple) else str(value)


def run_name(plan: RunConfig, role: RunRole | None) -> str:
    """Return the name from which a run's folder is named.

    Args:
        plan: The run's configuration.
        role: The run's role in a study; None outside a study.

    Returns:
        The arm's name outside a study, the variant in a study, and learning rate and variant for a search trial.
    """
    if role is None:
        return plan.arm_name
    return f"search-lr{plan.recipe.lr:g}-{role.variant}" if role.stage is Stage.SEARCH else role.variant
