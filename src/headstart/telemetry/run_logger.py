"""Write the lines of a run to its record and to TensorBoard's event file."""

from __future__ import annotations

from pathlib import Path

from headstart.config.run_config import RunConfig
from headstart.storage import journal
from headstart.storage.schemas.metrics import EndLine, Line
from headstart.storage.schemas.study import RunRole, Stage
from headstart.telemetry import tensorboard
from headstart.telemetry.hyperparameters import hyperparameters


class RunLogger:
    """Writes each line to the record and then to TensorBoard's event file."""

    def __init__(self, folder: Path, plan: RunConfig, size: int, *, withholds_test: bool = False) -> None:
        """Open the record for appending and rebuild TensorBoard's event file from it.

        Args:
            folder: The run's folder.
            plan: The run's configuration.
            size: Bytes of the record to keep; what follows them is cut.
            withholds_test: Write results on test only to the record, as for a run of a study: `tensorboard.add_test`
                adds them to the event files after the verdict.
        """
        self.folder, self._withholds_test = folder, withholds_test
        self.journal = journal.Journal(folder / "metrics.jsonl", size)
        try:
            self.tensorboard = tensorboard.rebuild_event_file(folder, hyperparameters(plan))
        except BaseException:
            self.journal.close()
            raise

    def write(self, line: Line) -> None:
        """Append one line to the record and to the event file."""
        self.journal.append(line)
        self.tensorboard.write(line.without_test if self._withholds_test and isinstance(line, EndLine) else line)

    def sync(self) -> int:
        """Write all lines durably to disk; return the size of the record in bytes."""
        self.tensorboard.flush()
        return self.journal.sync()

    def __enter__(self) -> RunLogger:
        return self

    def __exit__(self, *_: object) -> None:
        self.journal.close()
        self.tensorboard.close()


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
