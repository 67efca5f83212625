"""A study's run folders as numbers: who was right, how the epochs went, when the target was passed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.analysis.correctness import Correctness, predictions
from headstart.config.run_config import RunConfig, differences
from headstart.diagnostics import checks, history
from headstart.diagnostics.finding import Finding
from headstart.errors import DataError
from headstart.storage.files import read_json
from headstart.storage.journal import read_lines

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RunRecord:
    """One run of a study, read from its folder. `about` says what it is for: cell, budget, fraction, stage."""

    folder: Path
    plan: dict[str, Any]
    hash: str
    about: dict[str, Any]
    result: dict[str, Any] = field(hash=False)
    made_in: str = ""  # the folder that it was taken over from

    @property
    def done(self) -> bool:
        """Whether it has come to its end, be it by diverging."""
        return self.state in ("finished", "diverged")

    @property
    def state(self) -> str:
        """That of result.json; "" while there is none."""
        return str(self.result.get("state", ""))

    @property
    def seed(self) -> int:
        return int(self.plan["seeding"]["seed"])

    @property
    def arm(self) -> str:
        """What it is called: its cell in a study, else its arm, else its folder's name."""
        return str(self.about.get("variant") or self.result.get("arm") or _arm_of(self.plan) or self.folder.name)

    @property
    def rung(self) -> int:
        """Epochs after which a search decides whether it goes on."""
        return int(self.about.get("rung", 1))

    @property
    def rate(self) -> float:
        return float(self.plan["recipe"]["lr"])

    @cached_property
    def epochs(self) -> list[dict[str, Any]]:
        """The epoch lines of the record."""
        return [line for line in read_lines(self.folder / "metrics.jsonl") if line["kind"] == "epoch"]

    @cached_property
    def unhealthy_findings(self) -> list[Finding]:
        """What is wrong with it as it stands, in `diagnose`'s words; what passed while it was trained is not."""
        return checks.unhealthy_findings(history.read(self.plan, read_lines(self.folder / "metrics.jsonl"), self.state))

    @property
    def can_go_on(self) -> bool:
        """Whether it has a checkpoint; else it begins anew."""
        return any((self.folder / "checkpoints").glob("*"))

    def judged(self, split: str) -> Correctness:
        """The predictions of the best model on `split`. Raises DataError where there are none."""
        told = predictions(self.folder, split)
        return Correctness(told.images, told.labels, (told.said == told.labels).astype(np.int8))

    def val_score(self, metric: str) -> float:
        """The metric of the best epoch on val, from the record; 0 where no epoch was validated."""
        best = self.result.get("best_epoch") or max((e["epoch"] for e in self.epochs if e["best"]), default=0)
        return next((epoch_score(e, metric) for e in self.epochs if e["epoch"] == best), 0.0)

    def to_target(self, target: float, metric: str) -> dict[str, float] | None:
        """Epochs, images and seconds until val first reached `target`; None where it never did."""
        seconds = 0.0
        for line in self.epochs:
            seconds += line["speed"]["train_seconds"] + line["speed"]["val_seconds"]
            if epoch_score(line, metric) >= target:
                images = line["step"] * self.plan["recipe"]["batch_size"]
                return {"epochs": line["epoch"], "images": images, "seconds": round(seconds, 3)}
        return None

    def length(self) -> dict[str, float]:
        """Epochs, images and seconds of the whole run."""
        seconds = sum(line["speed"]["train_seconds"] + line["speed"]["val_seconds"] for line in self.epochs)
        step = self.epochs[-1]["step"] if self.epochs else 0
        images = step * self.plan["recipe"]["batch_size"]
        return {"epochs": len(self.epochs), "images": images, "seconds": round(seconds, 3)}


def _arm_of(plan: dict[str, Any]) -> str:
    """The arm's name of a plan as this version has them, else ""."""
    try:
        return RunConfig.model_validate(plan).arm_name
    except ValueError:
        return ""


def epoch_score(line: Mapping[str, Any], metric: str) -> float:
    """The accuracy on val in an epoch line, or the mean of the classes' accuracies (`balanced`)."""
    if metric == "accuracy":
        return float(line["val"]["accuracy"])
    return balanced(np.array(line["confusion"]))


def balanced(confusion: npt.NDArray[np.int64]) -> float:
    """Mean over the classes that have images of the share that was right; `confusion` is [true][predicted]."""
    of_class = confusion.sum(axis=1)
    present = of_class > 0
    return float((np.diag(confusion)[present] / of_class[present]).mean())


def runs_in(folder: Path) -> Iterator[RunRecord]:
    """The runs that lie directly in `folder`, by name; folders without a plan (yet) are passed over."""
    for path in sorted(folder.glob("*/plan.json")):
        yield read_run(path.parent)


def compared(folder: Path) -> list[RunRecord]:
    """The runs of the comparison of the study in `folder` that have come to their end, by name.

    Raises DataError where an arm has two runs of one seed under one budget and fraction: the second would count as a
    seed more. Their plans differ, since no plan is run twice.
    """
    found = [run for run in runs_in(folder) if run.about.get("stage") == "main" and run.done]
    seen: dict[tuple[Any, ...], RunRecord] = {}
    for run in found:
        other = seen.setdefault((*(run.about[name] for name in ("variant", "budget", "fraction")), run.seed), run)
        if other is not run:
            told = "; ".join(differences(other.plan, run.plan)) or "their plans are equal"
            raise DataError(
                f"{other.folder} and {run.folder.name} are both {run.arm} with seed {run.seed} ({told}).",
                "Delete the one that does not belong to the study, then resume it.",
            )
    return found


def runs_at(folder: Path) -> list[RunRecord]:
    """The run whose folder this is, else the runs that lie directly in it. Raises DataError where there are none."""
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist.", "Check the path.")
    runs = [read_run(folder)] if (folder / "plan.json").exists() else list(runs_in(folder))
    if runs:
        return runs
    if (folder / "study.toml").exists():
        begun = next((at for at in ("search", "sources") if next(runs_in(folder / at), None)), "")
        more = f"; the runs that it has are in {folder / begun}" if begun else ""
        raise DataError(
            f"{folder} is a study that has not come to its first run of the comparison{more}.",
            f"Let it go on, or go on with it by `headstart resume {folder}`.",
        )
    hint = "Name the folder of a run, of a study, or of several runs"
    if studies := sorted(folder.glob("*/study.toml"), key=lambda path: path.stat().st_mtime):
        raise DataError(f"{folder} holds studies, and no runs.", f"{hint}, for example {studies[-1].parent}.")
    raise DataError(f"There are no runs in {folder}.", f"{hint}.")


def read_run(folder: Path) -> RunRecord:
    """One run. Raises DataError where its plan is missing or damaged."""
    content, result = read_json(folder / "plan.json"), folder / "result.json"
    return RunRecord(
        folder=folder,
        plan=content["plan"],
        hash=content["hash"],
        about=content.get("study", {}),
        result=read_json(result) if result.exists() else {},
        made_in=content.get("made_in", ""),
    )


def common_seeds(runs: Iterable[RunRecord]) -> list[int]:
    """The seeds that every cell has, in order."""
    of_cell: dict[str, set[int]] = {}
    for run in runs:
        of_cell.setdefault(run.about["variant"], set()).add(run.seed)
    return sorted(set[int].intersection(*of_cell.values()))


def tables(runs: Sequence[RunRecord], split: str) -> tuple[dict[str, npt.NDArray[np.int8]], Correctness]:
    """Who was right: for each cell [seeds, images], seeds in order; and one of the runs' answers for images and labels.

    Only seeds that every cell has are taken. Raises DataError where runs were judged on different images.
    """
    by_cell: dict[str, dict[int, RunRecord]] = {}
    for run in runs:
        by_cell.setdefault(run.about["variant"], {})[run.seed] = run
    seeds = common_seeds(runs)
    first: Correctness | None = None
    found: dict[str, npt.NDArray[np.int8]] = {}
    for cell, of_seed in by_cell.items():
        rows = []
        for seed in seeds:
            judged = of_seed[seed].judged(split)
            first = first or judged
            if judged.images != first.images:
                raise DataError(
                    f"{of_seed[seed].folder} was judged on other images than the rest.",
                    "Delete that run's folder and resume the study.",
                )
            rows.append(judged.right)
        found[cell] = np.array(rows)
    if first is None:
        raise DataError("No seed is done in every arm.", "Resume the study.")
    return found, first
