"""Describe the result of a run in sentences."""

from __future__ import annotations

from typing import Any

MAX_LOGGING_OVERHEAD_PERCENT = 2.0  # percent of the training time that watching may cost without a word


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
    share = 100 * seconds["logging"] / max(seconds["training"], 1e-9)
    price = f"Watching cost {share:.1f} % of the training time"
    if share > MAX_LOGGING_OVERHEAD_PERCENT:
        price += f" ({seconds['logging']:.1f} s: it looks most often at the first steps, so a longer run pays less)"
    return [*sentences, f"{price}."]
