"""Every word of a finding comes from a template of the catalog; only names and numbers are values."""

import itertools

import pytest

from headstart.config.run_config import RunConfig
from headstart.diagnostics import checks, notes
from headstart.diagnostics.history import History
from headstart.diagnostics.registry import HEALTH_CHECKS
from headstart.i18n import translated
from headstart.storage.schemas.metrics import SnapshotLine
from headstart.storage.schemas.result import RunState
from tests.diagnostics.test_augmentation import with_gaps
from tests.diagnostics.test_checks import ONE_CLASS, PLAN, UNEQUAL, epochs_of
from tests.handmade import probe_line, snapshot_line
from tests.pseudo_catalog import PseudoCatalog, words_left

NAMES = words_left(
    "conv1 fc layer1.0 layer4.1 SGD adam Adam frozen lp-ft stages --norm batch --shortcut on"
)  # layers, optimizers, fine-tuning modes and flags
PLAIN = PLAN.changed(norm="none", shortcut="off")
FLOW = {"layer1.0": 1e-7, "layer4.1": 0.1}


def probed(plan: RunConfig, **measured: object) -> History:
    history = History(plan)
    history.add(probe_line(**{"loss": 1.1, **measured}))
    return history


def unhealthy_histories() -> dict[str, list[History]]:
    """Return histories of each unhealthy finding, in its different wordings."""
    finished = RunState.FINISHED
    dead = epochs_of([2.0, 2.0, 2.0], PLAN, finished, ratio=0.5)
    dead.probes = [probe_line(150, 3, loss=2.0, dead_channels={"conv1": 0.8})]
    diverged = epochs_of([2.0], PLAN, RunState.DIVERGED)
    quiet = History(PLAN, state=RunState.DIVERGED)
    rising = PLAN.changed(lr=0.5)
    return {
        "exploding-gradients": [
            *(probed(plan, block_gradient_norm={"layer1.0": 1e5, "layer4.1": 0.1}) for plan in (PLAN, PLAIN)),
            *(probed(plan, block_gradient_norm={"layer1.0": None, "layer4.1": 0.1}) for plan in (PLAN, PLAIN)),
            *(probed(PLAN, loss=loss) for loss in (None, 1e9)),
        ],
        "vanishing-gradients": [
            probed(plan, block_gradient_norm=FLOW)
            for plan in (PLAN, PLAIN, PLAN.changed(norm="none"), PLAN.changed(shortcut="off"))
        ],
        "dead-filters": [
            probed(PLAN, dead_channels={"conv1": 0.9, **dict.fromkeys(more, 0.6)})
            for more in ((), ("layer1.0",), ("layer1.0", "layer4.1"))
        ],
        "learning-rate-too-high": [epochs_of([2.0, 1.9, 1.9], PLAN, finished), dead, diverged, quiet],
        "learning-rate-too-low": [
            epochs_of([1.1] * 3, plan, finished, ratio=1e-6) for plan in (PLAN, rising)
        ],
        "degradation-without-vanishing": [
            epochs_of([1.297, 1.235, 1.219], plan, finished, ratio=1e-3, confusion=table, gradient_ratio=0.002)
            for plan in (UNEQUAL, UNEQUAL.changed(norm="none", shortcut="off"))
            for table in (ONE_CLASS, None)
        ],
        "augmentation-too-strong": [
            with_gaps([0.3] * 6, **changes)
            for changes in ({"crop": 0.08}, {"crop": 0.08, "jitter": 0.4}, {"crop": 1.0, "jitter": 0.4})
        ],
    }  # fmt: skip


@pytest.mark.parametrize("code", [code for code, check in HEALTH_CHECKS.items() if check.unhealthy])
def test_words_of_findings_are_in_the_catalog(code: str) -> None:
    histories = unhealthy_histories()[code]
    found = [finding for history in histories for finding in checks.unhealthy_findings(history)]
    assert code in {finding.code for finding in found}
    for finding in found:
        for text in (finding.name, finding.evidence, finding.meaning, finding.advice, finding.sentence):
            assert words_left(translated(text, PseudoCatalog())) <= NAMES, text
        assert finding.sentence == " ".join([finding.evidence, finding.meaning, finding.advice])


@pytest.mark.parametrize("code", [code for code, check in HEALTH_CHECKS.items() if check.unhealthy])
def test_words_of_notices_are_in_the_catalog(code: str) -> None:
    for history in unhealthy_histories()[code]:
        notices = checks.new_notices(history, set(), 0)
        history.state = RunState.FINISHED
        notices += checks.new_notices(History(PLAN, state=RunState.FINISHED), {code}, 0)
        assert notices
        for notice in notices:
            assert notice.message.endswith(f": {notice.line.sentence}")
            assert words_left(translated(notice.message, PseudoCatalog())) <= NAMES, notice.message


@pytest.mark.parametrize("mode", ["frozen", "lp-ft", "stages:1", "stages:2"])
def test_words_of_notes_are_in_the_catalog(mode: str) -> None:
    result = notes.frozen(History(PLAN.changed(tuning=mode)))
    assert result is not None and result.advice == ""
    for text in (result.evidence, result.meaning):
        assert words_left(translated(text, PseudoCatalog())) <= NAMES | words_left(mode), text
    stages = {"stages:1": "the last 1 stage are", "stages:2": "the last 2 stages are"}
    assert stages.get(mode, "") in result.evidence


def test_words_on_healthy_runs_are_in_the_catalog() -> None:
    frozen = PLAN.changed(tuning="frozen")
    histories = [
        epochs_of(losses, plan, state, ratio=1e-3, confusion=table, gradient_ratio=ratio)
        for losses, plan, state, table, ratio in itertools.product(
            ([2.0], [0.5, 0.2]), (PLAN, frozen), RunState, (None, ONE_CLASS), (None, 0.1)
        )
    ]
    histories[0].snapshots += [(gradients_of("fc", 0.5), 0.01)]
    head = History(frozen, snapshots=[(gradients_of("fc", norm), 0.01) for norm in (0.5, None)])
    for history in (*histories, head, History(PLAN)):
        text = checks.healthy_words(history)
        assert words_left(translated(text, PseudoCatalog())) <= NAMES | {"nn", "ReLU"}, text
    assert "|∂L/∂w| of fc is 0.5 at step 1 and not finite at step 1" in checks.missing_probe_reason(head)


def gradients_of(layer: str, norm: float | None) -> SnapshotLine:
    return snapshot_line(1, gradient_norm={layer: norm})


def test_recorded_findings_are_in_english() -> None:
    (history, *_others) = unhealthy_histories()["vanishing-gradients"]
    (finding,) = checks.unhealthy_findings(history)
    line = finding.line(3)
    assert (line.name, line.sentence, line.step) == ("vanishing gradients", finding.sentence, 3)
    data = finding.to_json()
    assert list(data) == [name for name in line.to_json() if name in data] and data["sentence"] == line.sentence
    assert type(line.sentence) is str
