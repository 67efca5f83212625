"""Describe the result of a run in sentences."""

from __future__ import annotations

from headstart.analysis.wording import in_groups, score_note
from headstart.i18n import Message, _, ngettext
from headstart.storage.schemas.metrics import Evaluation
from headstart.storage.schemas.result import RunResult

MAX_LOGGING_OVERHEAD_PERCENT = 2.0  # of the training time; a larger overhead is explained
_WITHHELD = _("The result on test is not shown before the verdict of the study.")


def result_sentences(result: RunResult, *, withholds_test: bool = False) -> list[Message]:
    """Describe a finished run: accuracy on val and test, the optimism of val, the logging overhead.

    Args:
        result: Its result.
        withholds_test: That on test is not in it, since the study of the run has no verdict about it yet.
    """
    val, seconds = result.val, result.seconds
    best = ngettext(
        "Best epoch {epoch}: val accuracy {accuracy:.1f} % on {count} image, which also selected the epoch.",
        "Best epoch {epoch}: val accuracy {accuracy:.1f} % on {count} images, which also selected the epoch.",
        val.n,
        epoch=result.best_epoch,
        accuracy=100 * val.accuracy,
    )
    share = 100 * seconds.logging / max(seconds.training, 1e-9)
    if share > MAX_LOGGING_OVERHEAD_PERCENT:
        overhead = _(
            "Logging overhead: {share:.1f} % of the training time ({seconds:.1f} s; most measurements are in the first "
            "steps, so longer runs have less).",
            share=share,
            seconds=seconds.logging,
        )
    else:
        overhead = _("Logging overhead: {share:.1f} % of the training time.", share=share)
    copies = score_note(result.final)
    test = _WITHHELD if withholds_test else _test_sentence(val, result.test)
    return [best, test, *([copies] if copies is not None else []), overhead]


def _test_sentence(val: Evaluation, test: Evaluation | None) -> Message:
    """Return the accuracy on test, and how it compares with that on val."""
    if test is None:
        return _("There is no test split: val selected the epoch, so its accuracy is too high by an unknown amount.")
    low, high = (100 * end for end in test.interval)
    images = ngettext("{count} unseen image", "{count} unseen images", test.n)
    return _(
        "Test accuracy {accuracy:.1f} % on {images} (95 % interval {low:.1f} to {high:.1f}); val was {gap}.",
        images=in_groups(images, test.n, test.units),
        accuracy=100 * test.accuracy,
        low=low,
        high=high,
        gap=_gap_words(100 * (val.accuracy - test.accuracy)),
    )


def _gap_words(gap: float) -> Message:
    """Compare val with test; `gap` is val minus test in percentage points."""
    if not round(gap, 1):
        return _("the same")
    if gap > 0:
        return _("{points:.1f} percentage points higher", points=gap)
    return _("{points:.1f} percentage points lower", points=-gap)
