"""Read a study's run folders: correctness per image, epochs, and time to the target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.analysis.confusion import confusion_balanced_accuracy
from headstart.analysis.correctness import Correctness, read_predictions
from headstart.config.run_config import RunConfig, differences
from headstart.diagnostics import checks, history
from headstart.diagnostics.finding import Finding
from headstart.errors import DataError
from headstart.storage.files import read_json
from headstart.storage.journal import read_lines


@dataclass(frozen=True)
class RunRecord:
    """One run, read from its folder.

    `role` is the run's role in its study (variant, budget, fraction, stage), and empty outside a study. `reused_from`
    is the folder of the run that it was copied from, if any.
    """

    folder: Path
    plan: dict[str, Any]
    hash: str
    role: dict[str, Any]
    result: dict[str, Any] = field(hash=False)
    reused_from: str = ""

    @property
    def done(self) -> bool:
        """True if the run has finished or diverged."""
        return self.state in ("finished", "diverged")

    @property
    def state(self) -> str:
        """State in result.json, or "" without that file."""
        return str(self.result.get("state", ""))

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(self.plan["seeding"]["seed"])

    @property
    def arm(self) -> str:
        """Name of its variant in a study, else of its arm, else of its folder."""
        return str(self.role.get("variant") or self.result.get("arm") or _arm_of(self.plan) or self.folder.name)

    @property
    def rung(self) -> int:
        """Epochs after which a learning-rate search decides whether the run continues."""
        return int(self.role.get("rung", 1))

    @property
    def rate(self) -> float:
        """Learning rate of the recipe."""
        return float(self.plan["recipe"]["lr"])

    @cached_property
    def epochs(self) -> list[dict[str, Any]]:
        """Epoch lines of the record."""
        return [line for line in read_lines(self.folder / "metrics.jsonl") if line["kind"] == "epoch"]

    @cached_property
    def unhealthy_findings(self) -> list[Finding]:
        """Unhealthy findings of the whole record, as `diagnose` reports them, without withdrawn ones."""
        lines = read_lines(self.folder / "metrics.jsonl")
        return checks.unhealthy_findings(history.read_history(self.plan, lines, self.state))

    @property
    def has_checkpoint(self) -> bool:
        """True if the run can be resumed from a checkpoint; otherwise it starts again."""
        return any(".tmp-" not in path.name for path in (self.folder / "checkpoints").glob("step-*"))

    def correctness(self, split: str) -> Correctness:
        """Return which images of `split` the best model classified correctly.

        Raises:
            DataError: The predictions are missing or damaged.
        """
        predictions = read_predictions(self.folder, split)
        correct = (predictions.predicted == predictions.labels).astype(np.int8)
        return Correctness(predictions.images, predictions.labels, correct)

    def val_score(self, metric: str) -> float:
        """Return the metric of the best epoch on val, from the record; 0 if no epoch was validated."""
        best = self.result.get("best_epoch") or max((e["epoch"] for e in self.epochs if e["best"]), default=0)
        return next((epoch_score(e, metric) for e in self.epochs if e["epoch"] == best), 0.0)

    def to_target(self, target: float, metric: str) -> dict[str, float] | None:
        """Return epochs, images and seconds until val first reached `target` (0 to 1), or None."""
        for line, images, seconds in elapsed(self.epochs, self.plan["recipe"]["batch_size"]):
            if epoch_score(line, metric) >= target:
                return {"epochs": line["epoch"], "images": images, "seconds": round(seconds, 3)}
        return None

    def length(self) -> dict[str, float]:
        """Return epochs, images and seconds of the whole run."""
        totals = [totals for _, *totals in elapsed(self.epochs, self.plan["recipe"]["batch_size"])]
        images, seconds = totals[-1] if totals else (0, 0.0)
        return {"epochs": len(self.epochs), "images": images, "seconds": round(seconds, 3)}


def _arm_of(plan: dict[str, Any]) -> str:
    """Return the name of the plan's arm, or "" if the plan is not valid."""
    try:
        return RunConfig.model_validate(plan).arm_name
    except ValueError:
        return ""


def elapsed(epochs: Iterable[Mapping[str, Any]], batch_size: int) -> Iterator[tuple[Mapping[str, Any], int, float]]:
    """Yield each epoch line with the images trained on and the seconds of training and validation until its end."""
    seconds = 0.0
    for line in epochs:
        seconds += line["speed"]["train_seconds"] + line["speed"]["val_seconds"]
        yield line, line["step"] * batch_size, seconds


def epoch_score(line: Mapping[str, Any], metric: str) -> float:
    """Return the val accuracy of an epoch line, or its balanced accuracy if `metric` is `balanced`."""
    if metric == "accuracy":
        return float(line["val"]["accuracy"])
    return confusion_balanced_accuracy(line["confusion"])


def runs_in(folder: Path) -> Iterator[RunRecord]:
    """Yield the runs directly in `folder`, sorted by name; folders without a plan are skipped."""
    for path in sorted(folder.glob("*/plan.json")):
        yield read_run(path.parent)


def main_runs(folder: Path) -> list[RunRecord]:
    """Return the finished and diverged main runs of the study in `folder`, sorted by name.

    Raises:
        DataError: An arm has two runs with the same seed, budget and fraction; the second would count as another seed.
    """
    runs = [run for run in runs_in(folder) if run.role.get("stage") == "main" and run.done]
    by_role: dict[tuple[Any, ...], RunRecord] = {}
    for run in runs:
        other = by_role.setdefault((*(run.role[name] for name in ("variant", "budget", "fraction")), run.seed), run)
        if other is not run:
            reason = "; ".join(differences(other.plan, run.plan)) or "their plans are equal"
            raise DataError(
                f"{other.folder} and {run.folder.name} are both {run.arm} with seed {run.seed} ({reason}).",
                "Delete the one that does not belong to the study, then resume it.",
            )
    return runs


def runs_at(folder: Path) -> list[RunRecord]:
    """Return the run in `folder`, or else the runs directly in it.

    Raises:
        DataError: The folder does not exist or has no runs.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist.", "Check the path.")
    runs = [read_run(folder)] if (folder / "plan.json").exists() else list(runs_in(folder))
    if runs:
        return runs
    if (folder / "study.toml").exists():
        stage = next((stage for stage in ("search", "sources") if next(runs_in(folder / stage), None)), "")
        where = f"; its runs so far are in {folder / stage}" if stage else ""
        raise DataError(
            f"{folder} is a study without main runs yet{where}.",
            f"Run `headstart resume {folder}` if it is not in progress.",
        )
    hint = "Name the folder of a run, of a study, or of several runs"
    if studies := sorted(folder.glob("*/study.toml"), key=lambda path: path.stat().st_mtime):
        raise DataError(f"{folder} contains studies, but no runs.", f"{hint}, for example {studies[-1].parent}.")
    raise DataError(f"There are no runs in {folder}.", f"{hint}.")


def read_run(folder: Path) -> RunRecord:
    """Read the run in `folder`.

    Raises:
        DataError: plan.json is missing or damaged.
    """
    content, result = read_json(folder / "plan.json"), folder / "result.json"
    return RunRecord(
        folder=folder,
        plan=content["plan"],
        hash=content["hash"],
        role=content.get("study", {}),
        result=read_json(result) if result.exists() else {},
        reused_from=content.get("reused_from", ""),
    )


def common_seeds(runs: Iterable[RunRecord]) -> list[int]:
    """Return the seeds that every variant has, in ascending order."""
    seeds: dict[str, set[int]] = {}
    for run in runs:
        seeds.setdefault(run.role["variant"], set()).add(run.seed)
    return sorted(set[int].intersection(*seeds.values()))


def correctness_tables(runs: Sequence[RunRecord], split: str) -> tuple[dict[str, npt.NDArray[np.int8]], Correctness]:
    """Return for each variant a table [seeds, images] of 0 and 1, and one run's correctness for images and labels.

    Only seeds that every variant has are included, in ascending order.

    Raises:
        DataError: Runs were evaluated on different images, or the variants have no seed in common.
    """
    by_variant: dict[str, dict[int, RunRecord]] = {}
    for run in runs:
        by_variant.setdefault(run.role["variant"], {})[run.seed] = run
    seeds = common_seeds(runs)
    first: Correctness | None = None
    tables: dict[str, npt.NDArray[np.int8]] = {}
    for variant, by_seed in by_variant.items():
        rows = []
        for seed in seeds:
            correctness = by_seed[seed].correctness(split)
            first = first or correctness
            if correctness.images != first.images:
                raise DataError(
                    f"{by_seed[seed].folder} was evaluated on other images than the other runs.",
                    "Delete that run's folder and resume the study.",
                )
            rows.append(correctness.correct)
        tables[variant] = np.array(rows)
    if first is None:
        raise DataError("No seed is finished in every arm.", "Resume the study.")
    return tables, first
