"""What is written when a run has ended: how its best model was judged, result.json, and both in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart import loop, record
from headstart.artifacts import predictions
from headstart.build import Prepared
from headstart.config.run_config import Plan
from headstart.scribe import Scribe

MEANT = 2.0  # percent of the training time that watching may cost without a word


def of_nothing(prepared: Prepared) -> dict[str, loop.Score]:
    """The scores of logits of 0, by split."""
    found = {}
    for name, photos in prepared.judging.items():
        logits = np.zeros((len(photos), len(prepared.listing.classes)), dtype=np.float32)
        found[name] = loop.score(logits, photos.labels)
    return found


def judged(
    scribe: Scribe, prepared: Prepared, scores: dict[str, loop.Score], step: int, epoch: int, best_epoch: int
) -> dict[str, Any]:
    """Leave the judgement in the record and as evidence; returns what result.json says of it."""
    predictions.write_predictions(scribe.folder, prepared, scores)
    results = {name: predictions.summary(found, prepared.judging[name].labels) for name, found in scores.items()}
    scribe.write({"kind": "end", "step": step, "epoch": epoch, **results})
    return {**results, "best_epoch": best_epoch, "judge": prepared.split.judge}


def conclude(scribe: Scribe, plan: Plan, result: dict[str, Any], epochs: int, seconds: dict[str, float]) -> None:
    """Write result.json, once."""
    scribe.sync()
    about = {"schema": record.SCHEMA, "arm": plan.arm_name, "seed": plan.chance.seed, "plan": plan.hash}
    record.write_json(scribe.folder / "result.json", {**about, **result, "epochs": epochs, "seconds": seconds})


def _apart(gap: float) -> str:
    """How val compares with test, `gap` points above it."""
    return f"{abs(gap):.1f} points {'higher' if gap > 0 else 'lower'}" if round(gap, 1) else "the same"


def result_sentences(result: dict[str, Any]) -> list[str]:
    """A finished run in words: the number that judges it, the optimism of the one that chose, the price of watching.

    `result` is the content of result.json.
    """
    val, test, seconds = result["val"], result.get("test"), result["seconds"]
    sentences = [
        f"Best epoch {result['best_epoch']}: val accuracy {100 * val['accuracy']:.1f} % on {val['n']} images, "
        "which also chose it."
    ]
    if test:
        low, high = (100 * x for x in test["interval"])
        gap = 100 * (val["accuracy"] - test["accuracy"])
        sentences.append(
            f"Test accuracy {100 * test['accuracy']:.1f} % on {test['n']} unseen images (95 % interval {low:.1f} to "
            f"{high:.1f}); val was {_apart(gap)}."
        )
    else:
        sentences.append(
            "No unseen images judged this run: val chose the epoch, so its number is too high by an unknown amount."
        )
    share = 100 * seconds["watching"] / max(seconds["training"], 1e-9)
    price = f"Watching cost {share:.1f} % of the training time"
    if share > MEANT:
        price += f" ({seconds['watching']:.1f} s: it looks most often at the first steps, so a longer run pays less)"
    return [*sentences, f"{price}."]
