"""Cost of the one-epoch rungs of the learning-rate search, compared with an exhaustive search.

    python -m benchmarks.regret digits:0-3 --arm scratch --arm scratch@adam --set network=timm:test_resnet

Two studies have the same arms, seeds and grid. In one, 2 rates of the grid survive a rung of one epoch; in the other,
every rate is trained in full on both search seeds. Then 5 new seeds are trained at each selected rate. When both select
the same rate the regret is 0. Finished runs are reused in the other study, and when the benchmark runs again. The rows
show for each arm both rates, and exhaustive minus rungs on val (t interval over seeds) and on test (crossed interval
over seeds and images).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import headstart
from headstart.analysis.run_records import runs_in
from headstart.analysis.statistics import crossed_interval
from headstart.analysis.value_tables import value_tables
from headstart.config.study_config import DEFAULT_LR_GRID
from headstart.metrics.registry import DEFAULT_METRIC
from headstart.storage.schemas.study import Stage


def studies(source: str, arms: Sequence[str], runs: Path, settings: dict[str, Any]) -> tuple[Path, Path]:
    """Run both studies; return the folders of that with rungs and of the exhaustive one."""
    common: dict[str, Any] = {"grid": DEFAULT_LR_GRID, "search_seeds": 2, "seeds": 5, **settings}
    folders = []
    for name, survivors in (("rungs", 2), ("exhaustive", 100)):
        study = headstart.compare(source, arms=arms, runs=runs / name, quiet=True, **{**common, "survivors": survivors})
        folders.append(study.folder)
    return folders[0], folders[1]


def regret(rungs: Path, exhaustive: Path) -> list[str]:
    """Return a row per arm: the selected rates, and exhaustive minus rungs in percentage points with 95 % intervals."""
    outcomes = []
    for folder in (rungs, exhaustive):
        runs = [run for run in runs_in(folder) if run.stage is Stage.MAIN]
        val = {(run.arm, run.seed): run.val_score(DEFAULT_METRIC) for run in runs}
        rates = {run.arm: run.rate for run in runs}
        outcomes.append((rates, val, value_tables(runs, "test", DEFAULT_METRIC)[0]))
    (first, first_val, first_right), (second, second_val, second_right) = outcomes
    rows = []
    for arm in first:
        text = f"{arm}: rungs selected {first[arm]:g}, the exhaustive search {second[arm]:g}"
        if first[arm] == second[arm]:
            rows.append(f"{text}: regret 0")
            continue
        seeds = sorted(seed for variant, seed in first_val if variant == arm)
        val = np.array([100 * (second_val[arm, seed] - first_val[arm, seed]) for seed in seeds])
        half = float(stats.t.ppf(0.975, len(val) - 1) * stats.sem(val))
        test = crossed_interval(second_right[arm] - first_right[arm])
        rows.append(
            f"{text}: val {val.mean():+.1f} percentage points ({val.mean() - half:+.1f} to {val.mean() + half:+.1f}), "
            f"test {100 * test.mean:+.1f} ({100 * test.low:+.1f} to {100 * test.high:+.1f}), {len(val)} seeds"
        )
    return rows


def main() -> None:
    """Print the selected rates of each arm, and the regret of the rungs on val and test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="folder of class folders, manifest, or digits")
    parser.add_argument("--arm", action="append", required=True, help="START[+TUNING][+HEAD][@OPTIMIZER]; at least two")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "regret", help="parent folder of the studies")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="field of the plan or of the protocol"
    )
    options = parser.parse_args()
    settings = dict(text.split("=", 1) for text in options.set)
    print("\n".join(regret(*studies(options.source, options.arm, options.runs, settings))))


if __name__ == "__main__":
    main()
