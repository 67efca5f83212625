"""The rows of the health checks, and a check that a plugin adds at run time."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from headstart.diagnostics import checks
from headstart.diagnostics.history import History
from headstart.diagnostics.registry import HEALTH_CHECKS, HealthCheck, Moment, finding_name
from headstart.factories import load_factory
from headstart.results import diagnosis
from headstart.storage.journal import read_lines
from headstart.storage.schemas.metrics import FindingLine, WithdrawnLine
from headstart.storage.schemas.result import RunState
from tests.diagnostics.test_checks import PLAN, epochs_of, finding_lines, run_in
from tests.messages import values_of
from tests.tensorboard_server import points

PLUGIN = """
from headstart.diagnostics.finding import CheckResult
from headstart.diagnostics.registry import HEALTH_CHECKS, HealthCheck, Moment

def few_epochs(history):
    count = len(history.epochs)
    return CheckResult("", count, float(count), 100.0, f"{count} epochs.", "It is short.", "Train longer.")

def small_loss(history, probe):
    return CheckResult("head", probe.epoch, probe.loss, 0.0, "A probe.", "", "") if probe.loss else None

HEALTH_CHECKS["few-epochs"] = HealthCheck("few epochs", "plugin_of_checks:few_epochs", (Moment.END,))
HEALTH_CHECKS["probed"] = HealthCheck(
    "a probe", "plugin_of_checks:small_loss", (Moment.BEFORE_TRAINING,), unhealthy=False
)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Import a module that adds two checks, and remove them after the test."""
    for code in ("few-epochs", "probed"):
        monkeypatch.setitem(HEALTH_CHECKS, code, HealthCheck("", "", ()))
        monkeypatch.delitem(HEALTH_CHECKS, code)
    (tmp_path / "plugin_of_checks.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "plugin_of_checks", raising=False)
    importlib.import_module("plugin_of_checks")


@pytest.mark.parametrize("code", HEALTH_CHECKS)
def test_rows_resolve_and_have_moments_of_one_kind(code: str) -> None:
    check = HEALTH_CHECKS[code]
    assert callable(load_factory(check.factory)) and (not check.may_hold or callable(load_factory(check.may_hold)))
    assert check.moments and len({moment.uses_probe for moment in check.moments}) == 1
    assert finding_name(code) == check.name


def test_names_are_distinct() -> None:
    assert len({check.name for check in HEALTH_CHECKS.values()}) == len(HEALTH_CHECKS)


@pytest.mark.usefixtures("plugin")
def test_finding_of_a_plugin_is_in_the_record_and_in_diagnose(tmp_path: Path) -> None:
    folder = run_in(tmp_path / "runs", lr=0.01)
    (diagnosed,) = diagnosis.diagnose(folder)
    assert [(finding.code, finding.unhealthy) for finding in diagnosed.findings] == [
        ("probed", False), ("few-epochs", True),
    ]  # fmt: skip
    assert not diagnosed.healthy
    described = list(map(values_of, diagnosis.describe_diagnoses([diagnosed])))
    assert ["few epochs", "2 epochs.", "It is short.", "Train longer."] in described
    (line,) = [line for line in read_lines(folder / "metrics.jsonl") if isinstance(line, FindingLine)]
    assert (line.code, line.name, line.value) == ("few-epochs", "few epochs", 2.0)
    assert json.loads(json.dumps(diagnosed.to_json()))["findings"][1]["code"] == line.code
    assert "finding/few-epochs/text_summary" in {tag for tag, _, _, plugin, _ in points(folder) if plugin == "text"}


@pytest.mark.usefixtures("plugin")
def test_cause_is_reported_before_the_finding_of_a_plugin() -> None:
    history = epochs_of([2.0, 1.9, 1.9], PLAN, RunState.FINISHED)
    assert [finding.code for finding in checks.findings(history)] == ["learning-rate-too-high"]
    (line,) = finding_lines(history, {"learning-rate-too-high", "few-epochs", "no-such-check"}, 150)
    assert isinstance(line, WithdrawnLine) and (line.code, line.name) == ("no-such-check", "no such check")


@pytest.mark.parametrize("moment", [moment for moment in Moment if not moment.uses_probe])
@pytest.mark.parametrize("state", [RunState.UNFINISHED, RunState.FINISHED])
@pytest.mark.parametrize("losses", [[], [1.0], [1.0, 0.9, 0.8]])
def test_check_is_made_at_its_moment_only(
    moment: Moment, state: RunState, losses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[History] = []
    monkeypatch.setattr(checks, "load_factory", lambda path: called.append)
    monkeypatch.setattr(checks, "HEALTH_CHECKS", {"a": HealthCheck("a", "a", (moment,))})
    history = epochs_of(losses, PLAN, state)  # an epoch has 50 steps
    checks.findings(history)
    due = {
        Moment.ANY_TIME: True,
        Moment.AFTER_MIN_LENGTH: bool(losses) and (state is RunState.FINISHED or len(losses) >= 2),
        Moment.END: state is RunState.FINISHED,
    }
    assert called == ([history] if due[moment] else [])
