"""The recomputed values that each kind of sentence of a verdict may show, in the unit of the sentence."""

from __future__ import annotations

import re
from typing import NamedTuple

from headstart.verification.contrasts import ERROR, MIN_SEEDS, MIN_UNITS
from headstart.verification.tree import Tree, is_number


class NamedValue(NamedTuple):
    """A recomputed value with its name; a count is an int."""

    name: str
    value: float


def candidates_of(verdict: Tree) -> dict[str, list[NamedValue]]:
    """Return the values by kind of sentence."""
    n, budget = NamedValue("n", verdict["n"]), _budget(verdict["budget"])
    fewest = [NamedValue("fewest seeds", MIN_SEEDS), NamedValue("fewest units", MIN_UNITS)]
    val = {arm["name"]: arm["val"] for arm in verdict["arms"]}
    values = {
        "labels": [NamedValue("labels", value) for value in _label_values(verdict["labels"])],
        "limits": [budget, NamedValue("fraction", 100 * verdict["fraction"])],
        "rows": [NamedValue("val", 100 * val[row["variant"]]) for row in verdict["grid_rows"]],
        "interim": [NamedValue(key, row[key]) for row in verdict["interim"] for key in ("n", "p", "boundary")],
        "next_steps": [*fewest, NamedValue("missing seeds", MIN_SEEDS - verdict["n"]), n],
        "budgets": [],
        "varied": _varied_values(verdict),
        "notes": [n, budget, *_note_values(verdict)],
    }
    return values | _pair_sentences(verdict, values) if verdict["contrasts"] else values


def pair_values(row: Tree, sign: int) -> list[NamedValue]:
    """Return the values of a contrast; with the sign -1 as its second arm minus its first."""
    low, high = (row["low"], row["high"]) if sign > 0 else (-row["high"], -row["low"])
    named = [
        NamedValue("mean", 100 * sign * row["mean"]),
        NamedValue("low", 100 * low),
        NamedValue("high", 100 * high),
        NamedValue("level", 100 * row["level"]),
        NamedValue("wins", row["wins"] if sign > 0 else row["losses"]),
        NamedValue("equal seeds", row["n"] - row["wins"] - row["losses"]),
        NamedValue("half_width_infinite_seeds", 100 * row["half_width_infinite_seeds"]),
        NamedValue("half width", 50 * (row["high"] - row["low"])),
        *(NamedValue(key, row[key]) for key in ("n", "m", "g", "p_adjusted")),
    ]
    for need in row["sample_sizes"]:
        for what in ("seeds", "units"):
            named += [NamedValue(f"need {what}", limit) for limit in need[what] or () if limit is not None]
        named.append(NamedValue("needed half width", 100 * need["half_width"]))
    return named


def _pair_sentences(verdict: Tree, values: dict[str, list[NamedValue]]) -> dict[str, list[NamedValue]]:
    """Return the values of the sentences on the contrast of the headline."""
    row, sign = _shown_pair(verdict)
    shown, pair = pair_values(row, sign), {row["first"], row["second"]}
    margin = NamedValue("margin", 100 * verdict["margin"])
    notes = [NamedValue("least sign-flip p", 2 / 2 ** row["n"])]
    notes += [NamedValue("sign-flip p", row["p_sign_flip"])] if row["p_sign_flip"] is not None else []
    budgets = []
    for condition in verdict["conditions"]:
        budgets.append(_budget(condition["budget"]))
        for other in condition["contrasts"]:
            budgets += pair_values(other, _sign(other)) if {other["first"], other["second"]} == pair else []
    arms = {arm["name"]: arm for arm in verdict["arms"]}
    times = [arms[row[side]]["to_target"]["epochs"] for side in ("first", "second")] if verdict["target"] else []
    return {
        "evidence": [*shown, margin],
        "width": [*shown, margin],
        "next_steps": [*values["next_steps"], *shown],
        "notes": [*values["notes"], *notes],
        "budgets": budgets,
        "time": [
            NamedValue("target", 100 * verdict["target"]),
            *(
                NamedValue(key, time[key])
                for time in times
                for key in ("median", "reached", "n")
                if time[key] is not None
            ),
        ],
    }


def _shown_pair(verdict: Tree) -> tuple[Tree, int]:
    """Return the contrast of the headline and its sign: the better arm is first, of equal ones the exported one."""
    question = verdict["question"]
    row = next(row for row in verdict["contrasts"] if {row["first"], row["second"]} == set(question))
    if abs(row["mean"]) <= 1e-12:
        preferred = verdict["selected"] if verdict["selected"] in question else question[0]
        return row, 1 if row["first"] == preferred else -1
    return row, _sign(row)


def _sign(row: Tree) -> int:
    return 1 if row["mean"] >= 0 else -1


def _budget(text: str) -> NamedValue:
    """Return the number of a training length such as `10ep`."""
    match = re.match(r"[\d.]+", text)
    return NamedValue("budget", float(match[0]) if match else 0.0)


def _varied_values(verdict: Tree) -> list[NamedValue]:
    values: list[NamedValue] = []
    for row in (row for field in verdict["varied"] for row in field["values"]):
        values += [NamedValue("value", float(row["value"]))] if re.fullmatch(r"\d+(\.\d+)?", row["value"]) else []
        for other in verdict["contrasts"]:
            if {other["first"], other["second"]} == {row["first"], row["second"]}:
                values += pair_values(other, _sign(other))
    return values


def _note_values(verdict: Tree) -> list[NamedValue]:
    """Return the values of the notes but for those of the contrast of the headline."""
    chosen = next(arm for arm in verdict["arms"] if arm["name"] == verdict["selected"])
    notes = [NamedValue(key, 100 * chosen[key]) for key in ("val", "test")]
    notes += [NamedValue("optimism", 100 * abs(chosen["optimism"])), NamedValue("gap", 7.0)]
    notes += [
        NamedValue("contrasts", len(verdict["contrasts"])),
        NamedValue("error of all contrasts", round(100 * ERROR)),
    ]
    notes += [NamedValue("affected", len(arm["too_augmented"])) for arm in verdict["arms"]]
    notes += [NamedValue("diverged seed", seed) for arm in verdict["arms"] for seed in arm["diverged"]]
    groups = [group for group in verdict["search"] if group["budget"] == verdict["budget"]]
    at_edge = [arm for group in groups for arm in group["arms"] if arm["at_edge"]]
    notes += [NamedValue("edge", arm["selected"]) for arm in at_edge]
    names = [arm["arm"] for arm in at_edge]
    notes += [NamedValue("seeds at the edge", names.count(name)) for name in names]
    notes += [NamedValue("searches", len(groups))]
    notes += [NamedValue("known images", exposure["images"] or 0) for exposure in verdict["exposure"].values()]
    notes += [NamedValue("known classes", max(0, len(row["classes"]) - 5)) for row in verdict["exposure"].values()]
    notes += [NamedValue("evaluation images", verdict["evaluation"]["images"])]
    notes += [NamedValue("overlap", overlap["count"]) for overlap in verdict["overlaps"]]
    notes += [NamedValue(key, verdict[key]) for key in ("of_others", "left_out", "max_seeds")]
    notes += [NamedValue("studies", verdict.get("studies") or 0)]
    notes += [NamedValue("seeds that can be added", verdict["max_seeds"] - verdict["n"])]
    if result := verdict["without_copies"]:
        notes += [NamedValue(key, result[key]) for key in ("copies", "images")]
        notes += [NamedValue("score without copies", 100 * score) for score in result["scores"].values()]
        notes += pair_values(result["contrast"], 1) if result["contrast"] else []
    return notes


def _label_values(labels: Tree | None) -> list[float]:
    """Return the numbers of `labels`, shares in per cent."""
    if labels is None:
        return []
    shares = [labels["level"], *(row["fraction"] for row in labels["equivalences"])]
    shares += (labels["crossover"] or {}).values()
    factors = [row[key] for row in labels["equivalences"] for key in row if key not in ("fraction", "more")]
    return [labels["n"], *(100.0 * s for s in shares if is_number(s)), *(f for f in factors if is_number(f))]
