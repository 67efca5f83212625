"""A run whose augmented training images stay harder than val until the end has a finding."""

from collections.abc import Sequence

import pytest

from headstart.analysis.sentences import verdict_messages
from headstart.config.run_config import RunConfig
from headstart.diagnostics import checks
from headstart.diagnostics.augmentation import MAX_TRAIN_GAP, MIN_VAL_IMAGES, is_too_strong, train_gap
from headstart.diagnostics.history import History
from headstart.storage.schemas.metrics import EpochLine, SplitScore
from headstart.storage.schemas.result import RunState
from tests.handmade import epoch_line
from tests.messages import fields_of
from tests.verdicts import arm_result, seed_result, verdict

CODE = "augmentation-too-strong"
# val minus train of each epoch, measured: ResNet-18 at 64 px on four classes of clothing, 8 epochs, at a third of
# the rate of each recipe; the first three have crops from 0.08, the third also changes colors
HEALTHY = {
    "scratch": [0.136, 0.040, 0.088, 0.101, 0.067, 0.048, 0.070, 0.046],
    "pretrained": [0.138, 0.050, 0.032, 0.070, 0.072, 0.049, 0.049, 0.038],
    "scratch, timm": [-0.006, 0.085, 0.012, 0.121, 0.100, 0.053, 0.088, 0.094],
    "scratch, crop 0.35": [0.109, 0.080, 0.077, 0.077, 0.070, 0.058, 0.045, 0.031],
    "scratch, crop 0.6": [0.128, 0.030, -0.027, -0.001, -0.010, -0.054, -0.044, -0.059],
}

# the same on ten classes, at the selected rates, with crops from 0.08: recipes that cost 3 to 22 points of accuracy
TOO_STRONG = {
    "scratch": [-0.1, 0.074, 0.092, 0.12, 0.1, 0.101, 0.106, 0.071],
    "pretrained": [0.146, 0.131, 0.151, 0.154, 0.112, 0.148, 0.132, 0.121],
    "scratch, timm": [0.084, 0.099, 0.102, 0.105, 0.104, 0.118, 0.122, 0.091],
    "pretrained, timm": [0.106, 0.131, 0.151, 0.151, 0.123, 0.179, 0.152, 0.151],
}


def lines_of(gaps: Sequence[float], images: int = 400) -> list[EpochLine]:
    """Return epochs with these accuracies on val minus those on train."""
    val = SplitScore(loss=0.3, accuracy=0.9, n=images)
    return [
        epoch_line(100 * place, place, train=SplitScore(loss=0.6, accuracy=0.9 - gap, n=3200), val=val)
        for place, gap in enumerate(gaps, 1)
    ]


def with_gaps(gaps: Sequence[float], images: int = 400, state: RunState = RunState.FINISHED, **changes) -> History:
    """Return the history of a run with these accuracies on val minus those on train."""
    plan = RunConfig().changed(**{"crop": 0.08, "jitter": 0.0, "class_names": ("a", "b", "c", "d"), **changes})
    return History(plan, epochs=lines_of(gaps, images), state=state)


def codes(history: History) -> list[str]:
    return [finding.code for finding in checks.findings(history)]


def test_finding_names_the_gap_and_a_weaker_augmentation() -> None:
    (finding,) = checks.findings(with_gaps([0.4, 0.3, 0.2, 0.25, 0.15, 0.12]))
    assert finding.code == CODE and finding.unhealthy and finding.epoch == 6
    assert (finding.value, finding.threshold) == (pytest.approx(0.12), MAX_TRAIN_GAP)
    assert fields_of(finding.advice)["share"] == 0.35
    assert fields_of(checks.findings(with_gaps([0.2] * 5, crop=0.4))[0].advice)["share"] == 0.8
    assert fields_of(checks.findings(with_gaps([0.2] * 5, crop=0.7))[0].advice)["share"] == 1


@pytest.mark.parametrize("name", HEALTHY)
def test_measured_gaps_of_healthy_runs_have_no_finding(name: str) -> None:
    assert codes(with_gaps(HEALTHY[name])) == []


@pytest.mark.parametrize("name", TOO_STRONG)
def test_measured_gaps_of_runs_that_need_a_weaker_augmentation_have_the_finding(name: str) -> None:
    assert codes(with_gaps(TOO_STRONG[name])) == [CODE]


@pytest.mark.parametrize(
    ("gaps", "changes"),
    [
        ([0.3] * 4, {}),  # too short
        ([0.3] * 7 + [0.06], {}),  # the last epoch is near
        ([0.3] * 5 + [0.06, 0.3, 0.3], {}),
        ([-0.1] * 6, {}),  # overfitted
        ([0.3] * 6, {"images": MIN_VAL_IMAGES - 1}),
        ([0.3] * 6, {"state": RunState.UNFINISHED}),
        ([0.3] * 6, {"crop": 1.0, "jitter": 0.0}),
        ([0.3] * 6, {"mixup": 0.2}),
        ([0.3] * 6, {"cutmix": 1.0}),
        ([0.3] * 6, {"ema": 0.99}),
    ],
)
def test_other_runs_have_no_finding(gaps: list[float], changes: dict[str, object]) -> None:
    assert CODE not in codes(with_gaps(gaps, **changes))


def test_gap_is_the_smallest_of_the_last_epochs() -> None:
    recipe = RunConfig().changed(crop=0.08).recipe
    assert train_gap(recipe, lines_of([0.0, 0.0, 0.3, 0.2, 0.4])) == pytest.approx(0.2)
    assert train_gap(recipe, lines_of([0.3] * 4)) is None and not is_too_strong(recipe, lines_of([0.3] * 4))


def test_note_of_a_verdict_names_the_arms_and_how_many_seeds() -> None:
    runs = [seed_result(seed) for seed in range(3)]
    arms = [arm_result("imagenet", runs), arm_result("scratch", runs, too_augmented=[0, 2])]
    (note,) = [n for n in verdict_messages(verdict(arms, budget="8ep")).notes if "affected" in fields_of(n)]
    fields = fields_of(note)
    assert (fields["affected"], fields["count"], fields["points"]) == (2, 3, 100 * MAX_TRAIN_GAP)
    assert "scratch" in note and "imagenet" not in note and "8 epochs" in note
