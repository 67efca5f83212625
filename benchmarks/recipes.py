"""Compare training recipes on val, from scratch and from pretrained weights, on two sets of photos.

    python -m benchmarks.recipes run --out DIR --photos FOLDER --weights FILE
    python -m benchmarks.recipes table DIR
    python -m benchmarks.recipes test --recipe NAME --out DIR --photos FOLDER --weights FILE
    python -m benchmarks.recipes table DIR --test

The photos are a folder with the folders `train` and `test`, and a manifest `lab4.csv` of some of its classes. `run`
reads only training images: a quarter of them is val, in both sets the same. Each recipe and start selects one of three
learning rates on val of the smaller set with seed 0; all data sets and seeds are trained at that rate. `test` trains
the reference and the chosen recipe once more, and evaluates both on test. Each run is one line of DIR/results.jsonl or
DIR/test.jsonl. A run whose line is there is not repeated.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import multiprocessing
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from benchmarks.recipe_candidates import CANDIDATES, COMMON, RATE_FACTORS, REFERENCE
from benchmarks.recipe_results import (
    LARGE,
    RESULTS,
    SEEDS,
    SMALL,
    TEST_RESULTS,
    WITH_TEST,
    Outcome,
    Run,
    read_outcomes,
    selected_factor,
    table,
)
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

VAL_PARTS = 4  # val is one of so many parts of the training images


def main() -> None:
    """Run what is missing, or print a table."""
    options = parse_arguments()
    if options.command == "table":
        print("\n".join(table(options.out, options.test, options.reference)))
        return
    options.out.mkdir(parents=True, exist_ok=True)
    weights = options.weights.absolute()
    with locks.locked(options.out):
        write_manifests(options.photos.absolute(), options.out)
        if options.command == "run":
            train_missing(options.out, weights, options.workers, options.limit)
        else:
            train_pair(options.recipe, options.out, weights, options.workers)


def parse_arguments() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.recipes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train the runs that are missing")
    run.add_argument("--limit", type=int, help="largest number of runs to train now")
    test = commands.add_parser("test", help="train the reference and one recipe again, and evaluate them on test")
    test.add_argument("--recipe", required=True, choices=[name for name in CANDIDATES if name != REFERENCE])
    for command in (run, test):
        command.add_argument("--out", type=Path, required=True, help="folder of the results")
        command.add_argument("--photos", type=Path, required=True, help="folder with train/, test/ and lab4.csv")
        command.add_argument("--weights", type=Path, required=True, help="pretrained weights")
        command.add_argument("--workers", type=int, default=2, help="number of processes, of one thread each")
    tables = commands.add_parser("table", help="print the table")
    tables.add_argument("out", type=Path)
    tables.add_argument("--test", action="store_true", help="of test instead of val")
    tables.add_argument("--reference", choices=CANDIDATES, default=REFERENCE, help="recipe that others differ from")
    return parser.parse_args()


def write_manifests(photos: Path, out: Path) -> None:
    """Write the manifests of both data sets: training images as train and val, once without and once with test."""
    index, unseen = (
        read_data(resolve_settings({"source": str(photos / name)}).plan.data) for name in ("train", "test")
    )
    folds = StratifiedGroupKFold(VAL_PARTS, shuffle=True, random_state=0)
    _rest, val = next(folds.split(index.keys, index.labels, hash_files(index)))
    held_out = {index.keys[i] for i in val}
    rows = [
        (path, index.classes[label], "val" if key in held_out else "train")
        for key, path, label in zip(index.keys, index.paths, index.labels, strict=True)
    ]
    test_rows = [(path, unseen.classes[label], "test") for path, label in zip(unseen.paths, unseen.labels, strict=True)]
    with (photos / "lab4.csv").open(newline="") as file:
        small = {photos / row["path"] for row in csv.DictReader(file)}
    for name, ending in itertools.product((SMALL, LARGE), ("", WITH_TEST)):
        path = out / f"{name}{ending}.csv"
        if path.exists():
            continue
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("path", "label", "split"))
            writer.writerows(row for row in rows + test_rows * bool(ending) if name == LARGE or row[0] in small)


def train_missing(out: Path, weights: Path, workers: int, limit: int | None = None) -> None:
    """Train the runs that have no result: the search first, then the runs at the selected rates."""
    starts = ("scratch", f"file:{weights}")
    for stage in (search_runs, main_runs):
        outcomes = read_outcomes(out)
        train_all([run for run in stage(starts, outcomes) if run not in outcomes][:limit], out, workers)
        if limit is not None:
            return


def train_pair(recipe: str, out: Path, weights: Path, workers: int) -> None:
    """Train the reference and a recipe with test images, as often as without them."""
    outcomes, done = read_outcomes(out), read_outcomes(out, TEST_RESULTS)
    runs = [run for run in main_runs(("scratch", f"file:{weights}"), outcomes) if run.recipe in (REFERENCE, recipe)]
    train_all([run for run in runs if run not in done], out, workers, with_test=True)


def train_all(runs: Sequence[Run], out: Path, workers: int, *, with_test: bool = False) -> None:
    """Train runs, and write the result of each when it has finished."""
    context, name = multiprocessing.get_context("spawn"), TEST_RESULTS if with_test else RESULTS
    with ProcessPoolExecutor(workers, mp_context=context) as pool, (out / name).open("a") as file:
        for future in as_completed([pool.submit(train, run, out, with_test) for run in runs]):
            outcome = future.result()
            file.write(json.dumps(asdict(outcome)) + "\n")
            file.flush()
            print(f"{outcome.run}: {outcome.accuracy:.4f}, {outcome.seconds:.0f} s", flush=True)


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


def train(run: Run, out: Path, with_test: bool) -> Outcome:
    """Train one run, and keep its folder without the model."""
    candidate, source = CANDIDATES[run.recipe], out.absolute() / f"{run.data}{WITH_TEST * with_test}.csv"
    with source.open(newline="") as file:
        classes = len({row["label"] for row in csv.DictReader(file)})
    settings = {**candidate.settings, "lr": candidate.rate(classes) * run.factor}
    place = {"source": str(source), "allow_outside": True, "start": run.start, "seed": run.seed, "device": "cpu"}
    name = f"{list(CANDIDATES).index(run.recipe)}-{run.data}-{run.start[:4]}-{run.seed}-{run.factor:.2f}"
    parent = out / ("test runs" if with_test else "runs") / name
    if parent.exists():  # of a stopped attempt
        shutil.rmtree(parent)
    arm = ArmSpec(start=run.start, label=run.start[:4])
    role = RunRole(arm=arm, stage=Stage.MAIN if with_test else Stage.SEARCH, budget="", fraction=1.0)
    with suppress(DivergedError):  # a result like others
        runner.run_new(resolve_settings({**COMMON, **settings, **place}).plan, parent, NullReporter(), role=role)
    (folder,) = (path.parent for path in parent.glob(f"*/{RESULT_FILE}"))
    result = RunResult.read(folder / RESULT_FILE)
    epochs = [line for line in journal.read_lines(folder / "metrics.jsonl") if isinstance(line, EpochLine)]
    shutil.rmtree(folder / "model")
    return Outcome(
        run=run,
        settings=settings,
        plan=read_plan_file(folder).hash,
        state=result.state,
        best_epoch=result.best_epoch,
        correct=correct_digits(folder / "artifacts" / "predictions.npz", "test" if with_test else "val"),
        epochs=[(e.train.loss, e.train.accuracy, e.val.loss, e.val.accuracy) for e in epochs],
        seconds=result.seconds.training,
    )


def correct_digits(predictions: Path, split: str) -> str:
    """Return one digit per image of a split in the order of their names, 1 if it is classified right."""
    with np.load(predictions) as arrays:
        order = np.argsort(arrays["image"])
        chosen = order[arrays["split"][order] == split]
        right = arrays["logits"][chosen].argmax(1) == arrays["label"][chosen]
    return "".join("01"[int(value)] for value in right)


if __name__ == "__main__":
    main()
