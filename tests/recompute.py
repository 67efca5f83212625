"""Compute a study's verdict a second time from its records.

    python tests/recompute.py STUDY

reads `study.toml`, `variants.json`, and for each run `plan.json`, `result.json`, `metrics.jsonl` and
`artifacts/predictions.npz`. It computes every field of `verdict.json` that the sentences use, and explains every number
in a sentence as the rounding of one of them. It uses headstart's files and formulas (docs/formats.md, docs/protocol.md)
and imports nothing from headstart. It exits with 1 if a field or a number differs.
"""

import itertools
import json
import math
import re
import sys
import tomllib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, stats

MAX_SAMPLE_SIZE = 100_000  # seeds or images; a larger required sample is reported as none
MAX_EXTENSIONS = 2  # of the grid


class Run(NamedTuple):
    """One run, read from its files."""

    variant: str
    stage: str
    condition: tuple[str, float]  # budget, fraction
    seed: int
    rate: float
    done: bool
    state: str
    epochs: list[dict[str, Any]]
    batch: int
    rung: int  # epochs of its rung
    recipe: dict[str, Any]
    folder: Path


def rung_of(plan: dict[str, Any]) -> int:
    """Return the epochs of the first rung: 1, or for lp-ft the first epoch that is at least half fine-tuning."""
    if plan["arm"]["tuning"] != "lp-ft":
        return 1
    epoch = math.ceil(plan["facts"]["split_counts"]["train"] / plan["recipe"]["batch_size"])
    length = [(float(t[:-2]), t[-2:]) if t[-1] != "%" else (float(t[:-1]), "%")
              for t in (plan["recipe"]["epochs"], plan["recipe"]["head_epochs"])]  # fmt: skip
    steps = [int(value * {"ep": epoch, "st": 1}.get(unit, 0) + 0.5) for value, unit in length]
    head = int(length[1][0] / 100 * steps[0] + 0.5) if length[1][1] == "%" else steps[1]
    last = math.ceil(steps[0] / epoch) - 1
    return next((k for k in range(1, last) if 2 * (k * epoch - head) >= epoch), max(last, 1))


def runs_of(place: Path) -> list[Run]:
    runs = []
    for path in sorted(place.glob("*/plan.json")):
        content, result = json.loads(path.read_text()), path.parent / "result.json"
        state = json.loads(result.read_text())["state"] if result.exists() else ""
        lines = map(json.loads, (path.parent / "metrics.jsonl").read_text().splitlines())
        role, plan = content["study"], content["plan"]
        runs.append(
            Run(name_of(role["arm"]), role["stage"], (role["budget"], role["fraction"]), plan["seeding"]["seed"],
                plan["recipe"]["lr"], state in ("finished", "diverged"), state,
                [line for line in lines if line["kind"] == "epoch"], plan["recipe"]["batch_size"], rung_of(plan),
                plan["recipe"], path.parent)
        )  # fmt: skip
    return runs


def name_of(arm: dict[str, Any]) -> str:
    """Return the name of the arm of a run's role: its parts that are not the defaults, and what the study varies."""
    parts = [arm["label"], *(arm[key] for key in ("tuning", "head") if arm[key] not in (None, "full", "linear"))]
    optimizer = f"@{arm['optimizer']}" if arm["optimizer"] else ""
    return ",".join(["+".join(parts) + optimizer, *(f"{k.replace('_', '-')}={v}" for k, v in arm["varied"].items())])


def score(line: dict[str, Any], metric: str) -> float:
    """Return an epoch's metric on val, from its confusion counts."""
    cells = list(zip(*(line["confusion"][key] for key in ("true", "predicted", "counts")), strict=True))
    totals, correct = dict[int, int](), dict[int, int]()  # by true class
    for true, predicted, count in cells:
        totals[true] = totals.get(true, 0) + count
        correct[true] = correct.get(true, 0) + (count if true == predicted else 0)
    if metric == "accuracy":
        return sum(correct.values()) / sum(totals.values())
    return float(np.mean([correct[true] / total for true, total in totals.items()]))


def best_epoch(run: Run) -> dict[str, Any] | None:
    """Return the epoch with the highest accuracy on val; of equal ones the one with the lowest loss."""
    return max(run.epochs, key=lambda e: (e["val"]["accuracy"], -e["val"]["loss"]), default=None)


def val_score(run: Run, metric: str) -> float:
    best = best_epoch(run)
    return 0.0 if best is None else score(best, metric)


def stated_val(run: Run, metric: str) -> float:
    """Return the best epoch's score; for a run that diverged before its first validation, that of its predictions."""
    if run.epochs:
        return val_score(run, metric)
    _, labels, correct = read_correct(run, "val")
    return float(np.mean([correct[labels == k].mean() for k in np.unique(labels)] if metric != "accuracy" else correct))


def read_correct(run: Run, split: str = "test") -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return ids, labels and correctness of the images of a split."""
    with np.load(run.folder / "artifacts" / "predictions.npz", allow_pickle=False) as arrays:
        rows = arrays["split"] == split
        predicted = arrays["logits"].argmax(1) if "logits" in arrays else arrays["top_classes"][:, 0]
        correct = predicted[rows] == arrays["label"][rows]
        return arrays["image"][rows].tolist(), arrays["label"][rows], correct.astype(float)


def read_test(run: Run, name: str) -> np.ndarray:
    """Return an array of the test images: `copy`, whether another split that the run uses has a copy, or `unit`."""
    with np.load(run.folder / "artifacts" / "predictions.npz", allow_pickle=False) as arrays:
        return np.asarray(arrays[name][arrays["split"] == "test"])


def seconds(epochs: list[dict[str, Any]]) -> float:
    return float(sum(e["speed"]["train_seconds"] + e["speed"]["val_seconds"] for e in epochs))


# Learning rates


def searched(runs: list[Run], protocol: dict[str, Any], variants: list[str], seeds: list[int]) -> dict[str, Any]:
    """Return what a search of these seeds selects: the best mean on val of the rates that survive their rung.

    Rates that were added to the grid are read from the records; on which side is computed again.
    """
    metric, grid = protocol["metric"], sorted(protocol["grid"])
    first = {(r.variant, r.rate): r.epochs[: r.rung][r.rung - 1 :] for r in runs if r.seed == seeds[0]}
    whole = {(r.variant, r.rate, r.seed): r for r in runs if r.done}
    recorded = sorted({rate for _, rate in first})

    def rung(variant: str, rate: float) -> tuple[float, float, float]:
        line = first[variant, rate]
        return (score(line[0], metric), -line[0]["val"]["loss"], -rate) if line else (-1.0, 0.0, -rate)

    means: dict[str, dict[float, float]] = {variant: {} for variant in variants}
    for extension in range(MAX_EXTENSIONS + 1):
        edges = {}
        for variant in variants:
            for rate in sorted(grid, key=lambda rate: rung(variant, rate), reverse=True)[: protocol["survivors"]]:
                means[variant][rate] = float(np.mean([val_score(whole[variant, rate, seed], metric) for seed in seeds]))
            best = max(means[variant], key=lambda rate: (means[variant][rate], -rate))
            if best in (grid[0], grid[-1]) and all(whole[variant, best, s].state == "finished" for s in seeds):
                edges[variant] = best
        if not edges or extension == MAX_EXTENSIONS:
            break
        beyond = [r for r in recorded if r < grid[0]][-1:] if grid[0] in edges.values() else []
        beyond += [r for r in recorded if r > grid[-1]][:1] if grid[-1] in edges.values() else []
        grid = sorted([*grid, *beyond])
    chosen = {variant: max(scores, key=lambda rate: (scores[rate], -rate)) for variant, scores in means.items()}
    arms = [{"arm": variant, "selected": rate, "at_edge": variant in edges} for variant, rate in chosen.items()]
    return {"grid": grid, "arms": arms}


# Statistics


def squares(d: np.ndarray) -> tuple[float, float, float]:
    """Return the mean squares A of rows, B of columns and C of the residual of an array [n, m]."""
    n, m = d.shape
    row, column, mean = d.mean(1, keepdims=True), d.mean(0, keepdims=True), d.mean()
    a = m * float(((row - mean) ** 2).sum()) / (n - 1)
    b = n * float(((column - mean) ** 2).sum()) / (m - 1)
    return a, b, float(((d - row - column + mean) ** 2).sum()) / ((n - 1) * (m - 1))


class Sample(NamedTuple):
    """Test images as a sample: the positions of the images of each unit, and each image's weight and stratum."""

    members: list[list[int]]
    weights: np.ndarray
    strata: np.ndarray

    @property
    def max_weight(self) -> float:
        """Largest weight of an image."""
        return float(max(self.weights))

    @property
    def spread(self) -> float:
        """Mean squared size of the units, whose mean is 1."""
        mean = len(self.weights) / len(self.members)
        return sum((len(unit) / mean) ** 2 for unit in self.members) / len(self.members)


def sample_of(metric: str, labels: np.ndarray, units: np.ndarray) -> Sample:
    """Return the sample of images with these labels and units; balanced accuracy gives each class the same weight."""
    members: dict[int, list[int]] = {}
    for j, unit in enumerate(units.tolist()):
        members.setdefault(unit, []).append(j)
    if metric != "balanced":
        return Sample(list(members.values()), np.ones(len(labels)), np.zeros(len(labels)))
    classes, counts = np.unique(labels, return_counts=True)
    weight = {k: len(labels) / (len(classes) * count) for k, count in zip(classes, counts, strict=True)}
    return Sample(list(members.values()), np.array([weight[k] for k in labels]), labels)


def unit_values(d: np.ndarray, sample: Sample) -> np.ndarray:
    """Return values [n, units] of differences [n, m], whose means are those of the images in the metric."""
    means = {k: float(d[:, sample.strata == k].mean()) for k in np.unique(sample.strata)}
    mean, share = float((d * sample.weights).mean()), len(sample.members) / d.shape[1]
    rows = [
        [sum(sample.weights[j] * (row[j] - means[sample.strata[j]]) for j in unit) * share + mean
         for unit in sample.members]
        for row in d
    ]  # fmt: skip
    return np.array(rows)


def error_and_df(a: Any, b: Any, c: Any, n: Any, g: Any, sample: Sample) -> tuple[Any, Any]:
    """Return the standard error of the mean and its degrees of freedom; n or g may be arrays.

    The error is at least that of one unit in g + 2, of the size of the units in the mean square (Agresti & Min 2005).
    """
    least, df = np.minimum(n, g) - 1.0, np.inf
    for rows in (a, np.maximum(a * (n - 1) / stats.chi2.ppf(0.3, n - 1), c)):  # the second where A is uncertain
        below = np.asarray(rows**2 / (n - 1) + b**2 / (g - 1) + c**2 / ((n - 1) * (g - 1)))
        with np.errstate(divide="ignore", invalid="ignore"):
            df = np.minimum(df, np.where(below > 0, np.maximum((rows + b - c) ** 2 / below, least), least))
    least_error = sample.max_weight * math.sqrt(sample.spread) / (g + 2)
    return np.maximum(np.sqrt(np.maximum(a + b - c, c) / (n * g)), least_error), df


def required(
    a: float, b: float, c: float, n: int, g: int, level: float, target: float, sample: Sample
) -> dict[str, Any]:
    """Return the required seeds, or units, for both ends of A's 80 % interval, by trying every number."""
    of_units = max(b - c, 0) / n
    ranges: dict[str, list[int | None]] = {"seeds": [], "units": []}
    for q in (0.9, 0.1):
        of_seeds = max(max(a * (n - 1) / stats.chi2.ppf(q, n - 1), c) - c, 0) / g
        for name, present in (("seeds", n), ("units", g)):
            k = np.arange(present + 1, MAX_SAMPLE_SIZE + 1)
            rows, columns = (k, np.full_like(k, g)) if name == "seeds" else (np.full_like(k, n), k)
            error, df = error_and_df(c + columns * of_seeds, c + rows * of_units, c, rows, columns, sample)
            enough = (stats.t.ppf((1 + level) / 2, df) * error <= target) & (
                max_undetected_difference(columns, level, sample) <= 2 * target
            )
            first = np.flatnonzero(enough)
            ranges[name].append(int(k[first[0]]) if len(first) else None)
    return {"half_width": target} | {name: None if low is None else [low, high] for name, (low, high) in ranges.items()}


def max_undetected_difference(g: Any, level: float, sample: Sample) -> Any:
    """Return the largest difference x that g units of equal size can miss: (1 - x)^g is half of 1 - level."""
    return sample.max_weight * -np.expm1(np.log((1 - level) / 2) * sample.spread / g)


def contrast(differences: np.ndarray, level: float, margin: float, sample: Sample) -> dict[str, Any]:
    """Return the contrast of one pair from the differences of its images, [n, m]."""
    d = unit_values(differences, sample)
    n, g = d.shape
    a, b, c = squares(d)
    error, df = map(float, error_and_df(a, b, c, n, g, sample))
    mean, seeds = float(d.mean()), d.mean(1)
    half = float(stats.t.ppf((1 + level) / 2, df)) * error
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    outcome = "undecided"
    if n >= 3 and g >= 20:
        outcome = "better" if low > 0 else "worse" if high < 0 else "undecided"
        outcome = (
            "equivalent"
            if -margin <= low and high <= margin and max_undetected_difference(g, level, sample) <= margin
            else outcome
        )
    of_units = max((b - c) / (n * g), (sample.max_weight / (g + 2)) ** 2 * sample.spread)
    flips = [abs(float(np.dot(signs, seeds))) for signs in itertools.product((1, -1), repeat=n)] if n <= 20 else []
    near = {"better": low < margin, "worse": high > -margin}.get(outcome, False)
    return {
        "outcome": outcome, "by_less_than_margin": near, "mean": mean, "low": low, "high": high, "level": level,
        "p": float(2 * stats.t.sf(abs(mean) / error, df)),
        "p_sign_flip": float(np.mean([f >= abs(seeds.sum()) - 1e-12 for f in flips])) if flips else None,
        "half_width_infinite_seeds": min(1.0, float(stats.t.ppf((1 + level) / 2, g - 1)) * math.sqrt(of_units)),
        "degrees_of_freedom": df,
        "wins": int((seeds > 1e-12).sum()), "losses": int((seeds < -1e-12).sum()), "n": n,
        "m": differences.shape[1], "g": g,
        "sample_sizes": [
            required(a, b, c, n, g, level, target, sample)
            for target in ([margin] if half > margin else []) + [margin / 2]
            if outcome == "undecided" and n >= 3 and g >= 20
        ],
    }  # fmt: skip


def median_time(times: list[float | None]) -> float | None:
    """Return the first time by which half of all runs, including those with None, have reached the target."""
    reached = sorted(t for t in times if t is not None)
    return next((time for time in reached if 2 * sum(t <= time for t in reached) >= len(times)), None)


# Study


def recompute(study: Path) -> dict[str, Any]:
    """Return the fields of verdict.json that a sentence can use."""
    study_file = tomllib.loads((study / "study.toml").read_text())
    protocol = study_file["protocol"]
    main = [run for run in runs_of(study) if run.stage == "main" and run.done]
    variants = declared_variants(protocol)
    budgets = protocol["budgets"] or [study_file["plan"]["recipe"]["epochs"]]
    search = _search(study, protocol, budgets, variants, main)
    expected = [(budget, fraction) for budget in budgets for fraction in sorted(protocol["fractions"])]
    conditions = []
    for condition in expected:
        runs = [run for run in main if run.condition == condition]
        if runs:
            interim = protocol.get("interim", []) if condition == expected[-1] else []
            conditions.append(_condition(runs, condition, protocol, variants, interim))
    places = {"search": study / "search", "main": study, "source": study / "sources"}
    cost = {stage: runs_of(folder) for stage, folder in places.items()}
    return {
        **conditions[-1],
        "margin": float(protocol["margin"].removesuffix("pt")) / 100,
        "target": protocol["target"],
        "conditions": conditions[:-1],
        "search": search,
        "exposure": {
            variant: {"classes": facts["known_classes"], "images": facts["known_images"]}
            for variant, facts in json.loads((study / "variants.json").read_text())["variants"].items()
        },
        "cost": {
            stage: {"runs": len(runs), "images": sum(r.epochs[-1]["step"] * r.batch for r in runs if r.epochs),
                    "seconds": sum(seconds(r.epochs) for r in runs)}
            for stage, runs in cost.items()
        },
    }  # fmt: skip


def declared_variants(protocol: dict[str, Any]) -> list[str]:
    """Return the names of the arms, crossed with the values of `vary`, in the declared order."""
    names = []
    for arm in protocol["arms"]:
        short = re.sub(r"(?<=:)[^:]*/|[.](safetensors|pth|pt)(?=[+@]|$)|[+](full|linear)(?=[+@]|$)", "", arm)
        for values in itertools.product(*protocol["vary"].values()):
            varied = [f"{key.replace('_', '-')}={v}" for key, v in zip(protocol["vary"], values, strict=True)]
            names.append(",".join([short, *varied]))
    return names


def _rows(protocol: dict[str, Any], variants: Iterable[str]) -> list[dict[str, str]]:
    """Return variants by learning rate, for each row of variants that differ in nothing else."""
    rows: dict[str, dict[str, str]] = {}
    for variant in variants:
        for rate in protocol["vary"].get("lr", ()):
            parts = variant.split(",")
            if f"lr={rate}" in parts:
                rows.setdefault(",".join(part for part in parts if part != f"lr={rate}"), {})[rate] = variant
    return list(rows.values())


def _grid_rows(protocol: dict[str, Any], val: dict[str, float]) -> list[dict[str, Any]]:
    """Return the best of each row (of equal ones the first declared), and whether it is at an edge of its row."""
    rates = sorted(protocol["vary"].get("lr", ()), key=float)
    best_rates = []
    for row in _rows(protocol, val):
        best = next(
            rate for rate in protocol["vary"]["lr"] if val[row[rate]] == max(val[variant] for variant in row.values())
        )
        edge = {rates[0]: "low", rates[-1]: "high"}.get(best) if len(rates) > 1 else None
        best_rates.append({"variant": row[best], "lr": float(best), "edge": edge})
    return best_rates


def _rivals(chosen: str, protocol: dict[str, Any], arms: list[dict[str, Any]]) -> list[str]:
    """Return the best of the rows without the selected variant, or the next best rate of a single row, by val."""
    val = {arm["name"]: arm["val"] for arm in arms}
    rows = _rows(protocol, val)
    groups = [[variant] for variant in rows[0].values() if variant != chosen] if len(rows) == 1 else [
        list(row.values()) for row in rows if chosen not in row.values()
    ]  # fmt: skip
    best = sorted(
        (sorted(group, key=lambda variant: -val[variant])[0] for group in groups), key=lambda variant: -val[variant]
    )
    return best[:1] if len(rows) == 1 else best


def _search(
    study: Path, protocol: dict[str, Any], budgets: list[str], variants: list[str], main: list[Run]
) -> list[dict[str, Any]]:
    """Return the results of the search, or an empty list if there was none."""
    runs = runs_of(study / "search") if (study / "search").is_dir() else []
    groups: list[dict[str, Any]] = []
    for budget in budgets if runs else ():
        of_budget = [run for run in runs if run.condition[0] == budget]
        seeds = sorted({run.seed for run in of_budget})
        for seed in seeds if protocol["search"] == "per-seed" else [None]:
            group = [seed] if seed is not None else seeds
            result = searched([run for run in of_budget if run.seed in group], protocol, variants, group)
            groups.append({"budget": budget, "seed": seed, **result})
    for run in main if groups else ():
        rates = {
            arm["selected"] for group in groups for arm in group["arms"]
            if (group["budget"], arm["arm"]) == (run.condition[0], run.variant) and group["seed"] in (None, run.seed)
        }  # fmt: skip
        if rates != {run.rate}:
            raise SystemExit(f"{run.folder} was trained with {run.rate:g}, which its search did not choose")
    return groups


def _condition(
    runs: list[Run],
    condition: tuple[str, float],
    protocol: dict[str, Any],
    variants: list[str],
    declared_interim: list[int],
) -> dict[str, Any]:
    metric, margin = protocol["metric"], float(protocol["margin"].removesuffix("pt")) / 100
    by = {(run.variant, run.seed): run for run in runs}
    seeds = sorted(s for s in {r.seed for r in runs} if all((variant, s) in by for variant in variants))
    correct = {key: read_correct(run) for key, run in by.items() if key[1] in seeds}
    images, labels, _ = correct[variants[0], seeds[0]]
    if any(other[0] != images for other in correct.values()):
        raise SystemExit("the runs were evaluated on different images")
    units = read_test(by[variants[0], seeds[0]], "unit")
    sample = sample_of(metric, labels, units)
    tables = {variant: np.array([correct[variant, seed][2] for seed in seeds]) for variant in variants}
    test = {variant: (table * sample.weights).mean(1) for variant, table in tables.items()}
    arms = [_arm(variant, [by[variant, s] for s in seeds], test[variant], protocol) for variant in variants]
    leader = max(arms, key=lambda arm: (arm["val"], -variants.index(arm["name"])))["name"]
    first, second = _primary(protocol, variants)
    rows = _grid_rows(protocol, {arm["name"]: arm["val"] for arm in arms})
    comparators = [] if protocol["primary"] else _rivals(leader, protocol, arms)
    by_value = _value_pairs(protocol, (first, second))
    more = [(leader, r) for r in comparators]
    more += [(row["first"], row["second"]) for field in by_value for row in field["values"]]
    pairs = _pairs(variants, (first, second), more)
    share = protocol["primary_share"]
    errors = [0.05 * share, *[0.05 * (1 - share) / (len(pairs) - 1)] * (len(pairs) - 1)] if len(pairs) > 1 else [0.05]
    interim = _interim(tables[first] - tables[second], declared_interim, errors[0], sample)
    contrasts = []
    for pair, error in zip(pairs, errors, strict=True) if len(seeds) > 1 and len(sample.members) > 1 else ():
        boundary = _boundaries(declared_interim, error)[len(interim) - 1] if interim else error
        row = contrast(tables[pair[0]] - tables[pair[1]], 1 - boundary, margin, sample)
        own = {"first": pair[0], "second": pair[1], "primary": not contrasts}
        contrasts.append(row | own | {"p_adjusted": min(1.0, row["p"] * 0.05 / boundary)})
    worse = {c["second"] for c in contrasts if c["outcome"] == "better"}
    worse |= {c["first"] for c in contrasts if c["outcome"] == "worse"}
    remaining = [variant for variant in variants if variant not in worse]
    selected = max((a for a in arms if a["name"] in remaining), key=lambda a: (a["val"], -variants.index(a["name"])))
    validated = {run.folder.name for run in by.values() if run.epochs}
    best = max(selected["seeds"], key=lambda row: (row["run"] in validated, row["val"], -row["seed"]))
    level = contrasts[0]["level"] if contrasts else 0.95
    kept = ~np.any([read_test(by[variant, s], "copy") for variant in variants for s in seeds], axis=0)
    return {
        "budget": condition[0], "fraction": condition[1], "n": len(seeds),
        "without_copies": _without_copies(correct, labels, units, kept, (first, second), metric, margin, level),
        "evaluation": {"split": "test", "images": len(images), "units": len(sample.members)},
        "arms": arms, "primary": [first, second], "selected": selected["name"],
        "winner": remaining[0] if len(remaining) == 1 else None, "grid_rows": rows, "not_worse": remaining,
        "question": [leader, comparators[0]] if comparators else [first, second],
        "exported": {"run": best["run"], "seed": best["seed"]},
        **({"interim": interim} if declared_interim else {}),
        "contrasts": contrasts,
        "varied": [_dependence(field, contrasts) for field in by_value] if contrasts else [],
    }  # fmt: skip


def _without_copies(
    correct: dict[tuple[str, int], Any],
    labels: np.ndarray,
    units: np.ndarray,
    kept: np.ndarray,
    primary: tuple[str, str],
    metric: str,
    margin: float,
    level: float,
) -> dict[str, Any] | None:
    """Return the result on the test images without a copy in another split."""
    if kept.all():
        return None
    sample = sample_of(metric, labels[kept], units[kept])
    variants = list(dict.fromkeys(name for name, _ in correct))
    tables = {name: np.array([row[2][kept] for (n, _), row in correct.items() if n == name]) for name in variants}
    row = None
    if len(sample.members) > 1 and len(tables[primary[0]]) > 1:
        row = contrast(tables[primary[0]] - tables[primary[1]], level, margin, sample)
        row |= {"first": primary[0], "second": primary[1], "primary": True}
        row["p_adjusted"] = min(1.0, row["p"] * 0.05 / (1 - level))
    return {
        "copies": int((~kept).sum()), "images": int(kept.sum()), "contrast": row,
        "scores": (
            {name: float((table * sample.weights).mean()) for name, table in tables.items()} if kept.any() else {}
        ),
    }  # fmt: skip


def _value_pairs(protocol: dict[str, Any], primary: tuple[str, str]) -> list[dict[str, Any]]:
    """Return the primary pair at each value of every varied field in which its arms agree."""
    fields = []
    for field, values in protocol["vary"].items() if "lr" not in protocol["vary"] else ():
        key = field.replace("_", "-")
        held = [value for value in values if all(f"{key}={value}" in arm.split(",") for arm in primary)]
        if not held or len(values) < 2:
            continue
        rows = []
        for value in values:
            changed = [
                ",".join(f"{key}={value}" if part == f"{key}={held[0]}" else part for part in arm.split(","))
                for arm in primary
            ]
            rows.append({"value": value, "first": changed[0], "second": changed[1]})
        fields.append({"field": field, "values": rows})
    return fields


def _dependence(field: dict[str, Any], contrasts: list[dict[str, Any]]) -> dict[str, Any]:
    opposite = {"better": "worse", "worse": "better"}
    outcomes = set()
    for row in field["values"]:
        for c in contrasts:
            if (c["first"], c["second"]) == (row["first"], row["second"]):
                outcomes.add(c["outcome"])
            elif (c["second"], c["first"]) == (row["first"], row["second"]):
                outcomes.add(opposite.get(c["outcome"], c["outcome"]))
    if len(outcomes - {"undecided"}) > 1:
        return {**field, "dependence": "depends"}
    return {**field, "dependence": "undecided" if "undecided" in outcomes else "independent"}


def _primary(protocol: dict[str, Any], variants: list[str]) -> tuple[str, str]:
    if protocol["primary"]:
        first, second = protocol["primary"].split(" vs ")
        return first.strip(), second.strip()
    reference = [variant for variant in variants if variant.startswith("scratch")] or variants
    others = [variant for variant in variants if variant != reference[0]]
    return [*(variant for variant in others if not variant.startswith("scratch")), *others][0], reference[0]


def _boundaries(declared: list[int], total: float) -> list[float]:
    """Return the p-values of the boundary c / sqrt(share) of each analysis, with this total error.

    The error comes from the multivariate normal distribution, with an accuracy of about 1e-6.
    """
    shares = np.array(declared) / declared[-1]
    correlation = np.sqrt(np.minimum.outer(shares, shares) / np.maximum.outer(shares, shares))

    def error(c: float) -> float:
        edges, rng = c / np.sqrt(shares), np.random.default_rng(0)
        return 1 - float(
            stats.multivariate_normal.cdf(edges, cov=correlation, lower_limit=-edges, abseps=1e-6, rng=rng)
        )

    c = float(optimize.brentq(lambda c: error(c) - total, 1.5, 6, xtol=1e-6))
    return [float(2 * stats.norm.sf(c / math.sqrt(share))) for share in shares]


def _interim(d: np.ndarray, declared: list[int], error: float, sample: Sample) -> list[dict[str, Any]]:
    """Return p after each declared number of seeds, and its boundary."""
    analyses: list[dict[str, Any]] = []
    for n, boundary in zip(declared, _boundaries(declared, error) if declared else [], strict=True):
        if n <= len(d) and len(sample.members) >= 20 and not (analyses and analyses[-1]["stopped"]):
            p = contrast(d[:n], 0.95, 0.0, sample)["p"]
            analyses.append({"n": n, "p": p, "boundary": boundary, "stopped": p <= boundary})
    return analyses


def _pairs(variants: list[str], declared: tuple[str, str], more: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the primary pair, then all others (beyond five arms: with the reference, and `more`)."""
    first, second = declared
    others = [p for p in itertools.combinations(variants, 2) if set(p) != {first, second}]
    if len(variants) > 5:
        others = [p for p in others if second in p]
    others = [(b, a) if a == second else (a, b) for a, b in others]
    for pair in more:
        others += [pair] if set(pair) not in [{first, second}, *map(set, others)] else []
    return [(first, second), *others]


def _arm(name: str, runs: list[Run], test: np.ndarray, protocol: dict[str, Any]) -> dict[str, Any]:
    rows, metric, target = [], protocol["metric"], protocol["target"]
    for run, accuracy in zip(runs, test, strict=True):
        passed = [e["epoch"] for e in run.epochs if score(e, metric) >= target] if target else []
        until = run.epochs[: passed[0]] if passed else run.epochs
        rows.append(
            {"seed": run.seed, "run": run.folder.name, "state": run.state, "lr": run.rate, "test": float(accuracy),
             "val": stated_val(run, metric), "passed": bool(passed),
             "epochs": len(until), "images": until[-1]["step"] * run.batch if until else 0,
             "seconds": round(seconds(until), 3)}
        )  # fmt: skip
    val = np.array([row["val"] for row in rows])
    times = {}
    for unit in ("epochs", "images", "seconds"):
        reached = [row[unit] if row["passed"] else None for row in rows]
        median = median_time(reached)
        times[unit] = {"median": median, "reached": sum(row["passed"] for row in rows), "n": len(rows)}
    return {
        "name": name, "val": float(val.mean()), "test": float(test.mean()),
        "test_sd": float(np.sqrt(((test - test.mean()) ** 2).sum() / (len(test) - 1))) if len(test) > 1 else None,
        "optimism": float(val.mean() - test.mean()), "diverged": [r["seed"] for r in rows if r["state"] == "diverged"],
        "to_target": times if target else None,
        "too_augmented": sorted(run.seed for run in runs if too_augmented(run)),
        "seeds": [{key: row[key] for key in ("seed", "run", "state", "lr", "val", "test")} for row in rows],
    }  # fmt: skip


def too_augmented(run: Run) -> bool:
    """Return whether val stayed 7 percentage points above train in the last three of at least five epochs."""
    recipe = run.recipe
    if len(run.epochs) < 5 or run.epochs[-1]["val"]["n"] < 100 or any(recipe[k] for k in ("mixup", "cutmix", "ema")):
        return False
    gaps = [line["val"]["accuracy"] - line["train"]["accuracy"] for line in run.epochs[-3:]]
    return min(gaps) >= 0.07 and (recipe["crop"] != 1 or recipe["jitter"] > 0)


# Sentences


def differences(stated: Any, expected: Any, where: str = "", *, boundary: float = 1e-9) -> list[str]:
    """Return where verdict.json differs from the recomputed fields; other fields are ignored.

    `boundary` is the relative tolerance of values that depend on the boundaries of interim analyses.
    """
    again = partial(differences, boundary=boundary)
    if isinstance(expected, dict):
        if not isinstance(stated, dict):
            return [f"{where}: {stated!r} is not {expected!r}"]
        return [d for key in expected for d in again(stated.get(key, "missing"), expected[key], f"{where}.{key}")]
    if isinstance(expected, list):
        if not isinstance(stated, list) or len(stated) != len(expected):
            return [f"{where}: {stated!r} is not {expected!r}"]
        return [d for i, pair in enumerate(zip(stated, expected, strict=True)) for d in again(*pair, f"{where}[{i}]")]
    are_numbers = isinstance(expected, float) and isinstance(stated, (int, float))
    abs_tol = 0.06 if where.endswith(".seconds") else 1e-9  # the study rounds seconds to 0.1
    rel_tol = boundary if re.match(r"\.interim|\.contrasts", where) else 1e-9
    if stated == expected or (are_numbers and math.isclose(stated, expected, rel_tol=rel_tol, abs_tol=abs_tol)):
        return []
    return [f"{where}: {stated!r} is not {expected!r}"]


class Named(NamedTuple):
    """A recomputed value that a sentence may show, in the unit of the sentence; a count is an int."""

    name: str
    value: float


def _of_pair(row: dict[str, Any], sign: int) -> list[Named]:
    low, high = (row["low"], row["high"]) if sign > 0 else (-row["high"], -row["low"])
    named = [Named("mean", 100 * sign * row["mean"]), Named("low", 100 * low), Named("high", 100 * high),
             Named("level", 100 * row["level"]), Named("n", row["n"]), Named("m", row["m"]), Named("g", row["g"]),
             Named("wins", row["wins"] if sign > 0 else row["losses"]), Named("p_adjusted", row["p_adjusted"]),
             Named("equal seeds", row["n"] - row["wins"] - row["losses"]),
             Named("half_width_infinite_seeds", 100 * row["half_width_infinite_seeds"]),
             Named("half width", 50 * (row["high"] - row["low"]))]  # fmt: skip
    for need in row["sample_sizes"]:
        for what in ("seeds", "units"):
            named += [Named(f"need {what}", limit) for limit in need[what] or () if limit is not None]
        named.append(Named("needed half width", 100 * need["half_width"]))
    return named


def _shown_pair(verdict: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Return the headline's contrast and its sign: the better arm is first, of equal ones the exported, or first."""
    sets = [{c["first"], c["second"]} for c in verdict["contrasts"]]
    row = verdict["contrasts"][sets.index(set(verdict["question"]))]
    if abs(row["mean"]) <= 1e-12:
        preferred = verdict["selected"] if verdict["selected"] in verdict["question"] else verdict["question"][0]
        return row, 1 if row["first"] == preferred else -1
    return row, 1 if row["mean"] > 0 else -1


def explanations(verdict: dict[str, Any]) -> dict[str, list[Named]]:
    """Return for each kind of sentence the values that it may show."""
    arms = {arm["name"]: arm for arm in verdict["arms"]}
    margin = Named("margin", 100 * verdict["margin"])
    chosen = arms[verdict["selected"]]
    budget = re.match(r"[\d.]+", str(verdict["budget"]))
    values = {
        "notes": [Named(key, 100 * chosen[key]) for key in ("val", "test")],
        "limits": [Named("budget", float(budget[0]) if budget else 0.0), Named("fraction", 100 * verdict["fraction"])],
    }
    values["rows"] = [Named("val", 100 * arms[best["variant"]]["val"]) for best in verdict["grid_rows"]]
    values["interim"] = [
        Named(key, analysis[key]) for analysis in verdict.get("interim", []) for key in ("n", "p", "boundary")
    ]
    values["next_steps"] = [
        Named("missing seeds", 3 - verdict["n"]),
        Named("fewest seeds", 3),
        Named("fewest units", 20),
        Named("n", verdict["n"]),
    ]
    values["budgets"] = []
    values["varied"] = []
    for row in (row for field in verdict["varied"] for row in field["values"]):
        values["varied"] += [Named("value", float(row["value"]))] if re.fullmatch(r"[\d.]+", row["value"]) else []
        for other in verdict["contrasts"]:
            if {other["first"], other["second"]} == {row["first"], row["second"]}:
                values["varied"] += _of_pair(other, 1 if other["mean"] >= 0 else -1)
    values["notes"] += [Named("contrasts", len(verdict["contrasts"])), Named("error of all contrasts", 5)]
    values["notes"].append(Named("optimism", 100 * abs(chosen["optimism"])))
    values["notes"] += [Named("affected", len(arm["too_augmented"])) for arm in verdict["arms"]]
    values["notes"] += [
        Named("gap", 7.0),
        Named("budget", float(budget[0]) if budget else 0.0),
        Named("n", verdict["n"]),
    ]
    values["notes"] += [Named("diverged seed", seed) for arm in verdict["arms"] for seed in arm["diverged"]]
    for group in verdict["search"]:
        if group["budget"] == verdict["budget"]:
            values["notes"] += [Named("edge", arm["selected"]) for arm in group["arms"] if arm["at_edge"]]
            values["notes"] += [Named("group", group["seed"])] if group["seed"] is not None else []
    values["notes"] += [Named("known images", exposure["images"] or 0) for exposure in verdict["exposure"].values()]
    values["notes"] += [Named("evaluation images", verdict["evaluation"]["images"])]
    if result := verdict["without_copies"]:
        values["notes"] += [Named(key, result[key]) for key in ("copies", "images")]
        values["notes"] += [Named("score without copies", 100 * score) for score in result["scores"].values()]
        values["notes"] += _of_pair(result["contrast"], 1) if result["contrast"] else []
    values["notes"] += [
        Named("known classes", max(0, len(exposure["classes"]) - 5)) for exposure in verdict["exposure"].values()
    ]
    if verdict["contrasts"]:
        row, sign = _shown_pair(verdict)
        shown = _of_pair(row, sign)
        times = [arms[row[side]]["to_target"]["epochs"] for side in ("first", "second")] if verdict["target"] else []
        values |= {key: [*shown, margin] for key in ("evidence", "width")}
        values["next_steps"] += shown
        values["notes"] += [Named("n", row["n"]), Named("least sign-flip p", 2 / 2 ** row["n"])]
        values["notes"] += [Named("sign-flip p", row["p_sign_flip"])] if row["p_sign_flip"] is not None else []
        for condition in verdict["conditions"]:
            values["budgets"].append(Named("budget", float(str(condition["budget"])[:-2])))
            for other in condition["contrasts"]:
                if {other["first"], other["second"]} == {row["first"], row["second"]}:
                    values["budgets"] += _of_pair(other, 1 if other["mean"] >= 0 else -1)
        values["time"] = [Named("target", 100 * verdict["target"])]
        values["time"] += [Named(k, t[k]) for t in times for k in ("median", "reached", "n") if t[k] is not None]
    return values


def of_others(text: str, verdict: dict[str, Any], words: dict[str, str]) -> list[Named]:
    """Return the values of the contrast in a line of the family, found by the names of its two arms."""
    for row in verdict["contrasts"]:
        for sign, (a, b) in ((1, (row["first"], row["second"])), (-1, (row["second"], row["first"]))):
            if re.match(rf"(undecided between )?{re.escape(words[a])} [a-z ]+ {re.escape(words[b])}: [+-]?\d", text):
                return _of_pair(row, sign)
    return []


def in_words(name: str) -> str:
    """Return an arm's name in a sentence: `file:a+lp-ft@adam` is "a (head first, then fine-tuned, with adam)"."""
    name, _, varied = name.partition(",")
    name, _, optimizer = name.partition("@")
    start, *parts = re.sub(r"^(file|run):", "", name).split("+")
    tunings = {"frozen": "frozen", "lp-ft": "head first, then fine-tuned"}
    words = [tunings.get(p) or re.sub(r"^stages:(\d+)$", r"last \1 stages fine-tuned", p) for p in parts]
    words = [s if s in tunings.values() or s.startswith("last ") else f"with the head {s}" for s in words]
    if all(s.startswith("with the head") for s in words) and not start.startswith(("scratch", "stats:")):
        words = ["fine-tuned", *words]
    words += [*([f"with {optimizer}"] if optimizer else []), *filter(None, varied.split(","))]
    return f"{start} ({', '.join(words)})" if words else start


NUMBER = re.compile(r"[+-]?\d(?:[\d,]*\d)?(?:\.\d+)?(?:e[+-]?\d+)?")


def explained(text: str, candidates: list[Named], names: list[str]) -> list[tuple[str, str, float | None]]:
    """Return each number of a sentence, the name and value that it is the rounding of, or None as the value."""
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(re.escape(name), "·", text, flags=re.IGNORECASE)
    rows: list[tuple[str, str, float | None]] = []
    for shown in NUMBER.findall(text):
        plain = shown.replace(",", "")
        mantissa, _, power = plain.partition("e")
        step = 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))
        fits = [named for named in candidates if abs(float(plain) - named.value) <= step / 2 * (1 + 1e-9)]
        fits = [
            named for named in fits if isinstance(named.value, float) or "." not in plain
        ]  # a count has no decimals
        fits.sort(key=lambda named: abs(float(plain) - named.value))
        rows.append((shown, fits[0].name, fits[0].value) if fits else (shown, "nothing explains it", None))
    return rows


def _read_labels(labels: dict[str, Any] | None) -> list[float]:
    """Return the numbers of `labels` in verdict.json, which tests/analysis/test_data_efficiency.py verifies."""
    if labels is None:
        return []
    shares = [
        labels["level"],
        *(row["fraction"] for row in labels["equivalences"]),
        *((labels["crossover"] or {}).values()),
    ]
    factors = [
        row[key] for row in labels["equivalences"] for key in ("factor", "low", "high", "min_factor", "max_factor")
    ]
    return [
        labels["n"],
        *(100.0 * share for share in shares if share is not None),
        *(f for f in factors if f is not None),
    ]


def check(study: Path) -> tuple[list[str], list[tuple[str, str, str, float | None]]]:
    """Return differing fields of verdict.json, and every number of its sentences with its origin."""
    verdict, expected = json.loads((study / "verdict.json").read_text()), recompute(study)
    words = {arm["name"]: in_words(arm["name"]) for arm in expected["arms"]}
    candidates, rows = explanations(expected), []
    candidates["labels"] = [Named("read from verdict.json", value) for value in _read_labels(verdict.get("labels"))]
    starts = [re.split("[+@,]", name)[0].removeprefix("file:") for name in words]
    classes = [name for exposure in expected["exposure"].values() for name in exposure["classes"]]
    candidates["notes"] += [Named("overlap", overlap["count"]) for overlap in verdict["overlaps"]]
    examples = [name for overlap in verdict["overlaps"] for name in overlap["examples"]]
    names = [*words.values(), verdict["network"], *starts, *classes, *examples]
    everything = [named for values in candidates.values() for named in values]
    for kind, texts in verdict["sentences"].items():
        for text in [texts] if isinstance(texts, str) else texts or []:
            values = of_others(text, expected, words) if kind == "others" else candidates.get(kind, everything)
            rows += [(kind, *row) for row in explained(text, values, names)]
    return differences(verdict, expected, boundary=1e-3 if "interim" in expected else 1e-9), rows


def main(study: Path) -> int:
    wrong, rows = check(study)
    for kind, shown, name, value in rows:
        print(f"{kind:9} {shown:>12}  {'' if value is None else f'{value:.6g}':>12}  {name}")
    for difference in wrong:
        print(f"verdict.json {difference}")
    faults = len(wrong) + sum(value is None for *_, value in rows)
    print(f"{len(rows)} numbers in the sentences, {faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
