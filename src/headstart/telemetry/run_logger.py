"""Where the lines of a run go: into its record, and from there into TensorBoard's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headstart.config.run_config import RunConfig, fields
from headstart.storage import journal
from headstart.telemetry import tensorboard


class RunLogger:
    """Writes each line where it belongs: into the record, and from there into TensorBoard's files."""

    def __init__(self, folder: Path, plan: RunConfig, size: int) -> None:
        """Go on with the record from its first `size` bytes; TensorBoard's files are made anew from them."""
        self.folder = folder
        self.journal = journal.Journal(folder / "metrics.jsonl", size)
        self.board = tensorboard.rebuild(folder, settings_of(plan))

    def write(self, line: dict[str, Any]) -> None:
        self.journal.append(line)
        self.board.write(line)

    def sync(self) -> int:
        """Make everything so far durable; returns the size of the record in bytes."""
        self.board.flush()
        return self.journal.sync()

    def __enter__(self) -> RunLogger:
        return self

    def __exit__(self, *_: object) -> None:
        self.journal.close()
        self.board.close()


def settings_of(plan: RunConfig) -> dict[str, Any]:
    """The plan as hyper-parameters for TensorBoard: every field, so that all runs have the same keys."""
    return {name: getattr(getattr(plan, section), name) for name, (section, _) in fields().items()}


def called(plan: RunConfig, about: dict[str, Any] | None) -> str:
    """What a run's folder is called after: its cell or its arm; a trial of a search also after its learning rate."""
    if about is None:
        return plan.arm_name
    return (
        f"search-lr{plan.recipe.lr:g}-{about['variant']}" if about.get("stage") == "search" else str(about["variant"])
    )
