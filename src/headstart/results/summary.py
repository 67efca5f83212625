"""Describe the result of a run in sentences."""

from __future__ import annotations

from headstart.storage.schemas.result import RunResult

MAX_LOGGING_OVERHEAD_PERCENT = 2.0  # of the training time; a larger overhead is explained


def _comparison(gap: float) -> str:
    """Compare val with test; `gap` is val minus test in percentage points."""
    return f"{abs(gap):.1f} percentage points {'higher' if gap > 0 else 'lower'}" if round(gap, 1) else "the same"


def result_sentences(result: RunResult) -> list[str]:
    """Describe a finished run: accuracy on val and test, the optimism of val, the logging overhead."""
    val, test, seconds = result.val, result.test, result.seconds
    sentences = [
        f"Best epoch {result.best_epoch}: val accuracy {100 * val.accuracy:.1f} % on {val.n} images, "
        "which also selected the epoch."
    ]
    if test:
        low, high = (100 * x for x in test.interval)
        gap = 100 * (val.accuracy - test.accuracy)
        sentences.append(
            f"Test accuracy {100 * test.accuracy:.1f} % on {test.n} unseen images (95 % interval {low:.1f} to "
            f"{high:.1f}); val was {_comparison(gap)}."
        )
    else:
        sentences.append(
            "There is no test split: val selected the epoch, so its accuracy is too high by an unknown amount."
        )
    share = 100 * seconds.logging / max(seconds.training, 1e-9)
    overhead = f"Logging overhead: {share:.1f} % of the training time"
    if share > MAX_LOGGING_OVERHEAD_PERCENT:
        overhead += f" ({seconds.logging:.1f} s; most measurements are in the first steps, so longer runs have less)"
    return [*sentences, f"{overhead}."]
