"""What follows from the contrasts: the arms that are not worse, the exported run, the rows of a grid, varied fields."""

from __future__ import annotations

from collections.abc import Sequence

from headstart.verification.contrasts import Pair
from headstart.verification.declaration import Declaration
from headstart.verification.tree import Tree

_OPPOSITE = {"better": "worse", "worse": "better"}


def not_worse(contrasts: Sequence[Tree], names: Sequence[str]) -> list[str]:
    """Return the arms that no contrast shows to be worse than another."""
    worse = {row["second"] for row in contrasts if row["outcome"] == "better"}
    worse |= {row["first"] for row in contrasts if row["outcome"] == "worse"}
    return [name for name in names if name not in worse]


def best_on_val(arms: Sequence[Tree], among: Sequence[str]) -> Tree:
    """Return the arm with the highest mean on val, of equal ones the first."""
    first: Tree | None = None
    for arm in (arm for arm in arms if arm["name"] in among):
        first = arm if first is None or arm["val"] > first["val"] else first
    if first is None:
        raise ValueError("every arm is worse than another")
    return first


def exported(arm: Tree) -> Tree:
    """Return the best run of an arm on val: of those with a model, if any, and of equal ones the smallest seed."""
    best = max(arm["seeds"], key=lambda run: (run["best_epoch"] > 0, run["val"], -run["seed"]))
    return {"run": best["run"], "seed": best["seed"]}


def rows_of(declared: Declaration) -> list[dict[str, float]]:
    """Return the learning rates by variant of each row of a grid, whose variants differ in nothing else."""
    rows: dict[tuple[object, ...], dict[str, float]] = {}
    for name in declared.names:
        arm = declared.arm(name)
        if "lr" in arm.varied:
            rest = tuple(item for item in arm.varied.items() if item[0] != "lr")
            key = (arm.start, arm.label, str(arm.tuning), arm.head, arm.optimizer, rest)
            rows.setdefault(key, {})[name] = float(arm.varied["lr"])
    return list(rows.values())


def grid_rows(rows: Sequence[dict[str, float]], val: dict[str, float]) -> list[Tree]:
    """Return the best rate of each row on val, of equal ones the first declared, and at which edge it lies."""
    result = []
    for row in rows:
        best = next(name for name in row if val[name] == max(map(val.__getitem__, row)))
        edges = {min(row.values()): "low", max(row.values()): "high"} if len(row) > 1 else {}
        result.append({"variant": best, "lr": row[best], "edge": edges.get(row[best])})
    return result


def rivals(leader: str, rows: Sequence[dict[str, float]], val: dict[str, float]) -> list[str]:
    """Return what the best variant of a grid is compared with, the best on val first.

    These are the best of the other rows or, with a single row, its next best rate.
    """
    if len(rows) == 1:
        return sorted((name for name in rows[0] if name != leader), key=lambda name: -val[name])[:1]
    best = [row["variant"] for row in grid_rows([row for row in rows if leader not in row], val)]
    return sorted(best, key=lambda name: -val[name])


def value_pairs(declared: Declaration) -> list[Tree]:
    """Return the primary pair at each value of every varied field in which its arms agree; none in a grid of rates."""
    first, second = map(declared.arm, declared.primary)
    fields: list[Tree] = []
    for field, values in declared.protocol.vary.items() if "lr" not in declared.protocol.vary else ():
        if first.varied[field] != second.varied[field] or len(dict.fromkeys(values)) < 2:
            continue
        rows = []
        for value in dict.fromkeys(values):
            names = [arm.model_copy(update={"varied": {**arm.varied, field: value}}).name for arm in (first, second)]
            rows.append({"value": value, "first": names[0], "second": names[1]})
        fields.append({"field": field, "values": rows})
    return fields


def pairs_at_values(fields: Sequence[Tree]) -> list[Pair]:
    """Return the pairs of arms that `value_pairs` names."""
    return [(row["first"], row["second"]) for field in fields for row in field["values"]]


def varied_fields(fields: Sequence[Tree], contrasts: Sequence[Tree]) -> list[Tree]:
    """Return whether the decision differs between the values of each field; none without contrasts."""
    outcomes = {(row["first"], row["second"]): row["outcome"] for row in contrasts}
    outcomes |= {(b, a): _OPPOSITE.get(outcome, outcome) for (a, b), outcome in outcomes.items()}
    result = []
    for field in fields if contrasts else ():
        of_values = {outcomes[pair] for pair in pairs_at_values([field])}
        depends = len(of_values - {"undecided"}) > 1
        dependence = "depends" if depends else "undecided" if "undecided" in of_values else "independent"
        result.append({**field, "dependence": dependence})
    return result
