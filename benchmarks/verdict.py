"""Time to verdict: a whole study, its search included, beside the same question asked in the stock loop.

The stock loop's epochs are measured, of a whole network and of a frozen one, and multiplied: nobody waits for all of
them. Exhaustive is every rate of every arm run whole on the search seeds; with rungs is the search that headstart does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import stock
from headstart.config.arm_spec import parse_arm
from headstart.storage.files import read_json

EPOCHS, SEEDS, SEARCH_SEEDS, KEPT, HEAD_SHARE = 8, 5, 2, 2, 0.3


def table(source: str, weights: Path, size: int, runs: Path | None = None) -> list[str]:
    """The study of scratch and one file's weights, fully tuned, frozen and head first, with the default grid.

    Under ``runs`` its folder stays; without, it goes when its times have been read.
    """
    file = f"file:{weights.absolute()}"
    arms = ["scratch", file, f"{file}+frozen", f"{file}+lp-ft"]
    with tempfile.TemporaryDirectory() as scratch:
        root = stock.as_image_folders(source, Path(scratch) / "photos")
        loops = {fast: [_epoch(root, size, fast, frozen) for frozen in (False, True)] for fast in (False, True)}
        seconds, verdict = _study(source, arms, size, runs or Path(scratch) / "runs", Path(scratch) / "cache")
    rates = len(next(iter(next(iter(verdict["search"]["grid"].values())).values())))
    rows = [
        f"{len(arms)} arms, {SEEDS} seeds, {EPOCHS} epochs, {size} px, {rates} learning rates with what edges added",
        f"headstart, from the command to the verdict: {seconds / 60:.1f} minutes",
        *_where(verdict, seconds),
    ]
    for fast, (whole, frozen) in loops.items():
        name = "stock loop" + " with channels_last and bf16" * fast
        rows.append(f"{name}: an epoch takes {whole:.1f} s, with a frozen trunk {frozen:.1f} s (measured)")
        for how, searched in (("exhaustive", rates * SEARCH_SEEDS * EPOCHS), ("with rungs", _rungs(rates))):
            total = sum(_arm_seconds(arm, searched + SEEDS * EPOCHS, whole, frozen) for arm in arms)
            rows.append(
                f"{name}, {how}: {total / 60:.1f} minutes (multiplied), headstart takes {seconds / total:.2f} of it"
            )
    return rows


def _rungs(rates: int) -> float:
    """Epochs of one arm's search: a rung of one epoch for each rate; those kept go on from there.

    With head first headstart's rungs are longer; counted like this, the stock loop is the faster for it.
    """
    return rates + KEPT * SEARCH_SEEDS * EPOCHS - KEPT


def _arm_seconds(arm: str, epochs: float, whole: float, frozen: float) -> float:
    """Seconds of so many epochs: a frozen arm's are those of a frozen trunk, as is the head's share of lp-ft."""
    tuning = parse_arm(arm).get("tuning", "full")
    share = {"frozen": 1.0, "lp-ft": HEAD_SHARE}.get(tuning, 0.0)
    return epochs * (share * frozen + (1 - share) * whole)


def _epoch(root: Path, size: int, fast: bool, frozen: bool) -> float:
    """Seconds of an epoch of the stock loop with its validation; the first warms up."""
    found = list(stock.apart(root, size=size, batch=32, epochs=3, fast=fast, frozen=frozen))
    return median(epoch.train_seconds + epoch.val_seconds for epoch in found[1:])


def _study(source: str, arms: list[str], size: int, runs: Path, cache: Path) -> tuple[float, dict[str, Any]]:
    """Carry the study out in a process of its own, with an empty cache: seconds and verdict.json."""
    words = ["compare", source, "--image-size", str(size), "--epochs", f"{EPOCHS}ep", "--seeds", str(SEEDS)]
    words += [word for arm in arms for word in ("--arm", arm)]
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
    return seconds, dict(read_json(path))


def _where(verdict: dict[str, Any], seconds: float) -> list[str]:
    """Where the time goes: training of the search and of the comparison, and everything else."""
    cost = verdict["cost"]
    rows = [
        f"  {stage}: {cost[stage]['runs']} runs, {cost[stage]['images']:,} images, {cost[stage]['seconds'] / 60:.1f} "
        "minutes of training and validation, all runs added"
        for stage in ("search", "main")
    ]
    trained = sum(cost[stage]["seconds"] for stage in cost)
    return [
        *rows,
        f"  the clock ran {seconds / trained:.2f} of that: lanes shorten it, judging and records lengthen it",
    ]
