"""Read a run folder: its configuration, history, result and model."""

from __future__ import annotations

import html
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from headstart.analysis.confusion import confusion_balanced_accuracy
from headstart.artifacts.model_folder import read_model
from headstart.config.run_config import read_plan
from headstart.errors import ModelFileError
from headstart.results.summary import result_sentences
from headstart.storage.files import read_json
from headstart.storage.folders import require_model
from headstart.storage.journal import read_lines


class Run:
    """One run, read from its folder; it may be finished, diverged or unfinished."""

    def __init__(self, folder: str | Path) -> None:
        """Read the plan in `folder`.

        Raises:
            DataError: `folder` is not a run.
        """
        self.folder = Path(folder)
        self.plan = read_plan(self.folder)

    @cached_property
    def result(self) -> dict[str, Any]:
        """Content of result.json; empty if the run has none yet."""
        path = self.folder / "result.json"
        return dict(read_json(path)) if path.exists() else {}

    @property
    def state(self) -> str:
        """State of the run: `finished`, `diverged`, or `unfinished` (it can be resumed)."""
        return str(self.result.get("state", "unfinished"))

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch: epoch, step, loss and accuracy of train and val, lr per group, speed."""
        rows = []
        for line in read_lines(self.folder / "metrics.jsonl"):
            if line["kind"] == "epoch":
                row = {key: line[key] for key in ("epoch", "step", "best")}
                for split in ("train", "val"):
                    row |= {f"{split}_{key}": line[split][key] for key in ("loss", "accuracy")}
                row |= {f"lr_{group}": rate for group, rate in line["lr"].items()}
                rows.append(row | line["speed"])
        return pd.DataFrame(rows)

    @property
    def test(self) -> dict[str, Any] | None:
        """Result on test (`accuracy`, `n`, `interval`, `confusion`); None for a run without a test split."""
        return self.result.get("test")

    def model(self) -> Any:
        """Return the best model as a torch module in eval mode.

        Raises:
            ModelFileError: There is no model yet.
        """
        return read_model(self.folder / "model").network

    def __repr__(self) -> str:
        result = " ".join(result_sentences(self.result)) if self.state == "finished" else self.state
        return f"Run({self.plan.arm_name}, seed {self.plan.seeding.seed}: {result})"

    def _repr_html_(self) -> str:
        """Return HTML for notebooks: the result in sentences, then a table of the epochs."""
        title = html.escape(f"{self.plan.arm_name}, seed {self.plan.seeding.seed}")
        sentences = result_sentences(self.result) if self.state == "finished" else [self.state]
        shown = self.history.drop(columns=["train_seconds", "val_seconds"], errors="ignore")
        table = shown.to_html(index=False, float_format=lambda x: f"{x:.4g}", border=0)
        folder = html.escape(str(self.folder))
        return f"<h4>{title}</h4><p>{html.escape(' '.join(sentences))}</p>{table}<p><code>{folder}</code></p>"


def _val_rank(run: Run) -> tuple[float, float]:
    """Return the key that orders runs: the metric on val that selected their best epoch, then the lower loss."""
    val = run.result["val"]
    balanced = run.plan.recipe.select == "balanced"
    return (confusion_balanced_accuracy(val["confusion"]) if balanced else val["accuracy"], -val["loss"])


def find_model(path: Path) -> Path:
    """Return the model folder of a path.

    Args:
        path: A run, its `model/` folder, or a folder of runs, whose best run on val is selected.

    Raises:
        ModelFileError: There is no model, or the runs have different classes.
    """
    require_model(path)
    for candidate in (path, path / "model"):
        if (candidate / "config.json").is_file():
            return candidate
    runs = [Run(p.parent) for p in sorted(path.glob("*/plan.json")) if (p.parent / "model" / "config.json").is_file()]
    finished = [run for run in runs if run.state == "finished"]
    if len({run.plan.facts.class_names for run in finished}) > 1:
        raise ModelFileError(f"The runs in {path} have different classes.", "Name one of these runs.")
    if finished:  # model selection is on val, never on test
        best = max(finished, key=_val_rank)
        return best.folder / "model"
    raise ModelFileError(
        f"There is no model and no finished run in {path}.",
        "Name a run, its model folder, or a folder of finished runs.",
    )
