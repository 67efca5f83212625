"""Predictions as text: columns for people, CSV for programs. Nothing here imports torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headstart.analysis.wording import splits

if TYPE_CHECKING:
    from headstart.inference.predictor import Prediction
from headstart.text import printable


def as_table(predictions: Sequence[Prediction]) -> str:
    """Plain columns, one line per image: image, confidence, label; or image and what is wrong with it."""
    names = [printable(p.image) for p in predictions]
    width = max(map(len, names), default=0)
    rows = []
    for name, p in zip(names, predictions, strict=True):
        said = p.error.removeprefix(p.image).strip() or f"{100 * p.confidence:5.1f} %  {p.label}"
        rows.append(f"{name:<{width}}  {printable(said)}\n")
    return "".join(rows)


def as_csv(predictions: Sequence[Prediction], classes: Sequence[str]) -> str:
    """CSV with a header: image, label, confidence, error, and `p(CLASS)` for each class's probability.

    Names stand as they are, also one that begins with `=`: import columns as text where a spreadsheet might run them.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["image", "label", "confidence", "error", *(f"p({name})" for name in classes)])
    for p in predictions:
        shares = p.probabilities or [""] * len(classes)
        writer.writerow([p.image, p.label, p.confidence if p.probabilities else "", p.error, *shares])
    return buffer.getvalue()


def study_table(verdict: dict[str, Any]) -> str:
    """The arms of a verdict as plain columns: means on what chose and what judged, rate, epochs to target."""
    chose, judge = splits(verdict)
    head = ["arm", "seeds", f"{chose} %", f"{judge} %", "±sd", "lr"]
    head += [f"epochs to {100 * verdict['target']:.3g} %"] if verdict["target"] else []
    rows = [head]
    for arm in verdict["arms"]:
        rates = sorted({run["lr"] for run in arm["seeds"]})
        time = (arm["to_target"] or {}).get("epochs", {})
        passed = (
            f"{time['median']:g}" if time.get("median") is not None else f"{time.get('reached', 0)} of {verdict['n']}"
        )
        deviation = "" if arm["test_sd"] is None else f"{100 * arm['test_sd']:.1f}"
        name = arm["name"] + (" *" if arm["name"] == verdict["chosen"] else "")
        numbers = [f"{100 * arm['val']:.1f}", f"{100 * arm['test']:.1f}", deviation]
        row = [printable(name), str(verdict["n"]), *numbers, ", ".join(f"{r:g}" for r in rates), passed]
        rows.append(row[: len(head)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([*lines, f"* chosen by {chose}: its model is exported"])
