"""Flags of other programs are accepted where they mean the same, and answered with ours elsewhere."""

import re
from functools import cache

import pytest

from headstart.cli.app import app
from headstart.cli.foreign_flags import ADVICE, ALIASES, advice
from headstart.cli.main import main
from headstart.config.resolve import resolve_settings
from headstart.runs import runner
from tests.cli.test_help import flags_of
from tests.cli.test_main import COMMANDS, fails
from tests.messages import values_of

VALUES = {
    "source": "digits:0-4", "network": "resnet34", "epochs": "3", "image_size": "24", "batch_size": "7",
    "optimizer": "adam", "schedule": "linear", "lr": "0.5", "weight_decay": "0.25", "label_smoothing": "0.5",
    "clip": "0.5",
}  # fmt: skip


def test_aliases_set_the_same_plan(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    plans = []
    monkeypatch.setattr(runner, "check", lambda plan, _reporter: plans.append(plan))
    assert VALUES.keys() | {"runs"} == ALIASES.keys()
    pairs = [(field, alias) for field, aliases in ALIASES.items() for alias in aliases if field != "runs"]
    for field, alias in pairs:
        main(["train", "--dry-run", alias, VALUES[field]])
        assert plans[-1] == resolve_settings({field: VALUES[field]}).plan
    assert len(plans) == len(pairs)
    assert resolve_settings({"epochs": "10"}).plan == resolve_settings({"epochs": "10ep"}).plan


def test_aliases_are_flags_of_the_commands_that_have_the_field() -> None:
    main(["--version"])  # imports the commands
    for name in ("compare", "train", "ablate"):
        flags = flags_of(app[name])
        for field, aliases in ALIASES.items():
            has_field = f"--{field.replace('_', '-')}" in flags
            assert all((alias in flags) == has_field for alias in aliases), (name, field)


@cache
def flags_of_command(command: str) -> set[str]:
    """Return the flags of a command, which take a while to collect."""
    return flags_of(app[command])


@pytest.mark.parametrize("command", ["compare", "train"])
@pytest.mark.parametrize("flag", ADVICE)
def test_other_flags_are_answered_with_flags_that_the_command_has(flag: str, command: str, capsys) -> None:
    code, message, hint, before = fails([command, "digits", flag], capsys)
    assert code == 2 and before == [] and values_of(message) == [flag]
    named, flags = set(re.findall(r"--[\w-]+", hint)), flags_of_command(command)
    assert named <= flags
    verbs = re.findall(r"`headstart (\w+)", hint)
    assert set(verbs) <= set(COMMANDS)
    assert flag not in flags
    known = ADVICE[flag]
    assert hint == (known.study if command == "compare" and known.study is not None else known.run)


@pytest.mark.parametrize("flag", ["--pretrained", "--weights", "--freeze", "--workers", "--amp", "--output", "--name"])
def test_flags_of_the_issue_have_advice(flag: str) -> None:
    assert advice(flag, "train") and advice(flag, "compare") and advice(flag, "ablate")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["train", "digits", "--output_dir", "x"], "--runs"),
        (["train", "digits", "--arm", "scratch"], "headstart compare"),
        (["train", "digits", "--seeds", "3"], "--seeds"),
        (["compare", "digits", "--tuning", "frozen"], "--arm"),
        (["compare", "digits", "--select", "balanced"], "--metric"),
        (["predict", "--model", "x", "y"], "model"),
        (["evaluate", "--weights", "x", "y"], "model"),
        (["train", "digits", "epochs=3"], "--epochs 3"),
        (["train", "digits", "name=a b"], "--name 'a b'"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_other_wrong_flags_have_a_hint(words: list[str], named: str, capsys) -> None:
    code, _, hint, before = fails(words, capsys)
    assert code == 2 and before == [] and named in hint


def test_flag_that_an_ablation_sets_has_a_hint(capsys) -> None:
    for flag in ("--network", "--model", "--norm"):
        code, message, hint, _ = fails(["ablate", "digits", flag, "x"], capsys)
        assert code == 2 and values_of(message) == [flag] and "--help" not in hint


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["tensorboard", "--logdir", "runs"], "folder"),
        (["compare", "--arm", "scratch", "--arm", "/x/w.safetensors"], "file:/x/w.safetensors"),
        (["train", "--start", "w.pth"], "file:w.pth"),
        (["compare", "--arm", "scratch", "--arm", "pretrained"], "imagenet"),
    ],
)
def test_values_of_other_programs_are_answered(words: list[str], part: str, capsys) -> None:
    code, message, hint, before = fails(words, capsys)
    assert code == 2 and before == [] and part in f"{message} {hint}"
