"""Compare training recipes on val, from scratch and from pretrained weights, on two sets of photos.

    python -m benchmarks.recipes run --out DIR --photos FOLDER --weights FILE
    python -m benchmarks.recipes table DIR

The photos are a folder with the folder `train` and a manifest `lab4.csv`, a subset of its classes. Only training images
are read: a quarter of them is val, in both sets the same, so that declared val and test images stay unseen. Each recipe
and start selects one of three learning rates on val of the smaller set with seed 0; all data sets and seeds are
trained at that rate. Each run is one line of DIR/results.jsonl. A run whose line is there is not repeated.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.recipe_candidates import CANDIDATES, COMMON, RATE_FACTORS, REFERENCE
from headstart.analysis.statistics import Array, crossed_interval
from headstart.config.plan_file import read_plan_file
from headstart.config.resolve import resolve_settings
from headstart.data.hashing import hash_files
from headstart.data.sources import read_data
from headstart.errors import DivergedError
from headstart.reporter import NullReporter
from headstart.runs import runner
from headstart.storage import journal, locks
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.metrics import EpochLine
from headstart.storage.schemas.result import RESULT_FILE, RunResult
from headstart.storage.schemas.study import RunRole, Stage

SMALL, LARGE = "lab4", "ten classes"
SEEDS = (0, 1, 2)
VAL_PARTS = 4  # val is one of so many parts of the training images
RESULTS = "results.jsonl"


@dataclass(frozen=True)
class Run:
    """One run: recipe, data set, start, seed, and the factor of the documented learning rate."""

    recipe: str
    data: str
    start: str
    seed: int
    factor: float


@dataclass(frozen=True)
class Outcome:
    """The result of one run.

    Attributes:
        settings: Fields of the recipe and its learning rate.
        plan: Hash of the plan.
        state: `finished` or `diverged`.
        best_epoch: Epoch of the best model.
        correct: One digit per val image in the order of their names, 1 if the best model is right.
        epochs: (train loss, train accuracy, val loss, val accuracy) of each epoch.
        seconds: Duration of training and validation.
    """

    run: Run
    settings: dict[str, Any]
    plan: str
    state: str
    best_epoch: int
    correct: str
    epochs: list[tuple[float, float, float, float]]
    seconds: float

    @property
    def accuracy(self) -> float:
        """Share of val images on which the best model is right."""
        return self.correct.count("1") / len(self.correct)

    @classmethod
    def parse(cls, line: str) -> Outcome:
        """Return the outcome in a line of the results."""
        content = json.loads(line)
        return cls(**{**content, "run": Run(**content["run"])})


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.recipes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run", help="train the runs that are missing")
    command.add_argument("--out", type=Path, required=True, help="folder of the results")
    command.add_argument("--photos", type=Path, required=True, help="folder with train/ and lab4.csv")
    command.add_argument("--weights", type=Path, required=True, help="pretrained weights")
    command.add_argument("--workers", type=int, default=2, help="number of processes, of one thread each")
    command.add_argument("--limit", type=int, help="largest number of runs to train now")
    commands.add_parser("table", help="print the table").add_argument("out", type=Path)
    options = parser.parse_args()
    if options.command == "table":
        print("\n".join(table(options.out)))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    with locks.locked(options.out):
        write_manifests(options.photos, options.out)
        train_missing(options.out, options.weights.absolute(), options.workers, options.limit)


def write_manifests(photos: Path, out: Path) -> None:
    """Write the manifests of both data sets: training images only, with the splits train and val."""
    index = read_data(resolve_settings({"source": str(photos.absolute() / "train")}).plan.data)
    folds = StratifiedGroupKFold(VAL_PARTS, shuffle=True, random_state=0)
    _rest, val = next(folds.split(index.keys, index.labels, hash_files(index)))
    held_out = {index.keys[i] for i in val}
    with (photos / "lab4.csv").open(newline="") as file:
        small = {row["path"].removeprefix("train/") for row in csv.DictReader(file) if row["split"] == "train"}
    for name in (SMALL, LARGE):
        path = out / f"{name}.csv"
        if path.exists():
            continue
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("path", "label", "split"))
            for key, label in zip(index.keys, index.labels, strict=True):
                if name == LARGE or key in small:
                    split = "val" if key in held_out else "train"
                    writer.writerow((Path(index.root) / key, index.classes[label], split))


def read_outcomes(out: Path) -> dict[Run, Outcome]:
    """Return the outcomes of the finished runs."""
    path = out / RESULTS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {outcome.run: outcome for outcome in map(Outcome.parse, lines)}


def train_missing(out: Path, weights: Path, workers: int, limit: int | None = None) -> None:
    """Train the runs that have no result: the search first, then the runs at the selected rates."""
    starts = ("scratch", f"file:{weights}")
    outcomes = read_outcomes(out)
    context = multiprocessing.get_context("spawn")
    for stage in (search_runs, main_runs):
        missing = [run for run in stage(starts, outcomes) if run not in outcomes][:limit]
        with ProcessPoolExecutor(workers, mp_context=context) as pool, (out / RESULTS).open("a") as file:
            for future in as_completed([pool.submit(train, run, out) for run in missing]):
                outcome = future.result()
                outcomes[outcome.run] = outcome
                file.write(json.dumps(asdict(outcome)) + "\n")
                file.flush()
                print(f"{outcome.run}: {outcome.accuracy:.4f}, {outcome.seconds:.0f} s", flush=True)
        if limit is not None:
            return


def search_runs(starts: Sequence[str], outcomes: Mapping[Run, Outcome]) -> Iterator[Run]:
    """Yield the runs of the search of the learning rates."""
    for factor in RATE_FACTORS:
        for start in starts:
            for recipe in CANDIDATES:
                yield Run(recipe, SMALL, start, 0, factor)


def main_runs(starts: Sequence[str], outcomes: Mapping[Run, Outcome]) -> Iterator[Run]:
    """Yield the runs at the selected rates, all recipes of a seed before the next seed."""
    for seed in SEEDS:
        for data in (SMALL, LARGE):
            for start in starts:
                for recipe in CANDIDATES:
                    yield Run(recipe, data, start, seed, selected_factor(recipe, start, outcomes))


def selected_factor(recipe: str, start: str, outcomes: Mapping[Run, Outcome]) -> float:
    """Return the factor with the highest accuracy on val; of equal ones that nearest to the documented rate."""
    accuracy = {factor: outcomes[Run(recipe, SMALL, start, 0, factor)].accuracy for factor in RATE_FACTORS}
    return min(RATE_FACTORS, key=lambda factor: (-accuracy[factor], abs(np.log(factor)), factor))


def train(run: Run, out: Path) -> Outcome:
    """Train one run, and keep its folder without the model."""
    candidate, source = CANDIDATES[run.recipe], out.absolute() / f"{run.data}.csv"
    with source.open(newline="") as file:
        classes = len({row["label"] for row in csv.DictReader(file)})
    settings = {**candidate.settings, "lr": candidate.rate(classes) * run.factor}
    place = {"source": str(source), "allow_outside": True, "start": run.start, "seed": run.seed, "device": "cpu"}
    parent = (
        out / "runs" / f"{list(CANDIDATES).index(run.recipe)}-{run.data}-{run.start[:4]}-{run.seed}-{run.factor:.2f}"
    )
    if parent.exists():  # of a stopped attempt
        shutil.rmtree(parent)
    role = RunRole(
        arm=ArmSpec(start=run.start, label=run.start[:4]), stage=Stage.MAIN, budget="", fraction=1.0, blind=True
    )
    with suppress(DivergedError):  # a result like others
        runner.run_new(resolve_settings({**COMMON, **settings, **place}).plan, parent, NullReporter(), role=role)
    (folder,) = (path.parent for path in parent.glob(f"*/{RESULT_FILE}"))
    result = RunResult.read(folder / RESULT_FILE)
    with np.load(folder / "artifacts" / "predictions.npz") as arrays:
        order = np.argsort(arrays["image"])
        right = (arrays["logits"].argmax(1) == arrays["label"])[order]
    epochs = [line for line in journal.read_lines(folder / "metrics.jsonl") if isinstance(line, EpochLine)]
    shutil.rmtree(folder / "model")
    return Outcome(
        run=run,
        settings=settings,
        plan=read_plan_file(folder).hash,
        state=result.state,
        best_epoch=result.best_epoch,
        correct="".join("01"[int(value)] for value in right),
        epochs=[(e.train.loss, e.train.accuracy, e.val.loss, e.val.accuracy) for e in epochs],
        seconds=result.seconds.training,
    )


def table(out: Path) -> list[str]:
    """Return a Markdown table: accuracy on val, and the difference from the reference with its 95 % interval."""
    outcomes = read_outcomes(out)
    starts = sorted({run.start for run in outcomes}, reverse=True)
    columns = [(data, start) for start in starts for data in (SMALL, LARGE)]
    names = [f"{data}, {start.partition(':')[0]}" for data, start in columns]
    names += [f"both, {start.partition(':')[0]}" for start in starts]
    rows = [" | ".join(["| recipe", *names, "seconds a run |"]), "|---" * (len(names) + 2) + "|"]
    where = np.searchsorted(val_names(out, LARGE), val_names(out, SMALL))
    for recipe in CANDIDATES:
        tables = {column: correctness(recipe, *column, outcomes) for column in columns}
        changes = {column: differences(recipe, *column, outcomes) for column in columns}
        cells = [cell(tables[column], changes[column]) for column in columns]
        for start in starts:
            both = pooled(changes[SMALL, start], changes[LARGE, start], where)
            weight = 1.0 if both is None else (1 + both.shape[1] / len(where)) / 2
            cells.append(interval_text(both, weight))
        seconds = [o.seconds for run, o in outcomes.items() if run.recipe == recipe and run.data == LARGE]
        cells.append(f"{np.mean(seconds):.0f}" if seconds else "…")
        rows.append(" | ".join([f"| {recipe}", *cells]) + " |")
    return rows


def val_names(out: Path, data: str) -> list[str]:
    """Return the paths of the val images of a data set, sorted: the order of `Outcome.correct`."""
    with (out / f"{data}.csv").open(newline="") as file:
        return sorted(row["path"] for row in csv.DictReader(file) if row["split"] == "val")


def correctness(recipe: str, data: str, start: str, outcomes: Mapping[Run, Outcome]) -> dict[int, Array]:
    """Return the correctness [val images] at the selected rate by seed, of the runs that have finished."""
    try:
        factor = selected_factor(recipe, start, outcomes)
    except KeyError:  # the search is not finished
        return {}
    runs = {seed: Run(recipe, data, start, seed, factor) for seed in SEEDS}
    return {
        seed: np.array([int(digit) for digit in outcomes[run].correct], dtype=np.float64)
        for seed, run in runs.items()
        if run in outcomes
    }


def differences(recipe: str, data: str, start: str, outcomes: Mapping[Run, Outcome]) -> dict[int, Array]:
    """Return correct minus correct in the reference [val images], by seed that both have; empty for the reference."""
    if recipe == REFERENCE:
        return {}
    own = correctness(recipe, data, start, outcomes)
    reference = correctness(REFERENCE, data, start, outcomes)
    return {seed: own[seed] - reference[seed] for seed in SEEDS if seed in own and seed in reference}


def cell(tables: Mapping[int, Array], changes: Mapping[int, Array]) -> str:
    """Return the mean accuracy and the difference of one data set and start."""
    if not tables:
        return "…"
    accuracy = f"{100 * np.mean([values.mean() for values in tables.values()]):.1f}"
    return f"{accuracy} ({interval_text(np.stack(list(changes.values())))})" if changes else accuracy


def pooled(small: Mapping[int, Array], large: Mapping[int, Array], where: npt.NDArray[np.int64]) -> Array | None:
    """Return the differences of both data sets as one array [seeds, images]; None without a common seed.

    Its mean is that of the two data sets with equal weight. Val of the smaller one is a part of val of the larger one,
    so that an image of both is one unit and its two differences need not be independent.

    Args:
        small: Differences of the smaller data set by seed.
        large: Those of the larger one.
        where: Place of each val image of the smaller data set among those of the larger one.
    """
    seeds = sorted(small.keys() & large.keys())
    if not seeds:
        return None
    both = np.stack([large[seed] for seed in seeds]) / 2
    both[:, where] += np.stack([small[seed] for seed in seeds]) / 2 * (both.shape[1] / len(where))
    return both


def interval_text(difference: Array | None, max_weight: float = 1.0) -> str:
    """Return the mean of differences [seeds, images] in percentage points, with its 95 % interval from two seeds on."""
    if difference is None:
        return ""
    if len(difference) < 2:
        return f"{100 * difference.mean():+.1f}"
    interval = crossed_interval(difference, max_weight=max_weight)
    return f"{100 * interval.mean:+.1f}: {100 * interval.low:+.1f} to {100 * interval.high:+.1f}"


if __name__ == "__main__":
    main()
