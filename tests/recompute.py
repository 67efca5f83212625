"""Everything that a study's verdict says, computed a second time from its records.

    python tests/recompute.py STUDY

reads `study.toml`, `cells.json`, and of each run `plan.json`, `result.json`, `metrics.jsonl` and
`evidence/predictions.npz`. From these it computes every field of `verdict.json` that the sentences rest on, and
explains every number in a sentence as the rounding of one of them. It knows headstart's files and formulas
(docs/formats.md, docs/design.md) and imports nothing of headstart. Exits with 1 where a field or a number is not what
the records say.
"""

import itertools
import json
import math
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, stats

MOST = 100_000  # seeds or images; a need beyond is told as none
EXTENSIONS = 2  # points that may be added to the grid


class Run(NamedTuple):
    """One run as its files tell it."""

    cell: str
    stage: str
    condition: tuple[str, float]  # budget, fraction
    seed: int
    rate: float
    done: bool
    state: str
    epochs: list[dict[str, Any]]
    batch: int
    rung: int  # epochs of its rung
    folder: Path


def rung_of(plan: dict[str, Any]) -> int:
    """One epoch, or for lp-ft the first one of which at least half is fine-tuning, but shorter than the run."""
    if plan["arm"]["tuning"] != "lp-ft":
        return 1
    epoch = math.ceil(plan["facts"]["counts"]["train"] / plan["recipe"]["batch_size"])
    length = [(float(t[:-2]), t[-2:]) if t[-1] != "%" else (float(t[:-1]), "%")
              for t in (plan["recipe"]["epochs"], plan["recipe"]["head_epochs"])]  # fmt: skip
    steps = [int(value * {"ep": epoch, "st": 1}.get(unit, 0) + 0.5) for value, unit in length]
    head = int(length[1][0] / 100 * steps[0] + 0.5) if length[1][1] == "%" else steps[1]
    last = math.ceil(steps[0] / epoch) - 1
    return next((k for k in range(1, last) if 2 * (k * epoch - head) >= epoch), max(last, 1))


def runs_of(place: Path) -> list[Run]:
    found = []
    for path in sorted(place.glob("*/plan.json")):
        content, result = json.loads(path.read_text()), path.parent / "result.json"
        state = json.loads(result.read_text())["state"] if result.exists() else ""
        lines = map(json.loads, (path.parent / "metrics.jsonl").read_text().splitlines())
        about, plan = content["study"], content["plan"]
        found.append(
            Run(about["variant"], about["stage"], (about["budget"], about["fraction"]), plan["seeding"]["seed"],
                plan["recipe"]["lr"], state in ("finished", "diverged"), state,
                [line for line in lines if line["kind"] == "epoch"], plan["recipe"]["batch_size"], rung_of(plan),
                path.parent)
        )  # fmt: skip
    return found


def score(line: dict[str, Any], metric: str) -> float:
    """An epoch's metric on val, from its confusion [true][predicted]."""
    table = np.array(line["confusion"], dtype=float)
    if metric == "accuracy":
        return float(np.trace(table) / table.sum())
    return float(np.mean([row[k] / row.sum() for k, row in enumerate(table) if row.sum()]))


def best_epoch(run: Run) -> dict[str, Any] | None:
    """The first of the highest accuracy on val, of equals the one with the lower loss."""
    return max(run.epochs, key=lambda e: (e["val"]["accuracy"], -e["val"]["loss"]), default=None)


def val_score(run: Run, metric: str) -> float:
    best = best_epoch(run)
    return 0.0 if best is None else score(best, metric)


def stated_val(run: Run, metric: str) -> float:
    """The best epoch's; of a run that diverged before one was validated, that of the answers that stand for it."""
    if run.epochs:
        return val_score(run, metric)
    _, labels, right = answers(run, "val")
    return float(np.mean([right[labels == k].mean() for k in np.unique(labels)] if metric != "accuracy" else right))


def answers(run: Run, split: str = "test") -> tuple[list[str], np.ndarray, np.ndarray]:
    """Of the images of a split: ids, labels, and who was right."""
    with np.load(run.folder / "artifacts" / "predictions.npz", allow_pickle=False) as arrays:
        here = arrays["split"] == split
        right = arrays["logits"][here].argmax(1) == arrays["label"][here]
        return arrays["image"][here].tolist(), arrays["label"][here], right.astype(float)


def seconds(epochs: list[dict[str, Any]]) -> float:
    return float(sum(e["speed"]["train_seconds"] + e["speed"]["val_seconds"] for e in epochs))


# The learning rates


def searched(runs: list[Run], protocol: dict[str, Any], cells: list[str], seeds: list[int]) -> dict[str, Any]:
    """What a search of these seeds chose: the best mean on val of the rates that went on after their rung.

    The points that were added to the grid are read from the records; where to look for them is found again.
    """
    metric, points = protocol["metric"], sorted(protocol["grid"])
    first = {(r.cell, r.rate): r.epochs[: r.rung][r.rung - 1 :] for r in runs if r.seed == seeds[0]}
    whole = {(r.cell, r.rate, r.seed): r for r in runs if r.done}
    recorded = sorted({rate for _, rate in first})

    def rung(cell: str, rate: float) -> tuple[float, float, float]:
        line = first[cell, rate]
        return (score(line[0], metric), -line[0]["val"]["loss"], -rate) if line else (-1.0, 0.0, -rate)

    means: dict[str, dict[float, float]] = {cell: {} for cell in cells}
    for extension in range(EXTENSIONS + 1):
        edges = {}
        for cell in cells:
            for rate in sorted(points, key=lambda rate: rung(cell, rate), reverse=True)[: protocol["survivors"]]:
                means[cell][rate] = float(np.mean([val_score(whole[cell, rate, seed], metric) for seed in seeds]))
            best = max(means[cell], key=lambda rate: (means[cell][rate], -rate))
            if best in (points[0], points[-1]) and all(whole[cell, best, s].state == "finished" for s in seeds):
                edges[cell] = best
        if not edges or extension == EXTENSIONS:
            break
        beyond = [r for r in recorded if r < points[0]][-1:] if points[0] in edges.values() else []
        beyond += [r for r in recorded if r > points[-1]][:1] if points[-1] in edges.values() else []
        points = sorted([*points, *beyond])
    chosen = {cell: max(found, key=lambda rate: (found[rate], -rate)) for cell, found in means.items()}
    return {"chosen": chosen, "edges": edges, "grid": points}


# The statistics


def squares(d: np.ndarray) -> tuple[float, float, float]:
    """A of rows, B of columns, C of what is left, of an array [n, m]."""
    n, m = d.shape
    row, column, mean = d.mean(1, keepdims=True), d.mean(0, keepdims=True), d.mean()
    a = m * float(((row - mean) ** 2).sum()) / (n - 1)
    b = n * float(((column - mean) ** 2).sum()) / (m - 1)
    return a, b, float(((d - row - column + mean) ** 2).sum()) / ((n - 1) * (m - 1))


def error_and_df(a: Any, b: Any, c: Any, n: Any, m: Any, most: float) -> tuple[Any, Any]:
    """The standard error of the mean and its degrees of freedom; n or m may be arrays.

    It is never below that of one image in m + 2, which counts `most` (Agresti & Min 2005).
    """
    below = np.asarray(a**2 / (n - 1) + b**2 / (m - 1) + c**2 / ((n - 1) * (m - 1)))
    least = np.minimum(n, m) - 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(below > 0, np.maximum((a + b - c) ** 2 / below, least), least)
    return np.maximum(np.sqrt(np.maximum(a + b - c, c) / (n * m)), most / (m + 2)), df


def needed(a: float, b: float, c: float, n: int, m: int, level: float, wanted: float, most: float) -> dict[str, Any]:
    """From how many to how many seeds, or images, A being anywhere in its 80 % interval: every number is tried."""
    of_images = max(b - c, 0) / n
    found: dict[str, list[int | None]] = {"seeds": [], "images": []}
    for q in (0.9, 0.1):
        of_seeds = max(max(a * (n - 1) / stats.chi2.ppf(q, n - 1), c) - c, 0) / m
        for name, have in (("seeds", n), ("images", m)):
            k = np.arange(have + 1, MOST + 1)
            rows, columns = (k, np.full_like(k, m)) if name == "seeds" else (np.full_like(k, n), k)
            error, df = error_and_df(c + columns * of_seeds, c + rows * of_images, c, rows, columns, most)
            enough = (stats.t.ppf((1 + level) / 2, df) * error <= wanted) & (hidden(columns, level, most) <= 2 * wanted)
            first = np.flatnonzero(enough)
            found[name].append(int(k[first[0]]) if len(first) else None)
    return {"half_width": wanted} | {name: None if low is None else [low, high] for name, (low, high) in found.items()}


def hidden(m: Any, level: float, most: float) -> Any:
    """The largest difference that is likely enough where m images show none: (1 - x)^m is half of what level leaves."""
    return most * -np.expm1(np.log((1 - level) / 2) / m)


def contrast(d: np.ndarray, level: float, margin: float, most: float) -> dict[str, Any]:
    """One pair, from who was right and who was not [n, m] (weighted already where the metric is balanced)."""
    n, m = d.shape
    a, b, c = squares(d)
    error, df = map(float, error_and_df(a, b, c, n, m, most))
    mean, seeds = float(d.mean()), d.mean(1)
    half = float(stats.t.ppf((1 + level) / 2, df)) * error
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    outcome = "undecided"
    if n >= 3:
        outcome = "better" if low > 0 else "worse" if high < 0 else "undecided"
        outcome = "equal" if -margin <= low and high <= margin and hidden(m, level, most) <= margin else outcome
    of_images = max((b - c) / (n * m), (most / (m + 2)) ** 2)
    wanted = margin if half > margin else margin / 2
    flips = [abs(float(np.dot(signs, seeds))) for signs in itertools.product((1, -1), repeat=n)] if n <= 20 else []
    near = {"better": low < margin, "worse": high > -margin}.get(outcome, False)
    return {
        "outcome": outcome, "by_less_than_margin": near, "mean": mean, "low": low, "high": high, "level": level,
        "p": float(2 * stats.t.sf(abs(mean) / error, df)),
        "p_sign_flip": float(np.mean([f >= abs(seeds.sum()) - 1e-12 for f in flips])) if flips else None,
        "endless_seeds": min(1.0, float(stats.t.ppf((1 + level) / 2, m - 1)) * math.sqrt(of_images)),
        "degrees": df, "wins": int((seeds > 1e-12).sum()), "losses": int((seeds < -1e-12).sum()), "n": n, "m": m,
        "need": needed(a, b, c, n, m, level, wanted, most) if outcome == "undecided" and n >= 3 else None,
    }  # fmt: skip


def stepped_down(p: list[float]) -> list[float]:
    """Holm: the largest of (k - j) p_(j) over the p-values up to one's own."""
    return [min(1.0, max((sum(other >= q for other in p)) * q for q in p if q <= mine)) for mine in p]


def median_time(times: list[float | None]) -> float | None:
    """The first time by which half of all runs have reached the target; those that never did (None) are counted too."""
    known = sorted(t for t in times if t is not None)
    return next((time for time in known if 2 * sum(t <= time for t in known) >= len(times)), None)


# The study


def recompute(study: Path) -> dict[str, Any]:
    """The fields of verdict.json that a sentence can rest on."""
    declared = tomllib.loads((study / "study.toml").read_text())
    protocol = declared["protocol"]
    main = [run for run in runs_of(study) if run.stage == "main" and run.done]
    cells = declared_cells(protocol)
    search = _search(study, protocol, cells, main)
    budgets = protocol["budgets"] or [declared["plan"]["recipe"]["epochs"]]
    wanted = [(budget, fraction) for budget in budgets for fraction in sorted(protocol["fractions"])]
    conditions = []
    for condition in wanted:
        here = [run for run in main if run.condition == condition]
        if here:
            looks = protocol.get("interim", []) if condition == wanted[-1] else []
            conditions.append(_condition(here, condition, protocol, cells, search, looks))
    places = {"search": study / "search", "main": study, "source": study / "sources"}
    cost = {stage: runs_of(place) for stage, place in places.items()}
    return {
        **conditions[-1],
        "margin": float(protocol["margin"].removesuffix("pt")) / 100,
        "target": protocol["target"],
        "conditions": conditions[:-1],
        "search": search,
        "known": {
            cell: {"classes": met["known_classes"], "images": met["known_images"]}
            for cell, met in json.loads((study / "cells.json").read_text()).items()
        },
        "cost": {
            stage: {"runs": len(runs), "images": sum(r.epochs[-1]["step"] * r.batch for r in runs if r.epochs),
                    "seconds": sum(seconds(r.epochs) for r in runs)}
            for stage, runs in cost.items()
        },
    }  # fmt: skip


def declared_cells(protocol: dict[str, Any]) -> list[str]:
    """The names of the arms, crossed with the values of `vary`, in the declared order."""
    found = []
    for arm in protocol["arms"]:
        short = re.sub(r"(?<=:)[^:]*/|[.](safetensors|pth|pt)(?=[+@]|$)|[+](full|linear)(?=[+@]|$)", "", arm)
        for values in itertools.product(*protocol["vary"].values()):
            varied = [f"{key.replace('_', '-')}={v}" for key, v in zip(protocol["vary"], values, strict=True)]
            found.append(",".join([short, *varied]))
    return found


def _rows(protocol: dict[str, Any], cells: Iterable[str]) -> list[dict[str, str]]:
    """Cells by their learning rate, for each row of cells that differ in it alone."""
    rows: dict[str, dict[str, str]] = {}
    for cell in cells:
        for rate in protocol["vary"].get("lr", ()):
            parts = cell.split(",")
            if f"lr={rate}" in parts:
                rows.setdefault(",".join(part for part in parts if part != f"lr={rate}"), {})[rate] = cell
    return list(rows.values())


def _grid_rows(protocol: dict[str, Any], val: dict[str, float]) -> list[dict[str, Any]]:
    """The best of each row (of equals the first declared), and whether it is the lowest or the highest rate of it."""
    rates = sorted(protocol["vary"].get("lr", ()), key=float)
    found = []
    for row in _rows(protocol, val):
        best = next(
            rate for rate in protocol["vary"]["lr"] if val[row[rate]] == max(val[cell] for cell in row.values())
        )
        edge = {rates[0]: "low", rates[-1]: "high"}.get(best) if len(rates) > 1 else None
        found.append({"variant": row[best], "lr": float(best), "edge": edge})
    return found


def _rivals(chosen: str, protocol: dict[str, Any], arms: list[dict[str, Any]]) -> list[str]:
    """The best of the rows without the chosen cell, or the next best rate where there is one row, by val."""
    val = {arm["name"]: arm["val"] for arm in arms}
    rows = _rows(protocol, val)
    groups = [[cell] for cell in rows[0].values() if cell != chosen] if len(rows) == 1 else [
        list(row.values()) for row in rows if chosen not in row.values()
    ]  # fmt: skip
    best = sorted((sorted(group, key=lambda cell: -val[cell])[0] for group in groups), key=lambda cell: -val[cell])
    return best[:1] if len(rows) == 1 else best


def _search(study: Path, protocol: dict[str, Any], cells: list[str], main: list[Run]) -> dict[str, Any]:
    runs = runs_of(study / "search") if (study / "search").is_dir() else []
    found: dict[str, Any] = {"chosen": {}, "edges": {}, "grid": {}} if runs else {}
    for budget in {run.condition[0] for run in runs}:
        here = [run for run in runs if run.condition[0] == budget]
        seeds = sorted({run.seed for run in here})
        groups = {"shared": seeds}
        if protocol["search"] == "per-seed":
            groups = {f"seed {seed}": [seed] for seed in seeds}
        for group, of_group in groups.items():
            for key, value in searched([r for r in here if r.seed in of_group], protocol, cells, of_group).items():
                found[key].setdefault(budget, {})[group] = value
    for run in main if runs else []:
        group = f"seed {run.seed}" if protocol["search"] == "per-seed" else "shared"
        if run.rate != found["chosen"][run.condition[0]][group][run.cell]:
            raise SystemExit(f"{run.folder} was trained with {run.rate:g}, which its search did not choose")
    return found


def _condition(
    runs: list[Run],
    about: tuple[str, float],
    protocol: dict[str, Any],
    cells: list[str],
    search: dict[str, Any],
    declared_looks: list[int],
) -> dict[str, Any]:
    metric, margin = protocol["metric"], float(protocol["margin"].removesuffix("pt")) / 100
    by = {(run.cell, run.seed): run for run in runs}
    seeds = sorted(s for s in {r.seed for r in runs} if all((cell, s) in by for cell in cells))
    said = {key: answers(run) for key, run in by.items() if key[1] in seeds}
    images, labels, _ = said[cells[0], seeds[0]]
    if any(other[0] != images for other in said.values()):
        raise SystemExit("the runs were judged on different images")
    classes, counts = np.unique(labels, return_counts=True)
    weight = {k: len(labels) / (len(classes) * count) for k, count in zip(classes, counts, strict=True)}
    factor = np.array([weight[k] if metric == "balanced" else 1.0 for k in labels])
    tables = {cell: np.array([said[cell, seed][2] * factor for seed in seeds]) for cell in cells}
    arms = [_arm(cell, [by[cell, s] for s in seeds], tables[cell].mean(1), protocol) for cell in cells]
    for arm in arms:
        arm["rates"] = {g: c[arm["name"]] for g, c in search.get("chosen", {}).get(about[0], {}).items()}
    chosen = max(arms, key=lambda arm: (arm["val"], -cells.index(arm["name"])))
    there = {run.folder.name for run in by.values() if run.epochs}
    best = max(chosen["seeds"], key=lambda row: (row["run"] in there, row["val"], -row["seed"]))
    first, second = _primary(protocol, cells)
    rows = _grid_rows(protocol, {arm["name"]: arm["val"] for arm in arms})
    rivals = [] if protocol["primary"] else _rivals(chosen["name"], protocol, arms)
    most = float(factor.max())
    looks = _looks(tables[first] - tables[second], declared_looks, most)
    level = 1 - looks[-1]["boundary"] if looks else 0.95
    rival = (rivals or [first if chosen["name"] == second else second])[0]
    pairs = [(chosen["name"], r) for r in rivals]
    contrasts = _contrasts(tables, cells, (first, second), pairs, margin, level, most) if len(seeds) > 1 else []
    return {
        "budget": about[0], "fraction": about[1], "n": len(seeds), "evaluation": {"split": "test", "images": len(images)},
        "arms": arms, "primary": [first, second], "chosen": chosen["name"],
        "winner": _winner(contrasts, {chosen["name"], rival}), "grid_rows": rows, "rival": rival,
        "exported": {"run": best["run"], "seed": best["seed"]},
        **({"interim": looks} if declared_looks else {}),
        "contrasts": contrasts,
    }  # fmt: skip


def _winner(contrasts: list[dict[str, Any]], pair: set[str]) -> str | None:
    """The one of the pair that beat the other, unless some arm beat it."""
    won = {(c["first"], c["second"]) for c in contrasts if c["outcome"] == "better"}
    won |= {(c["second"], c["first"]) for c in contrasts if c["outcome"] == "worse"}
    best = [winner for winner, loser in won if {winner, loser} == pair]
    return best[0] if best and best[0] not in {loser for _, loser in won} else None


def _primary(protocol: dict[str, Any], cells: list[str]) -> tuple[str, str]:
    if protocol["primary"]:
        first, second = protocol["primary"].split(" vs ")
        return first.strip(), second.strip()
    reference = [cell for cell in cells if cell.startswith("scratch")] or cells
    others = [cell for cell in cells if cell != reference[0]]
    return [*(cell for cell in others if not cell.startswith("scratch")), *others][0], reference[0]


def _looks(d: np.ndarray, declared: list[int], most: float) -> list[dict[str, Any]]:
    """p after each declared number of seeds, and the boundary c / sqrt(share) that all looks cross in 5 % by chance.

    The chance comes from the multivariate normal distribution, whose numbers are good to about 1e-5.
    """
    if not declared:
        return []
    shares = np.array(declared) / declared[-1]
    together = np.sqrt(np.minimum.outer(shares, shares) / np.maximum.outer(shares, shares))

    def seeding(c: float) -> float:
        edges, rng = c / np.sqrt(shares), np.random.default_rng(0)
        return 1 - float(stats.multivariate_normal.cdf(edges, cov=together, lower_limit=-edges, abseps=1e-6, rng=rng))

    c = float(optimize.brentq(lambda c: seeding(c) - 0.05, 1.5, 4, xtol=1e-6))
    found: list[dict[str, Any]] = []
    for n, share in zip(declared, shares, strict=True):
        if n <= len(d) and not (found and found[-1]["stopped"]):
            p, boundary = contrast(d[:n], 0.95, 0.0, most)["p"], float(2 * stats.norm.sf(c / math.sqrt(share)))
            found.append({"n": n, "p": p, "boundary": boundary, "stopped": p <= boundary})
    return found


def _contrasts(
    tables: dict[str, np.ndarray],
    cells: list[str],
    declared: tuple[str, str],
    more: list[tuple[str, str]],
    margin: float,
    primary: float,
    most: float,
) -> list[Any]:
    """The primary pair at its own level, then all others (beyond five arms, each with the reference, and `more`)."""
    first, second = declared
    others = [p for p in itertools.combinations(cells, 2) if set(p) != {first, second}]
    if len(cells) > 5:
        others = [p for p in others if second in p]
    others = [(b, a) if a == second else (a, b) for a, b in others]
    others += [pair for pair in more if set(pair) not in [{first, second}, *map(set, others)]]
    found = []
    for number, pair in enumerate([(first, second), *others]):
        level = primary if number == 0 else 1 - (1 - primary) / len(others)
        found.append(contrast(tables[pair[0]] - tables[pair[1]], level, margin, most))
        found[-1] |= {"first": pair[0], "second": pair[1], "primary": number == 0}
    for one, p in zip(found, [found[0]["p"], *stepped_down([f["p"] for f in found[1:]])], strict=True):
        one["p_adjusted"] = p
    return found


def _arm(name: str, runs: list[Run], test: np.ndarray, protocol: dict[str, Any]) -> dict[str, Any]:
    rows, metric, target = [], protocol["metric"], protocol["target"]
    for run, judged in zip(runs, test, strict=True):
        passed = [e["epoch"] for e in run.epochs if score(e, metric) >= target] if target else []
        until = run.epochs[: passed[0]] if passed else run.epochs
        rows.append(
            {"seed": run.seed, "run": run.folder.name, "state": run.state, "lr": run.rate, "test": float(judged),
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
        "seeds": [{key: row[key] for key in ("seed", "run", "state", "lr", "val", "test")} for row in rows],
    }  # fmt: skip


# What was said


def differences(said: Any, found: Any, where: str = "") -> list[str]:
    """Where verdict.json is not what was recomputed; only what was recomputed is looked at."""
    if isinstance(found, dict):
        if not isinstance(said, dict):
            return [f"{where}: {said!r} is not {found!r}"]
        return [d for key in found for d in differences(said.get(key, "missing"), found[key], f"{where}.{key}")]
    if isinstance(found, list):
        if not isinstance(said, list) or len(said) != len(found):
            return [f"{where}: {said!r} is not {found!r}"]
        return [d for i, pair in enumerate(zip(said, found, strict=True)) for d in differences(*pair, f"{where}[{i}]")]
    both = isinstance(found, float) and isinstance(said, (int, float))
    slack = 0.06 if where.endswith(".seconds") else 1e-9  # the study's seconds are rounded to 0.1
    near = 1e-4 if re.match(r"\.looks|\.contrasts\[0\]", where) else 1e-9  # a boundary's own accuracy
    if said == found or (both and math.isclose(said, found, rel_tol=near, abs_tol=slack)):
        return []
    return [f"{where}: {said!r} is not {found!r}"]


class Named(NamedTuple):
    """A recomputed value that a sentence may show, in the unit in which it is shown; a count is an int."""

    name: str
    value: float


def _of_pair(found: dict[str, Any], sign: int) -> list[Named]:
    low, high = (found["low"], found["high"]) if sign > 0 else (-found["high"], -found["low"])
    named = [Named("mean", 100 * sign * found["mean"]), Named("low", 100 * low), Named("high", 100 * high),
             Named("level", 100 * found["level"]), Named("n", found["n"]), Named("m", found["m"]),
             Named("wins", found["wins"] if sign > 0 else found["losses"]), Named("p_adjusted", found["p_adjusted"]),
             Named("level seeds", found["n"] - found["wins"] - found["losses"]),
             Named("endless_seeds", 100 * found["endless_seeds"]),
             Named("half width", 50 * (found["high"] - found["low"]))]  # fmt: skip
    need = found["need"] or {}
    for what in ("seeds", "images"):
        named += [Named(f"need {what}", limit) for limit in need.get(what) or () if limit is not None]
    return [*named, Named("needed half width", 100 * need["half_width"])] if need else named


def _shown_pair(found: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The contrast of the headline, and whether it is turned round: who is ahead comes first, of equals the chosen."""
    sets = [{c["first"], c["second"]} for c in found["contrasts"]]
    one = found["contrasts"][sets.index({found["chosen"], found["rival"]})]
    if abs(one["mean"]) <= 1e-12:
        return one, 1 if one["first"] == found["chosen"] else -1
    return one, 1 if one["mean"] > 0 else -1


def explanations(found: dict[str, Any]) -> dict[str, list[Named]]:
    """For each kind of sentence, the values it may show."""
    arms = {arm["name"]: arm for arm in found["arms"]}
    margin = Named("margin", 100 * found["margin"])
    chosen = arms[found["chosen"]]
    budget = re.match(r"[\d.]+", str(found["budget"]))
    known = {
        "notes": [Named(key, 100 * chosen[key]) for key in ("val", "test")],
        "limits": [Named("budget", float(budget[0]) if budget else 0.0), Named("fraction", 100 * found["fraction"])],
    }
    known["rows"] = [Named("val", 100 * arms[row["variant"]]["val"]) for row in found["grid_rows"]]
    known["interim"] = [Named(key, look[key]) for look in found.get("interim", []) for key in ("n", "p", "boundary")]
    known["next_steps"] = [
        Named("seeds that are missing", 3 - found["n"]),
        Named("fewest seeds", 3),
        Named("n", found["n"]),
    ]
    known["budgets"] = []
    known["notes"].append(Named("optimism", 100 * abs(chosen["optimism"])))
    known["notes"] += [Named("diverged seed", seed) for arm in found["arms"] for seed in arm["diverged"]]
    for group, edges in found["search"].get("edges", {}).get(found["budget"], {}).items():
        known["notes"] += [Named("edge", rate) for rate in edges.values()]
        known["notes"] += [Named("group", int(group.split()[1]))] if group != "shared" else []
    known["notes"] += [Named("known images", met["images"] or 0) for met in found["known"].values()]
    known["notes"] += [Named("judging images", found["evaluation"]["images"])]
    known["notes"] += [Named("known classes", max(0, len(met["classes"]) - 5)) for met in found["known"].values()]
    if found["contrasts"]:
        one, sign = _shown_pair(found)
        shown = _of_pair(one, sign)
        times = [arms[one[side]]["to_target"]["epochs"] for side in ("first", "second")] if found["target"] else []
        known |= {key: [*shown, margin] for key in ("evidence", "width")}
        known["next_steps"] += shown
        known["notes"] += [Named("n", one["n"]), Named("least sign-flip p", 2 / 2 ** one["n"])]
        known["notes"] += [Named("sign-flip p", one["p_sign_flip"])] if one["p_sign_flip"] is not None else []
        for condition in found["conditions"]:
            known["budgets"].append(Named("budget", float(str(condition["budget"])[:-2])))
            for other in condition["contrasts"]:
                if {other["first"], other["second"]} == {one["first"], one["second"]}:
                    known["budgets"] += _of_pair(other, 1 if other["mean"] >= 0 else -1)
        known["time"] = [Named("target", 100 * found["target"])]
        known["time"] += [Named(k, t[k]) for t in times for k in ("median", "reached", "n") if t[k] is not None]
    return known


def of_others(text: str, found: dict[str, Any], words: dict[str, str]) -> list[Named]:
    """The contrast that a line of the family is about: the one whose two arms it names, in that order."""
    for one in found["contrasts"]:
        for sign, (a, b) in ((1, (one["first"], one["second"])), (-1, (one["second"], one["first"]))):
            if re.match(rf"{re.escape(words[a])} [a-z ]+ {re.escape(words[b])}: [+-]?\d", text):
                return _of_pair(one, sign)
    return []


def in_words(name: str) -> str:
    """How a sentence calls an arm: `file:a+lp-ft@adam` is "a, head first, then fine-tuned, with adam"."""
    name, _, varied = name.partition(",")
    name, _, optimizer = name.partition("@")
    start, *parts = re.sub(r"^(file|run):", "", name).split("+")
    tunings = {"frozen": "frozen", "lp-ft": "head first, then fine-tuned"}
    said = [tunings.get(p) or re.sub(r"^stages:(\d+)$", r"last \1 stages fine-tuned", p) for p in parts]
    said = [s if s in tunings.values() or s.startswith("last ") else f"with the head {s}" for s in said]
    if all(s.startswith("with the head") for s in said) and not start.startswith("scratch"):
        said = ["fine-tuned", *said]
    return ", ".join([start, *said, *([f"with {optimizer}"] if optimizer else []), *filter(None, varied.split(","))])


NUMBER = re.compile(r"[+-]?\d(?:[\d,]*\d)?(?:\.\d+)?(?:e[+-]?\d+)?")


def explained(text: str, known: list[Named], names: list[str]) -> list[tuple[str, str, float | None]]:
    """Each number of a sentence: as shown, whose rounding it is, and that value; None where nothing explains it."""
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(re.escape(name), "·", text, flags=re.IGNORECASE)
    rows: list[tuple[str, str, float | None]] = []
    for shown in NUMBER.findall(text):
        plain = shown.replace(",", "")
        mantissa, _, power = plain.partition("e")
        step = 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))
        fits = [one for one in known if abs(float(plain) - one.value) <= step / 2 * (1 + 1e-9)]
        fits = [one for one in fits if isinstance(one.value, float) or "." not in plain]  # a count has no decimals
        fits.sort(key=lambda one: abs(float(plain) - one.value))
        rows.append((shown, fits[0].name, fits[0].value) if fits else (shown, "nothing explains it", None))
    return rows


def _read_labels(told: dict[str, Any] | None) -> list[float]:
    """What verdict.json says of the worth in labels; it is not computed again here (tests/test_labels.py proves it)."""
    if told is None:
        return []
    shares = [told["level"], *(row["fraction"] for row in told["worth"]), *((told["crossover"] or {}).values())]
    factors = [row[key] for row in told["worth"] for key in ("factor", "low", "high", "least", "most")]
    return [
        told["n"],
        *(100.0 * share for share in shares if share is not None),
        *(f for f in factors if f is not None),
    ]


def check(study: Path) -> tuple[list[str], list[tuple[str, str, str, float | None]]]:
    """Fields of verdict.json that are not what the records say, and every number of its sentences with its origin."""
    verdict, found = json.loads((study / "verdict.json").read_text()), recompute(study)
    words = {arm["name"]: in_words(arm["name"]) for arm in found["arms"]}
    known, rows = explanations(found), []
    known["labels"] = [Named("read from verdict.json", value) for value in _read_labels(verdict.get("labels"))]
    starts = [re.split("[+@,]", name)[0].removeprefix("file:") for name in words]
    classes = [name for met in found["known"].values() for name in met["classes"]]
    names = [*words.values(), verdict["network"], *starts, *classes, *verdict["overlaps"]]
    everything = [one for values in known.values() for one in values]
    for kind, said in verdict["sentences"].items():
        for text in [said] if isinstance(said, str) else said:
            values = of_others(text, found, words) if kind == "others" else known.get(kind, everything)
            rows += [(kind, *row) for row in explained(text, values, names)]
    return differences(verdict, found), rows


def main(study: Path) -> int:
    wrong, rows = check(study)
    for kind, shown, name, value in rows:
        print(f"{kind:9} {shown:>12}  {'' if value is None else f'{value:.6g}':>12}  {name}")
    for one in wrong:
        print(f"verdict.json {one}")
    faults = len(wrong) + sum(value is None for *_, value in rows)
    print(f"{len(rows)} numbers in the sentences, {faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
