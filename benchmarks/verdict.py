"""Time to verdict of a complete study with its search, compared with the same study in the stock loop.

Of the stock loop single epochs are measured, with full training and with a frozen backbone, and multiplied by their
number. "Exhaustive" trains every rate of every arm in full on the search seeds; "with rungs" is the search that
headstart uses.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks import stock
from headstart.config.arm_spec import parse_arm
from headstart.storage.schemas.arm import FULL, TuningKind
from headstart.storage.schemas.verdict import Verdict

EPOCHS, SEEDS, SEARCH_SEEDS, SURVIVORS, HEAD_SHARE = 8, 5, 2, 2, 0.3


def table(source: str, weights: Path, size: int, runs: Path | None = None) -> list[str]:
    """Time the study of scratch, and of the weights with full fine-tuning, frozen backbone and LP-FT; default grid.

    Without `runs` the study is written to a temporary folder.
    """
    file = f"file:{weights.absolute()}"
    arms = ["scratch", file, f"{file}+frozen", f"{file}+lp-ft"]
    with tempfile.TemporaryDirectory() as scratch:
        root = stock.as_image_folders(source, Path(scratch) / "photos")
        loops = {fast: [_epoch(root, size, fast, frozen) for frozen in (False, True)] for fast in (False, True)}
        seconds, verdict = _study(source, arms, size, runs or Path(scratch) / "runs", Path(scratch) / "cache")
    if not verdict.search:
        raise SystemExit("The study did not search its learning rates.")
    rates = len(verdict.search[0].grid)
    rows = [
        f"{len(arms)} arms, {SEEDS} seeds, {EPOCHS} epochs, {size} px, {rates} learning rates with the added edges",
        f"headstart, from the command to the verdict: {seconds / 60:.1f} minutes",
        *_time_shares(verdict, seconds),
    ]
    for fast, (whole, frozen) in loops.items():
        name = "stock loop" + " with channels_last and bf16" * fast
        rows.append(f"{name}: an epoch takes {whole:.1f} s, with a frozen backbone {frozen:.1f} s (measured)")
        for search, searched in (("exhaustive", rates * SEARCH_SEEDS * EPOCHS), ("with rungs", _rungs(rates))):
            total = sum(_arm_seconds(arm, searched + SEEDS * EPOCHS, whole, frozen) for arm in arms)
            rows.append(
                f"{name}, {search}: {total / 60:.1f} minutes (multiplied), headstart takes {seconds / total:.2f} of it"
            )
    return rows


def _rungs(rates: int) -> float:
    """Return the epochs of one arm's search: a rung of one epoch per rate, from which the survivors continue.

    For LP-FT the rungs of headstart are longer; counting one epoch favors the stock loop.
    """
    return rates + SURVIVORS * SEARCH_SEEDS * EPOCHS - SURVIVORS


def _arm_seconds(arm: str, epochs: float, whole: float, frozen: float) -> float:
    """Return the seconds of `epochs` of an arm; frozen arms, and the head's share of LP-FT, cost frozen epochs."""
    kind = (parse_arm(arm).tuning or FULL).kind
    share = {TuningKind.FROZEN: 1.0, TuningKind.LP_FT: HEAD_SHARE}.get(kind, 0.0)
    return epochs * (share * frozen + (1 - share) * whole)


def _epoch(root: Path, size: int, fast: bool, frozen: bool) -> float:
    """Return the seconds of an epoch of the stock loop with validation; the first epoch is a warm-up."""
    measured = list(stock.train_in_process(root, size=size, batch=32, epochs=3, fast=fast, frozen=frozen))
    return median(epoch.train_seconds + epoch.val_seconds for epoch in measured[1:])


def _study(source: str, arms: list[str], size: int, runs: Path, cache: Path) -> tuple[float, Verdict]:
    """Run the study in a process of its own with an empty cache; return its seconds and verdict."""
    words = ["compare", source, "--image-size", str(size), "--epochs", f"{EPOCHS}ep", "--seeds", str(SEEDS)]
    words += [word for arm in arms for word in ("--arm", arm)]
    recipe = {name: value for name, value in stock.SETTINGS.items() if name != "lr"}  # the search selects it
    words += [word for name, value in recipe.items() for word in ("--" + name.replace("_", "-"), str(value))]
    words += ["--runs", str(runs)]
    clock = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", "from headstart.cli.main import main; main()", *words],
        env={**os.environ, "HEADSTART_CACHE": str(cache)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - clock
    path = max(runs.glob("*/verdict.json"), key=lambda path: path.stat().st_mtime)
    return seconds, Verdict.read(path)


def _time_shares(verdict: Verdict, seconds: float) -> list[str]:
    """Return rows on the time of the search, of the comparison, and of everything else."""
    cost = verdict.cost
    rows = [
        f"  {name}: {stage.runs} runs, {stage.images:,} images, {stage.seconds / 60:.1f} "
        "minutes of training and validation, summed over runs"
        for name, stage in (("search", cost.search), ("main", cost.main))
    ]
    trained = sum(stage.seconds for stage in cost.stages)
    return [
        *rows,
        f"  elapsed time is {seconds / trained:.2f} of that: processes reduce it, evaluation and records add to it",
    ]
