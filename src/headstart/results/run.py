"""Read a run folder: its configuration, history, result and model."""

from __future__ import annotations

import html
from functools import cached_property
from pathlib import Path

import pandas as pd
from torch import nn

from headstart.analysis.wording import state_words
from headstart.artifacts.model_folder import read_model
from headstart.config.plan_file import PLAN_FILE, read_plan_file
from headstart.config.run_config import RunConfig
from headstart.errors import ModelFileError
from headstart.i18n import Message, _, translated
from headstart.metrics.values import counts_value
from headstart.results.summary import result_sentences
from headstart.storage.files import JsonData
from headstart.storage.folders import require_model
from headstart.storage.journal import read_lines
from headstart.storage.schemas.metrics import EpochLine, Evaluation
from headstart.storage.schemas.result import RESULT_FILE, RunResult, RunState


class Run:
    """One run, read from its folder; it may be finished, diverged or unfinished."""

    def __init__(self, folder: str | Path) -> None:
        """Read the plan in `folder`.

        Raises:
            DataError: `folder` is not a run.
        """
        self.folder = Path(folder)
        self.plan = read_plan_file(self.folder).plan

    @cached_property
    def result(self) -> RunResult | None:
        """Content of result.json; None if the run has none yet."""
        path = self.folder / RESULT_FILE
        return RunResult.read(path) if path.exists() else None

    @property
    def state(self) -> RunState:
        """State of the run: `finished`, `diverged`, or `unfinished` (it can be resumed)."""
        return self.result.state if self.result else RunState.UNFINISHED

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch: epoch, step, loss and accuracy of train and val, lr per group, speed."""
        rows = []
        for line in read_lines(self.folder / "metrics.jsonl"):
            if isinstance(line, EpochLine):
                row: dict[str, JsonData] = {"epoch": line.epoch, "step": line.step, "best": line.best}
                for split, score in (("train", line.train), ("val", line.val)):
                    row |= {f"{split}_loss": score.loss, f"{split}_accuracy": score.accuracy}
                row |= {f"lr_{group}": rate for group, rate in line.lr.items()}
                rows.append(row | line.speed.to_json())
        return pd.DataFrame(rows)

    @property
    def test(self) -> Evaluation | None:
        """Result on test; None for a run without a test split."""
        return self.result.test if self.result else None

    def model(self) -> nn.Module:
        """Return the best model as a torch module in eval mode.

        Raises:
            ModelFileError: There is no model yet.
        """
        return read_model(self.folder / "model").network

    def __repr__(self) -> str:
        text = " ".join(map(translated, self._sentences()))
        return f"Run({self.plan.arm_name}, seed {self.plan.seeding.seed}: {text})"

    def _repr_html_(self) -> str:
        """Return HTML for notebooks: the result in sentences, then a table of the epochs."""
        title = _("{arm}, seed {seed}", arm=self.plan.arm_name, seed=self.plan.seeding.seed)
        text = " ".join(map(translated, self._sentences()))
        shown = self.history.drop(columns=["train_seconds", "val_seconds"], errors="ignore")
        table = shown.to_html(index=False, float_format=lambda x: f"{x:.4g}", border=0)
        folder = html.escape(str(self.folder))
        heading = html.escape(translated(title))
        return f"<h4>{heading}</h4><p>{html.escape(text)}</p>{table}<p><code>{folder}</code></p>"

    def _sentences(self) -> list[Message]:
        """Return the result of a finished run in sentences, else the state."""
        if self.result is None or self.state is not RunState.FINISHED:
            return [state_words(self.state)]
        return result_sentences(self.result)


def _val_rank(plan: RunConfig, val: Evaluation) -> tuple[float, float]:
    """Return the key that orders runs: the metric on val that selected their best epoch, then the lower loss."""
    return (counts_value(plan.recipe.select, val.confusion), -val.loss)


def find_model(path: Path) -> Path:
    """Return the model folder of a path.

    Args:
        path: A run, its `model/` folder, or a folder of runs, whose best run on val is selected.

    Raises:
        ModelFileError: There is no model, or the runs cannot be compared: their classes or selection metrics differ.
    """
    require_model(path)
    for candidate in (path, path / "model"):
        if (candidate / "config.json").is_file():
            return candidate
    folders = [plan.parent for plan in sorted(path.glob(f"*/{PLAN_FILE}"))]
    runs = [Run(folder) for folder in folders if (folder / "model" / "config.json").is_file()]
    finished = [(run, run.result.val) for run in runs if run.result and run.state is RunState.FINISHED]
    if len({run.plan.facts.class_names for run, _unused in finished}) > 1:
        raise ModelFileError(_("The runs in {path} have different classes.", path=path), _("Name one of these runs."))
    if len({run.plan.recipe.select for run, _unused in finished}) > 1:
        raise ModelFileError(
            _("The runs in {path} select their best epoch by different metrics.", path=path),
            _("Name one of these runs."),
        )
    if finished:  # model selection is on val, never on test
        best, _unused = max(finished, key=lambda item: _val_rank(item[0].plan, item[1]))
        return best.folder / "model"
    raise ModelFileError(
        _("There is no model and no finished run in {path}.", path=path),
        _("Name a run, its model folder, or a folder of finished runs."),
    )
