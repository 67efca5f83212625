"""Read a study's run folders: plans, results, epochs, and time to the target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from headstart.analysis.correctness import Predictions, read_predictions
from headstart.analysis.wording import arm_words
from headstart.config.plan_file import PLAN_FILE, differences, read_plan_file, study_of_role, withholds_test
from headstart.config.run_config import RunConfig
from headstart.config.sealed_run import read_result
from headstart.diagnostics import checks, history
from headstart.diagnostics.finding import Finding
from headstart.errors import DataError
from headstart.i18n import Message, _, join
from headstart.metrics.values import counts_value
from headstart.storage import contained, seals
from headstart.storage.bounds import MAX_INTEGER
from headstart.storage.journal import read_lines
from headstart.storage.run_files import PREDICTIONS_FILE, RECORD_FILE
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.metrics import EndLine, EpochLine, Line
from headstart.storage.schemas.result import RunResult, RunState
from headstart.storage.schemas.study import RunRole, Stage
from headstart.storage.schemas.verdict import RunLength


class ConditionKey(NamedTuple):
    """Budget, and fraction of the training images, by which compared runs are grouped."""

    budget: str
    fraction: float


@dataclass(frozen=True)
class RunRecord:
    """One run, read from its folder.

    `role` is None outside a study, `result` until the run has ended. `reused_from` is the folder of the run that it was
    copied from, if any. `of_others` is True for a pooled copy of a run that somebody else trained. With
    `withholds_test`, results on test are in none of its values, since its study has no verdict about it yet.
    """

    folder: Path
    plan: RunConfig
    hash: str
    role: RunRole | None = None
    result: RunResult | None = None
    reused_from: str | None = None
    of_others: bool = False
    withholds_test: bool = False

    @property
    def done(self) -> bool:
        """True if the run has finished or diverged."""
        return self.result is not None

    @property
    def state(self) -> RunState:
        """State of the run."""
        return self.result.state if self.result else RunState.UNFINISHED

    @property
    def best_epoch(self) -> int:
        """Epoch of the best model of a run that has ended; 0 if no epoch was validated."""
        return self.result.best_epoch if self.result else 0

    @property
    def evaluation_split(self) -> str:
        """Split of the final evaluation: test, or val if the run has no result on test that may be shown."""
        return "test" if self.result and self.result.test else "val"

    @property
    def lacks_test(self) -> bool:
        """True if the run has ended and was not evaluated on its test split: a trial of a search."""
        return self.result is not None and self.result.test is None and self.result.evaluation_split == "test"

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.plan.seeding.seed

    @property
    def stage(self) -> Stage | None:
        """Stage of its study; None outside a study."""
        return self.role.stage if self.role else None

    @property
    def arm(self) -> str:
        """Name of its variant in a study, else of its arm."""
        return self.spec.name

    @property
    def spec(self) -> ArmSpec:
        """Its variant in a study, else its arm."""
        return self.role.arm if self.role else self.plan.arm_spec

    @property
    def condition(self) -> ConditionKey:
        """Budget and fraction of the training images."""
        if self.role is None:
            return ConditionKey(str(self.plan.recipe.epochs), self.plan.data.fraction)
        return ConditionKey(self.role.budget, self.role.fraction)

    @property
    def rung(self) -> int:
        """Epochs after which a learning-rate search decides whether the run continues."""
        return self.role.rung if self.role and self.role.rung is not None else 1

    @property
    def rate(self) -> float:
        """Learning rate of the recipe."""
        return self.plan.recipe.lr

    @cached_property
    def epochs(self) -> list[EpochLine]:
        """Epoch lines of the record."""
        return [line for line in self.lines() if isinstance(line, EpochLine)]

    @cached_property
    def unhealthy_findings(self) -> list[Finding]:
        """Unhealthy findings of the whole record, as `diagnose` reports them, without withdrawn ones."""
        return checks.unhealthy_findings(history.read_history(self.plan, self.lines(), self.state))

    def lines(self) -> Iterator[Line]:
        """Yield the lines of the record. Raises DataError if one is damaged, or changed since the run ended."""
        self.require_intact(RECORD_FILE)
        for line in read_lines(self.folder / RECORD_FILE):
            yield line.without_test if self.withholds_test and isinstance(line, EndLine) else line

    def require_intact(self, file: str) -> None:
        """Raise BrokenSealError if a file of the run is missing or has changed since the run ended."""
        if self.result is not None:
            seals.require_file(self.folder, self.result.seal, file)

    @property
    def has_checkpoint(self) -> bool:
        """True if the run can be resumed from a checkpoint; otherwise it starts again."""
        if not contained.is_folder(self.folder, "checkpoints"):
            return False
        names = [entry.name for entry in contained.entries(self.folder, "checkpoints")]
        return any(name.startswith("step-") and ".tmp-" not in name for name in names)

    def predictions(self, split: str) -> Predictions:
        """Return the predictions of the best model on `split`.

        Raises:
            DataError: The predictions are missing or damaged, or have changed since the run ended, or those on test
                must not be shown yet.
        """
        if self.withholds_test and split == "test":
            raise DataError(
                _("Results of {folder} on test are not shown before the verdict of its study.", folder=self.folder),
                _("Run `headstart resume {study:shell}`.", study=study_of_role(self.folder, self.role)),
            )
        self.require_intact(PREDICTIONS_FILE)
        return read_predictions(self.folder, split)

    def val_score(self, metric: str) -> float:
        """Return the metric of the best epoch on val, from the record; 0 if no epoch was validated."""
        best = self.selected_epoch
        return next((epoch_score(line, metric) for line in self.epochs if line.epoch == best), 0.0)

    @property
    def selected_epoch(self) -> int:
        """Number of the best epoch so far; 0 if no epoch was validated."""
        return self.best_epoch or max((line.epoch for line in self.epochs if line.best), default=0)

    def to_target(self, target: float, metric: str) -> RunLength | None:
        """Return the length of the run until val first reached `target` (0 to 1), or None."""
        for line, images, seconds in elapsed(self.epochs, self.plan.recipe.batch_size):
            if epoch_score(line, metric) >= target:
                return RunLength(epochs=line.epoch, images=images, seconds=round(seconds, 3))
        return None

    def length(self) -> RunLength:
        """Return the length of the whole run."""
        totals = [(images, seconds) for _unused, images, seconds in elapsed(self.epochs, self.plan.recipe.batch_size)]
        images, seconds = totals[-1] if totals else (0, 0.0)
        return RunLength(epochs=len(self.epochs), images=images, seconds=round(seconds, 3))


def elapsed(epochs: Iterable[EpochLine], batch_size: int) -> Iterator[tuple[EpochLine, int, float]]:
    """Yield each epoch line with the images trained on and the seconds of training and validation until its end."""
    seconds = 0.0
    for line in epochs:
        seconds += line.speed.train_seconds + line.speed.val_seconds
        yield line, min(line.step * batch_size, MAX_INTEGER), seconds


def epoch_score(line: EpochLine, metric: str) -> float:
    """Return a metric of an epoch line on val."""
    return counts_value(metric, line.confusion)


def runs_in(folder: Path, part: str = "", *, with_test: bool = False) -> Iterator[RunRecord]:
    """Yield the runs directly in a folder, sorted by name; folders without a plan are skipped.

    Args:
        folder: The folder. If it is missing, there are no runs.
        part: Name of a folder in it that has the runs, such as that of a stage of a study.
        with_test: As in `read_run`.

    Raises:
        UnsafeFileError: The part, a run or its plan is a link.
    """
    yield from (read_run(run, with_test=with_test) for run in run_folders(folder, part))


def run_folders(folder: Path, part: str = "") -> list[Path]:
    """Return the folders of the runs directly in a folder, sorted by name; see `runs_in`."""
    if not folder.is_dir() or (part and not contained.is_folder(folder, part)):
        return []
    names = []
    for entry in contained.entries(folder, part):
        name = contained.join(part, entry.name)
        if entry.is_folder and contained.is_file(folder, f"{name}/{PLAN_FILE}"):
            names.append(name)
        elif not entry.is_file and (folder / name / PLAN_FILE).is_file():
            contained.is_folder(folder, name)  # raises: runs behind links are not those of the folder
    return [folder / name for name in names]


def main_runs(folder: Path, *, with_test: bool = False) -> list[RunRecord]:
    """Return the finished and diverged main runs of the study in `folder`, sorted by name.

    Args:
        folder: The folder of the study.
        with_test: As in `read_run`.

    Raises:
        DataError: An arm has two runs with the same seed, budget and fraction; the second would count as another seed.
    """
    runs = [run for run in runs_in(folder, with_test=with_test) if run.stage is Stage.MAIN and run.done]
    by_role: dict[tuple[str, ConditionKey, int], RunRecord] = {}
    for run in runs:
        other = by_role.setdefault((run.arm, run.condition, run.seed), run)
        if other is not run:
            reason = join(differences(other.plan.to_json(), run.plan.to_json()), "; ") or _("their plans are equal")
            raise DataError(
                _(
                    "{folder} and {other} are both {arm} with seed {seed} ({reason}).",
                    folder=other.folder,
                    other=run.folder.name,
                    arm=arm_words(run.spec),
                    seed=run.seed,
                    reason=reason,
                ),
                _("Delete the one that does not belong to the study, then resume it."),
            )
    return runs


def runs_at(folder: Path) -> list[RunRecord]:
    """Return the run in `folder`, or else the runs directly in it.

    Raises:
        DataError: The folder does not exist or has no runs.
    """
    if folder.is_file():
        raise DataError(_("{folder} is a file.", folder=folder), _("Name its folder, {parent}.", parent=folder.parent))
    if not folder.is_dir():
        raise DataError(_("{folder} does not exist.", folder=folder), _("Check the path."))
    runs = [read_run(folder)] if (folder / PLAN_FILE).exists() else list(runs_in(folder))
    if runs:
        return runs
    if (folder / "study.toml").exists():
        raise DataError(
            _no_main_runs(folder), _("Run `headstart resume {folder:shell}` if it is not in progress.", folder=folder)
        )
    if studies := sorted(folder.glob("*/study.toml"), key=lambda path: path.stat().st_mtime):
        raise DataError(
            _("{folder} contains studies, but no runs.", folder=folder),
            _(
                "Name the folder of a run, of a study, or of several runs, for example {example}.",
                example=studies[-1].parent,
            ),
        )
    hint = _("Name the folder of a run, of a study, or of several runs.")
    if any(file.is_file() and file.stat().st_size for file in folder.rglob("*tfevents*")):
        hint = _("It has event files, but no records of headstart: only `headstart report` shows them.")
    raise DataError(_("There are no runs in {folder}.", folder=folder), hint)


def _no_main_runs(study: Path) -> Message:
    """Return that a study has no runs of its comparison yet, and where its other runs are."""
    for stage in ("search", "sources"):
        if next(runs_in(study, stage), None):
            return _(
                "{folder} is a study without main runs yet; its runs so far are in {runs}.",
                folder=study,
                runs=study / stage,
            )
    return _("{folder} is a study without main runs yet.", folder=study)


def read_run(folder: Path, *, with_test: bool = False) -> RunRecord:
    """Read the run in `folder`.

    Args:
        folder: The folder.
        with_test: Read results on test even if the study of the run has no verdict about it yet. Only for what computes
            the verdict or copies the run: none of it is shown.

    Raises:
        DataError: One of the two files is damaged or has changed since the run ended, plan.json is missing, or the
            name of the folder is not UTF-8.
    """
    content = read_plan_file(folder)
    result, withheld = read_result(folder, content), not with_test and withholds_test(folder, content.study)
    return RunRecord(
        folder=folder,
        plan=content.plan,
        hash=content.hash,
        role=content.study,
        result=result.without_test if withheld and result is not None else result,
        reused_from=content.reused_from,
        of_others=content.of_others,
        withholds_test=withheld,
    )


def common_seeds(runs: Iterable[RunRecord]) -> list[int]:
    """Return the seeds that every variant has, in ascending order."""
    seeds: dict[str, set[int]] = {}
    for run in runs:
        seeds.setdefault(run.arm, set()).add(run.seed)
    return sorted(set[int].intersection(*seeds.values()))
