"""The default help of `compare` and `train`, all flags, flags of every command, and completion."""

import re
import shlex
from pathlib import Path

import pytest
from cyclopts import App

from headstart.cli.app import app
from headstart.cli.common_flags import COMPARE, TRAIN
from headstart.cli.main import main
from headstart.config.flag_words import flag_words
from headstart.config.presets import PRESETS
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import plan_fields
from headstart.console import ConsoleReporter
from headstart.i18n import verbatim
from headstart.runs import runner
from headstart.telemetry import tensorboard_server
from tests.cli.test_main import fails, set_width
from tests.messages import values_of

COMMON = {"compare": COMPARE, "train": TRAIN}


@pytest.fixture(scope="module")
def commands() -> App:
    """Return the application, with its commands imported."""
    main(["--version"])
    return app


def flags_of(command: App) -> set[str]:
    return {name for argument in command.assemble_argument_collection() for name in argument.names if name != "*"}


def help_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    main(words)
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("command", COMMON)
def test_default_help_has_at_most_45_lines_and_20_flags(
    command: str, width: int, commands: App, capsys, monkeypatch
) -> None:
    set_width(width, monkeypatch)
    text = help_of([command, "--help"], capsys)
    assert len(text.splitlines()) <= 45
    shown = re.findall(r"^  (--[\w-]+|SOURCE)", text, re.MULTILINE)
    assert len(shown) == len(set(shown)) <= 20
    assert {"--source" if name == "SOURCE" else name for name in shown} == set(COMMON[command])
    assert COMMON[command].keys() <= flags_of(commands[command]) | flags_of(commands.meta)
    titles = [line for line in text.splitlines() if line in ("Data", "Comparison", "Model", "Training", "Running")]
    assert titles == ["Data", *(["Comparison"] if command == "compare" else []), "Model", "Training", "Running"]
    assert "--help-all" in text


@pytest.mark.parametrize("command", COMMON)
def test_examples_of_the_help_are_valid_commands(command: str, commands: App, capsys) -> None:
    lines = re.findall(rf"^  (headstart {command} .+)$", help_of([command, "--help"], capsys), re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        function, bound, _ = commands.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
        assert function.__name__ == command and bound.arguments["source"] == "photos/"


@pytest.mark.parametrize("command", COMMON)
def test_all_flags_and_the_settings_of_presets_are_shown_with_help_all(
    command: str, commands: App, capsys, monkeypatch
) -> None:
    set_width(300, monkeypatch)
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", help_of([command, "--help-all"], capsys)).split())
    missing = [flag for flag in flags_of(commands[command]) if not re.search(rf"{flag}(?![\w-])", text)]
    assert missing == []
    for name, settings in PRESETS.items():
        words = " ".join(word for field, value in settings.items() for word in flag_words(field, value))
        assert f"{name} ({words})" in text
    assert help_of(["--help-all", command], capsys) == help_of([command, "--help-all"], capsys)
    assert len(help_of([command, "--help"], capsys).splitlines()) <= 45  # the default is back


def test_all_flags_of_an_unknown_command_are_an_error(capsys) -> None:
    code, message, _, _ = fails(["nope", "--help-all"], capsys)
    assert code == 2 and "nope" in message


def test_help_of_lr_says_what_it_does_to_the_search(commands: App) -> None:
    (lr,) = (argument for argument in commands["compare"].assemble_argument_collection() if "--lr" in argument.names)
    assert "search" in lr.parameter.help and "search" in COMPARE["--lr"]


def test_diagnose_has_only_flags_of_its_own(commands: App) -> None:
    assert flags_of(commands["diagnose"]) == {"FOLDER", "--json"}
    flags = flags_of(commands["ablate"])
    assert {"--seeds", "--runs", "--engine", "--start", "--lr"} <= flags
    assert not {"--network", "--norm", "--shortcut", "--tuning"} & flags


def test_a_switch_of_a_settings_file_can_be_turned_off(tmp_path: Path, monkeypatch) -> None:
    plans = []
    monkeypatch.setattr(runner, "check", lambda plan, _reporter: plans.append(plan))
    switches = [name for name, (_, field) in plan_fields().items() if field.annotation is bool]
    (tmp_path / "s.toml").write_text("".join(f"{name} = true\n" for name in switches))
    words = ["train", "digits", "--optimizer", "sgd", "--config", str(tmp_path / "s.toml"), "--dry-run"]
    main(words)
    main([*words, *(word for name in switches for word in flag_words(name, False))])
    on, off = plans
    assert {name: on.value(name) for name in switches} == dict.fromkeys(switches, True)
    assert {name: off.value(name) for name in switches} == dict.fromkeys(switches, False)


def test_lists_are_repeatable_flags_and_numbers_may_be_separated_by_commas(monkeypatch) -> None:
    plans = []
    monkeypatch.setattr(runner, "check", lambda plan, _reporter: plans.append(plan))
    main(["train", "digits", "--dry-run", "--classes", "a, b", "--classes", "c", "--milestones", "10%,20%"])
    main(["train", "digits", "--dry-run", "--milestones", "10%", "--milestones", "20%"])
    assert plans[0].data.classes == ("a, b", "c")
    assert plans[0].recipe.milestones == plans[1].recipe.milestones == resolve_settings(
        {"milestones": ["10%", "20%"]}
    ).plan.recipe.milestones  # fmt: skip


def test_quiet_and_verbose_change_what_a_command_reports(capsys, monkeypatch) -> None:
    def check(_plan: object, reporter: ConsoleReporter) -> None:
        reporter.say(verbatim("a note"))

    monkeypatch.setattr(runner, "check", check)
    shown = {}
    for flag in ("--quiet", "-q", "", "--verbose", "-v"):
        capsys.readouterr()
        main(["train", "digits", "--dry-run", *filter(None, [flag])])
        out, shown[flag] = capsys.readouterr()
        assert "[recipe]" in out
    assert shown["--quiet"] == shown["-q"] == "" and shown[""] == "a note\n"
    assert re.fullmatch(r" *\d+\.\d s  a note\n", shown["--verbose"]) and shown["-v"].endswith("a note\n")
    code, message, _, before = fails(["train", "--quiet", "--verbose"], capsys)
    assert code == 2 and before == [] and values_of(message) == []


def test_verbose_reports_every_setting() -> None:
    settings = resolve_settings({"source": "photos", "lr": 0.5})
    assert [name for name, *_ in settings.table()] == ["source", "lr"]
    assert [name for name, *_ in settings.table(defaults=True)] == list(plan_fields())


def test_tensorboard_serves_on_a_host_and_opens_the_browser(tmp_path: Path, monkeypatch, capsys) -> None:
    served: list[tuple[Path, int, str]] = []
    opened: list[str] = []

    def launch(folder: Path, port: int, host: str) -> str:
        served.append((folder, port, host))
        return f"http://{host}:{port}/"

    monkeypatch.setattr(tensorboard_server, "launch", launch)
    monkeypatch.setattr(tensorboard_server, "wait", lambda: None)
    monkeypatch.setattr("webbrowser.open", opened.append)
    main(["tensorboard", str(tmp_path)])
    assert served == [(tmp_path, 6006, "127.0.0.1")] and opened == []
    main(["tensorboard", str(tmp_path), "--host", "0.0.0.0", "--port", "1", "--open"])
    assert served[1:] == [(tmp_path, 1, "0.0.0.0")] and opened == ["http://0.0.0.0:1/"]
    assert capsys.readouterr().out.splitlines()[-1] == "http://0.0.0.0:1/"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_has_the_commands_and_flags(shell: str, commands: App, tmp_path: Path, capsys) -> None:
    script = tmp_path / "headstart"
    assert help_of(["--install-completion", "--shell", shell, "--output", str(script)], capsys) == f"{script}\n"
    text = script.read_text()
    for name in ("compare", "tensorboard", "time-budget", "quiet"):
        assert name in text


def test_unknown_shell_is_a_usage_error(monkeypatch, capsys) -> None:
    from cyclopts.completion.detect import ShellDetectionError

    def detect() -> str:
        raise ShellDetectionError

    monkeypatch.setattr("cyclopts.completion.detect.detect_shell", detect)
    code, _, hint, before = fails(["--install-completion"], capsys)
    assert code == 2 and before == [] and "--shell" in hint
