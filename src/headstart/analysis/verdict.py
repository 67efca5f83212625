"""From a study's records to its verdict, by the rules that were declared: numbers, of which `words` makes sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from headstart.analysis.contrasts import contrasts, pairs
from headstart.analysis.correctness import Correctness
from headstart.analysis.data_efficiency import data_efficiency
from headstart.analysis.headline import winner_of
from headstart.analysis.interim import taken
from headstart.analysis.run_records import RunRecord, common_seeds, compared, runs_in, tables
from headstart.analysis.sentences import sentences
from headstart.analysis.statistics import time_to_target
from headstart.config.study_config import ArmVariant
from headstart.config.study_file import StudySpec
from headstart.storage.files import SCHEMA, read_json

JUDGE = "test"


def conclude(folder: Path, declared: StudySpec, search: dict[str, Any]) -> dict[str, Any]:
    """The content of verdict.json; `search` is that of search.json.

    Raises DataError where no seed is complete, or an arm has a seed twice.
    """
    runs = compared(folder)
    cells = read_json(folder / "cells.json")
    splits = next(iter(cells.values()))["declared"]
    conditions = []
    for budget in map(str, declared.budgets):
        for fraction in declared.protocol.fractions:
            here = [run for run in runs if (run.about["budget"], run.about["fraction"]) == (budget, fraction)]
            if here:
                conditions.append(_condition(here, declared, budget, fraction, search, splits))
    main = conditions[-1]  # the longest budget asked last, on all the photos
    found = {
        "schema": SCHEMA,
        "study": declared.hash,
        "metric": declared.protocol.metric,
        "margin": declared.protocol.margin_width,
        "target": declared.protocol.target,
        "source": runs[0].plan["data"]["source"],
        "fingerprint": runs[0].plan["facts"]["fingerprint"],
        "network": runs[0].plan["network"]["network"],
        "classes": runs[0].plan["facts"]["class_names"],
        **main,
        "conditions": conditions[:-1],
        "labels": data_efficiency(conditions),
        "search": search,
        "known": {
            name: {"classes": met["known_classes"], "images": met["known_images"]} for name, met in cells.items()
        },
        "overlaps": next(iter(cells.values())).get("overlaps", []),
        "cost": _cost(folder),
    }
    return {**found, "sentences": sentences(found)}


def stopped(folder: Path, declared: StudySpec) -> bool:
    """Whether a look at the runs that are there ends the study."""
    here = [run for run in compared(folder) if (run.about["budget"], run.about["fraction"]) == _main(declared)]
    right, judged = tables(here, JUDGE)
    labels = judged.labels if declared.protocol.metric == "balanced" else None
    primary = declared.protocol.contrast([cell.name for cell in declared.cells])
    return any(look.stopped for look in taken(right, primary, declared.protocol.interim, labels=labels))


def _main(declared: StudySpec) -> tuple[str, float]:
    """The budget and the fraction that the verdict rests on: the one asked last, and the largest."""
    return str(declared.budgets[-1]), declared.share


def _condition(
    runs: Sequence[RunRecord], declared: StudySpec, budget: str, fraction: float, search: dict[str, Any], splits: str
) -> dict[str, Any]:
    """One budget and one fraction: the arms, which of them val chose, the contrasts, and the winner.

    `splits` are those that the data declared.
    """
    protocol = declared.protocol
    order = [cell.name for cell in declared.cells]
    primary = protocol.contrast(order)
    right, judged = tables(runs, JUDGE)
    seeds = common_seeds(runs)
    arms = [_arm(name, [r for r in runs if r.about["variant"] == name and r.seed in seeds], declared) for name in order]
    for arm in arms:
        rates = search.get("chosen", {}).get(budget, {})
        arm["rates"] = {group: of_arm[arm["name"]] for group, of_arm in rates.items()}
    val = {arm["name"]: arm["val"] for arm in arms}
    chosen = max(arms, key=lambda arm: arm["val"])  # by val alone; of equals the first declared
    rows = grid_rows(declared.cells, val)
    rivals = [] if protocol.primary else rivals_of(chosen["name"], declared.cells, val)
    best = max(chosen["seeds"], key=lambda run: (bool(run["best_epoch"]), run["val"], -run["seed"]))  # one with a model
    labels = judged.labels if protocol.metric == "balanced" else None
    looks = taken(right, primary, protocol.interim if (budget, fraction) == _main(declared) else (), labels=labels)
    found = []
    if len(seeds) > 1:
        first = 1 - looks[-1].boundary if looks else None
        wanted = with_rivals(order, primary, chosen["name"], rivals)
        found = contrasts(right, wanted, margin=protocol.margin_width, labels=labels, primary_level=first)
    condition = {
        "budget": budget,
        "fraction": fraction,
        "counts": min(runs, key=lambda run: run.seed).plan["facts"]["counts"],  # folders are named by time, not by seed
        "evaluation": {"split": JUDGE, "images": len(judged.images), "declared": splits},
        "n": len(seeds),
        "one_split": len({run.judged("val").images for run in runs}) == 1,
        "arms": arms,
        "primary": list(primary),
        "chosen": chosen["name"],
        "rival": rival_of(chosen["name"], primary, rivals),
        "grid_rows": rows,
        "exported": {"run": best["run"], "seed": best["seed"]},
        "contrasts": [asdict(contrast) for contrast in found],
        "interim": [asdict(look) for look in looks],
    }
    return {**condition, "winner": winner_of(condition)}


def _arm(name: str, runs: Sequence[RunRecord], declared: StudySpec) -> dict[str, Any]:
    """Everything that is told of one arm: each seed, the means, and the time to the target."""
    protocol = declared.protocol
    rows = []
    for run in sorted(runs, key=lambda run: run.seed):
        judged = run.judged(JUDGE)
        rows.append(
            {
                "seed": run.seed,
                "run": run.folder.name,
                "state": run.result["state"],
                "lr": run.rate,
                "best_epoch": run.result["best_epoch"],
                "val": _val(run, protocol.metric),
                "test": _score(judged, protocol.metric),
                "to_target": run.to_target(protocol.target, protocol.metric) if protocol.target else None,
                **run.length(),
            }
        )
    test = np.array([row["test"] for row in rows])
    val = np.array([row["val"] for row in rows])
    return {
        "name": name,
        "val": float(val.mean()),
        "test": float(test.mean()),
        "test_sd": float(test.std(ddof=1)) if len(test) > 1 else None,
        "optimism": float(val.mean() - test.mean()),
        "diverged": [row["seed"] for row in rows if row["state"] == "diverged"],
        "to_target": _times(rows) if protocol.target else None,
        "seeds": rows,
    }


def grid_rows(cells: Sequence[ArmVariant], val: Mapping[str, float]) -> list[dict[str, Any]]:
    """Where learning rates are varied: the best on val of each row, the first declared one of equals.

    `edge` is `low` or `high` where that is the lowest or highest rate of its row, else None.
    """
    found = []
    for row in _rows(cells):
        best = max(row, key=lambda name: val[name])
        ends = {min(row, key=row.__getitem__): "low", max(row, key=row.__getitem__): "high"} if len(row) > 1 else {}
        found.append({"variant": best, "lr": row[best], "edge": ends.get(best)})
    return found


def rivals_of(chosen: str, cells: Sequence[ArmVariant], val: Mapping[str, float]) -> list[str]:
    """What the best of a grid of learning rates is held against, the best on val first: the best of the other rows.

    One row alone has the next best rate. Nothing where no rates are varied: there the reference is the rival.
    """
    rows = _rows(cells)
    if len(rows) == 1:
        return sorted((name for name in rows[0] if name != chosen), key=lambda name: -val[name])[:1]
    best = [max(row, key=lambda name: val[name]) for row in rows if chosen not in row]
    return sorted(best, key=lambda name: -val[name])


def rival_of(chosen: str, primary: tuple[str, str], rivals: Sequence[str]) -> str:
    """What the headline holds the chosen arm against: the first rival, else the reference or, for that, the other."""
    first, reference = primary
    return rivals[0] if rivals else reference if chosen != reference else first


def with_rivals(
    order: Sequence[str], primary: tuple[str, str], chosen: str, rivals: Sequence[str]
) -> list[tuple[str, str]]:
    """The contrasts of a study, and those of the chosen arm with its rivals that are not among them."""
    wanted = pairs(order, primary[1], primary)
    return wanted + [(chosen, rival) for rival in rivals if {chosen, rival} not in map(set, wanted)]


def _rows(cells: Sequence[ArmVariant]) -> list[dict[str, float]]:
    """Learning rates by the name of their cell, for each set of cells that differ in nothing else."""
    found: dict[str, dict[str, float]] = {}
    for cell in cells:
        if "lr" in cell.changes:
            rest = {name: value for name, value in cell.changes.items() if name != "lr"}
            found.setdefault(json.dumps(rest, sort_keys=True), {})[cell.name] = float(cell.changes["lr"])
    return list(found.values())


def _times(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over all runs in epochs, images and seconds. They have ended: one that did not get there never will."""
    found = {}
    for unit in ("epochs", "images", "seconds"):
        times = [row["to_target"][unit] if row["to_target"] else None for row in rows]
        found[unit] = asdict(time_to_target(times))
    return found


def _val(run: RunRecord, metric: str) -> float:
    """That of the best epoch; where none was validated, of the answers that stand for such a run, as on test."""
    return run.val_score(metric) if run.result["best_epoch"] else _score(run.judged("val"), metric)


def _score(judged: Correctness, metric: str) -> float:
    if metric == "accuracy":
        return float(judged.right.mean())
    return float(np.mean([judged.right[judged.labels == label].mean() for label in np.unique(judged.labels)]))


def _cost(folder: Path) -> dict[str, Any]:
    """What the study took, by stage: runs, images trained on, seconds of training."""
    found: dict[str, Any] = {}
    for stage, place in (("search", folder / "search"), ("main", folder), ("source", folder / "sources")):
        lengths = [run.length() for run in runs_in(place)] if place.is_dir() else []
        found[stage] = {
            "runs": len(lengths),
            "images": int(sum(length["images"] for length in lengths)),
            "seconds": round(sum(length["seconds"] for length in lengths), 1),
        }
    return found
