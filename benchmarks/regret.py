"""What the one-epoch rungs of the search cost: the rate that they choose against that of an exhaustive search.

    python -m benchmarks.regret digits:0-3 --arm scratch --arm scratch@adam --set network=timm:test_resnet

Two studies of the same arms, seeds and grid: in one a rung of one epoch keeps 2 rates of the grid, in the other every
rate runs whole on both search seeds. Then 5 fresh seeds at each chosen rate; where both chose the same rate the regret
is 0. Runs that are done are taken over from one study to the other, and when the benchmark is called again. For each
arm: both rates, and exhaustive minus rungs on val (t interval over seeds) and on test (crossed over seeds and images).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import headstart
from headstart.analysis.run_records import runs_in, tables
from headstart.analysis.statistics import crossed
from headstart.config.study_config import GRID


def studies(source: str, arms: Sequence[str], runs: Path, settings: dict[str, Any]) -> tuple[Path, Path]:
    """Folders of the study with rungs and of the exhaustive one."""
    common: dict[str, Any] = {"grid": GRID, "search_seeds": 2, "seeds": 5, **settings}
    found = []
    for name, keep in (("rungs", 2), ("exhaustive", 100)):
        made = headstart.compare(source, arms=arms, runs=runs / name, quiet=True, **{**common, "survivors": keep})
        found.append(made.folder)
    return found[0], found[1]


def regret(rungs: Path, exhaustive: Path) -> list[str]:
    """Rows: for each arm the chosen rates, and exhaustive minus rungs in points with 95 % intervals."""
    seen = []
    for folder in (rungs, exhaustive):
        runs = [run for run in runs_in(folder) if run.about["stage"] == "main"]
        val = {(run.about["variant"], run.seed): run.val_score("accuracy") for run in runs}
        rates = {run.about["variant"]: run.rate for run in runs}
        seen.append((rates, val, tables(runs, "test")[0]))
    (first, first_val, first_right), (second, second_val, second_right) = seen
    rows = []
    for arm in first:
        text = f"{arm}: rungs chose {first[arm]:g}, the exhaustive search {second[arm]:g}"
        if first[arm] == second[arm]:
            rows.append(f"{text}: regret 0")
            continue
        seeds = sorted(seed for cell, seed in first_val if cell == arm)
        val = np.array([100 * (second_val[arm, seed] - first_val[arm, seed]) for seed in seeds])
        half = float(stats.t.ppf(0.975, len(val) - 1) * stats.sem(val))
        test = crossed(second_right[arm].astype(float) - first_right[arm])
        rows.append(
            f"{text}: val {val.mean():+.1f} points ({val.mean() - half:+.1f} to {val.mean() + half:+.1f}), "
            f"test {100 * test.mean:+.1f} ({100 * test.low:+.1f} to {100 * test.high:+.1f}), {len(val)} seeds"
        )
    return rows


def main() -> None:
    """Print both rates of each arm, and what the rungs cost on val and test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="photos, or digits")
    parser.add_argument(
        "--arm", action="append", required=True, help="START[+TUNING][+HEAD][@OPTIMIZER], twice or more"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs") / "regret", help="where the studies are kept")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of plan or protocol")
    options = parser.parse_args()
    settings = dict(text.split("=", 1) for text in options.set)
    print("\n".join(regret(*studies(options.source, options.arm, options.runs, settings))))


if __name__ == "__main__":
    main()
