"""`train --dry-run` refuses what a run refuses, and `--vary` and lists are read as documented."""

import json
import math
import tomllib

import pytest

from headstart.cli.compare import _parse_vary
from headstart.cli.main import main
from headstart.config.resolve import resolve_settings
from headstart.errors import UsageError
from headstart.hardware import calibration
from headstart.runs import runner
from headstart.storage.schemas.forecast import ForecastResult
from headstart.training import setup
from tests.cli.test_main import fails
from tests.messages import fields_of
from tests.training.test_setup import RecordingReporter


def forbid_measuring_and_training(patch: pytest.MonkeyPatch) -> None:
    for module, name in ((setup, "measure_machine"), (setup, "choose_precision"), (runner, "make_run_folder")):
        patch.setattr(module, name, lambda *_, **__: pytest.fail("a dry run measures and trains nothing"))


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["nope"], 3),
        (["digits", "--network", "vit_b_16"], 2),
        (["digits", "--network", "timm:resnet10x"], 2),
        (["digits", "--network", "timm:test_resnet", "--stem", "small"], 2),
        (["digits", "--start", "file:nope"], 3),
        (["digits", "--start", "nope"], 2),
        (["digits", "--classes", "nope"], 2),
        (["digits", "--tuning", "stages:9"], 2),
        (["digits", "--epochs", "0.001ep"], 2),
        (["digits", "--device", "cuda:99"], 2),
        (["digits", "--save-every", "x"], 2),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_dry_run_reports_what_a_run_would_report(words: list[str], code: int, capsys) -> None:
    with pytest.MonkeyPatch.context() as patch:
        forbid_measuring_and_training(patch)
        found, message, hint, _ = fails(["train", *words, "--dry-run"], capsys)
    assert found == code and message and hint
    again, without, *_ = fails(["train", *words], capsys)
    assert (again, without) == (found, message)


def test_valid_dry_run_prints_the_plan_and_writes_no_run(tmp_path, capsys, monkeypatch) -> None:
    forbid_measuring_and_training(monkeypatch)
    monkeypatch.chdir(tmp_path)
    main(["train", "digits:0-1", "--dry-run"])
    printed = tomllib.loads(capsys.readouterr().out)
    assert "recipe" in printed and "facts" not in printed and list(tmp_path.iterdir()) == []
    main(["train", "digits:0-1", "--dry-run", "--json"])
    assert json.loads(capsys.readouterr().out) == printed and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seconds", [None, 2.0])
def test_dry_run_says_the_steps_and_their_duration_once_it_is_known(seconds: float | None, monkeypatch) -> None:
    monkeypatch.setattr(calibration, "known_step_seconds", lambda _plan: seconds)
    plan = resolve_settings({"source": "digits:0-1", "batch_size": 30, "epochs": "3ep"}).plan
    reporter = RecordingReporter()
    runner.check(plan, reporter)
    steps = 3 * math.ceil(252 / 30)  # 70 % of the 360 images
    (total,) = [sentence for sentence in reporter.sentences if sentence.number == steps]
    assert fields_of(total.values["images"]) == {"count": 30}
    durations = [sentence for sentence in reporter.sentences if "duration" in sentence.values]
    assert [fields_of(sentence) for sentence in durations] == ([] if seconds is None else [{"seconds": 2.0 * steps}])


def test_dry_run_of_a_study_as_json(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["compare", "digits:0-1", "--arm", "scratch", "--arm", "scratch@adam", "--seeds", "3", "--dry-run"]
    main([*words, "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert ForecastResult.model_validate(printed).arms == ["scratch", "scratch@adam"] and printed["seeds"] == 3
    assert printed["seconds"] > 0 and len(printed["rates"]) > 1 and list(tmp_path.iterdir()) == []
    code, *_ = fails([*words, "--require-winner"], capsys)
    assert code == 2


def test_network_of_timm_without_its_prefix_is_suggested(capsys) -> None:
    _, _, hint, _ = fails(["train", "digits", "--model", "resnet10t", "--dry-run"], capsys)
    assert "timm:resnet10t" in hint


def test_varied_values_of_a_field_add_up() -> None:
    assert _parse_vary(["lr=0.1,0.01", "optimizer=sgd", "lr=0.001"]) == {
        "lr": ["0.1", "0.01", "0.001"],
        "optimizer": ["sgd"],
    }
    lists = ["milestones=10%,20%", "milestones=30%"]
    assert _parse_vary(["opt=sgd,adam", "optimizer=lion", "wd=0.1"]) == {
        "optimizer": ["sgd", "adam", "lion"],
        "weight_decay": ["0.1"],
    }
    assert _parse_vary(lists) == {"milestones": ["10%,20%", "30%"]}
    for text in ("lr", "lr=", "lr= , "):
        with pytest.raises(UsageError):
            _parse_vary([text])
