"""The command line imports nothing slow for help, has a flag per field, and prints tracebacks only with --debug."""

import errno
import inspect
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest
from rich.console import Console

from headstart.cli.app import app
from headstart.cli.main import main
from headstart.cli.options import SECTION_GROUPS
from headstart.config.flag_words import flag_words
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import SECTIONS, STUDY_FIELDS, RunConfig, plan_fields
from headstart.config.study_request import build_study_spec
from headstart.console import ConsoleReporter
from headstart.errors import NoWinnerError, ResourceError, UsageError
from headstart.i18n import Message, translated, verbatim
from headstart.optim.registry import DEFAULT_OPTIMIZER, OPTIMIZERS
from headstart.printable import printable
from headstart.reporter import StudyStatus
from headstart.results.summary import result_sentences
from headstart.runs import runner
from headstart.storage.schemas.result import RESULT_FILE, RunResult
from tests.conftest import environment_for_processes
from tests.messages import fields_of, values_of
from tests.trained import SETTINGS

COMMANDS = ["compare", "check", "train", "resume", "predict", "evaluate", "ablate", "diagnose", "figures"]
COMMANDS += ["import-log", "inspect", "pool", "report", "tensorboard", "verify", "rebuild"]
HEAVY = ("torch", "torchvision", "timm", "tensorboard", "sklearn", "pandas", "scipy", "matplotlib")


def set_width(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Print help in lines of this width. cyclopts keeps a console with the COLUMNS of its first use."""
    monkeypatch.setattr(app, "_console", Console(width=columns))


def fails(words: list[str], capsys) -> tuple[int, Message, Message, list[str]]:
    """Exit code, message and hint of a command that fails, and the lines before them on stderr."""
    shown: list[Message] = []

    def show(text: Message) -> str:
        shown.append(text)
        return translated(text)

    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as exit_info:
        patch.setattr("headstart.cli.output.translated", show)
        main(words)
    output = capsys.readouterr()
    assert output.out == ""
    message, hint = shown
    *before, first, second = output.err.splitlines()
    assert [first, second] == list(map(printable, shown))
    assert isinstance(exit_info.value.code, int)
    return exit_info.value.code, message, hint, before


def run_python(code: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *words],
        capture_output=True,
        text=True,
        env={**environment_for_processes(), **environment},
        timeout=120,
    )


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from headstart.cli.main import main\n"
        "helps = ('--help', '--help-all')\n"
        f"for words in ([], ['--help'], ['--version'], *([c, h] for c in {COMMANDS} for h in helps)):\n"
        "    main(words)\n"
        "import headstart; headstart.UsageError; dir(headstart)\n"
        f"print('LOADED', sorted(set(sys.modules) & set({HEAVY})))\n"
        "headstart.train\n"
        f"print('THEN', sorted(set(sys.modules) & {{'torch'}}))\n"
    )
    process = run_python(code)
    assert process.returncode == 0, process.stderr
    assert "LOADED []" in process.stdout and "THEN ['torch']" in process.stdout
    assert process.stderr == ""


@dataclass(frozen=True)
class Ended:
    """How a command ended that was run in a process of its own: its exit code, output, and heavy modules it loaded."""

    code: int
    out: str
    err: str
    loaded: list[str]


PROGRAM = """
import contextlib, io, json, sys
from headstart.cli.main import main
heavy = set(json.loads(sys.argv[2]))
for words in json.loads(sys.argv[1]):
    code, out, err = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as stop:
            code = stop.code
    print(json.dumps([code, out.getvalue(), err.getvalue(), sorted(set(sys.modules) & heavy)]))
"""


@cache
def ended(commands: tuple[tuple[str, ...], ...], heavy: tuple[str, ...]) -> dict[tuple[str, ...], Ended]:
    """Run commands one after the other in one new process, and return how each has ended."""
    process = run_python(PROGRAM, json.dumps(commands), json.dumps(heavy))
    assert process.returncode == 0 and process.stderr == "", process.stderr
    lines = process.stdout.splitlines()
    return {words: Ended(*json.loads(line)) for words, line in zip(commands, lines, strict=True)}


INVALID_SETTINGS = (
    ("compare", "--arm", "scratch"), ("compare", "--engine", "rey"), ("compare", "--seeds", "none"),
    ("train", "--lr", "-1"), ("train", "--save-every", "x"), ("diagnose", "runs", "--engine", "local"),
    ("train", "--lr", "1,2"), ("train", "--pretrained"),
)  # fmt: skip


@pytest.mark.parametrize("words", INVALID_SETTINGS, ids=" ".join)
def test_invalid_settings_are_reported_before_heavy_imports(words: tuple[str, ...]) -> None:
    end = ended(INVALID_SETTINGS, HEAVY)[words]
    assert end.code == 2 and len(end.err.splitlines()) == 2, end
    assert end.out == "" and end.loaded == []


MISSING_INPUTS = {
    ("compare", "nowhere"): 3,
    ("compare", "digits", "--arm", "scratch", "--arm", "file:nowhere"): 3,
    ("compare", "digits", "--arm", "scratch", "--arm", "source:nowhere"): 3,
    ("compare", "digits", "--arm", "scratch", "--arm", "stats:nowhere"): 2,
    ("train", "nowhere"): 3,
    ("check", "nowhere"): 3,
    ("check", "digits", "--start", "file:nowhere"): 3,
    ("train", "nowhere", "--dry-run"): 3,
    ("train", "digits", "--start", "file:nowhere", "--dry-run"): 3,
    ("ablate", "nowhere"): 3,
    ("train", "digits", "--start", "file:nowhere"): 3,
    ("train", "digits", "--start", "stats:run:nowhere"): 3,
    ("train", "digits", "--start", "nowhere"): 2,
    ("resume", "nowhere"): 3,
    ("predict", "nowhere", "."): 6,
    ("predict", ".", "nowhere", "nowhere else"): 3,
    ("evaluate", "nowhere", "digits"): 6,
    ("evaluate", ".", "nowhere"): 3,
}


@pytest.mark.parametrize("words", MISSING_INPUTS, ids=" ".join)
def test_missing_inputs_are_reported_before_torch_is_imported(words: tuple[str, ...]) -> None:
    end = ended(tuple(MISSING_INPUTS), ("torch", "timm"))[words]
    assert end.code == MISSING_INPUTS[words] and "nowhere" in end.err.splitlines()[0], end
    assert len(end.err.splitlines()) == 2 and end.out == "" and end.loaded == []


def test_without_arguments_it_prints_help(capsys) -> None:
    main([])
    without_arguments = capsys.readouterr().out
    main(["--help"])
    assert capsys.readouterr().out == without_arguments
    assert re.findall(r"^│ (\w[\w-]*)  ", without_arguments, re.MULTILINE) == COMMANDS
    main(["--version"])
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys) -> None:
    main([command, "--help"])
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: headstart {command}")
    assert inspect.getdoc(app[command].default_command).split()[0] in text


def test_every_field_of_the_plan_is_a_flag_with_its_description_choices_and_default(capsys, monkeypatch) -> None:
    set_width(300, monkeypatch)  # names of flags in one line, beside the first line of their help
    main(["train", "--help-all"])
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    flags = {name for argument in app["train"].assemble_argument_collection() for name in argument.names}
    for name, (section, field) in plan_fields().items():
        assert f"--{name.replace('_', '-')}" in flags
        assert SECTION_GROUPS[section].name in text
        if name != "source":
            assert " ".join(field.description.split()) in text
    assert f"optimizer: {', '.join(OPTIMIZERS)} [default: {DEFAULT_OPTIMIZER}]" in text
    assert "[default: 50%,75%]" in text
    order = [text.index(f" {title} ") for title in ("Data", "Model", "Training", "Running")]
    assert order == sorted(order)


VALUES = {
    "classes": ["1", "2"], "min_per_class": 3, "class_folders": "inner",
    "skip_bad": True, "allow_outside": True, "cache_resolution": 2.0, "network": "resnet34",
    "fraction": 0.5, "evaluate_on_val": True,
    "shortcut": "off", "norm": "none", "stem": "imagenet", "start": "scratch:xavier", "tuning": "stages:2", "head":
    "mlp:8", "optimizer": "sgd", "lr": 0.5, "momentum": 0.5, "nesterov": True, "weight_decay": 0.25, "backbone_lr":
    0.5, "schedule": "multistep", "warmup": "2ep", "step_every": "10%", "milestones": ["10%", "20%"], "gamma": 0.5,
    "epochs": "3ep", "head_epochs": "20%", "batch_size": 7, "image_size": 24, "crop": 0.5, "flip": "on", "jitter":
    0.5, "mixup": 0.5, "augmented_views": 3, "label_smoothing": 0.5, "class_weights": "balanced", "clip": 0.5,
    "ema": 0.5, "patience": 3, "select": "balanced", "device": "cpu", "precision": "fp32", "threads": 3, "seed": 3,
    "test_seed": 4, "source": "digits:0-4", "plateau_epochs": 4, "cutmix": 0.0,
    "head_layer": "fc", "stage_layers": ["layer3", "layer4"], "weights_key": "teacher", "path_column": "image",
    "label_column": "class", "split_column": "fold", "group_column": "patient", "merge_labels": True,
    "keep_labels": True, "near_duplicates": "ignore", "head_init": "zero",
}  # fmt: skip


def test_every_flag_reaches_the_plan_and_dry_run_reads_back(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(runner, "check", lambda *_: None)  # the values do not fit together
    assert VALUES.keys() == plan_fields().keys()
    words = ["train", "--dry-run"]
    for name, value in VALUES.items():
        words += flag_words(name, value)
    main(words)
    printed = capsys.readouterr().out
    plan = resolve_settings(VALUES).plan
    assert RunConfig.model_validate(tomllib.loads(printed)) == plan
    unset = resolve_settings({"source": "digits"}).plan
    for name, (section, _) in plan_fields().items():  # every value differs from its default
        if name not in ("optimizer", "device", "cutmix"):  # CutMix cannot be combined with mixup
            assert getattr(getattr(plan, section), name) != getattr(getattr(unset, section), name), name
    (tmp_path / "plan.toml").write_text(printed)
    main(["train", "--config", str(tmp_path / "plan.toml"), "--dry-run", "--source", "digits:0-4"])
    assert capsys.readouterr().out == printed
    assert tomllib.loads(printed)["recipe"]["lr"] == 0.5


def test_config_file_also_sets_the_data(tmp_path: Path, capsys) -> None:
    main(["train", "digits:0-4", "--lr", "0.5", "--dry-run"])
    printed = capsys.readouterr().out
    (tmp_path / "plan.toml").write_text(printed)
    main(["train", "--config", str(tmp_path / "plan.toml"), "--dry-run"])
    assert capsys.readouterr().out == printed


# name -> (words, values of the message)
INVALID_COMMANDS = {
    "no such flag": (["train", "--optimiser", "adam"], ["--optimiser", "--optimizer"]),
    "beginning of a flag": (["train", "--optim", "adam"], ["--optim", "--optimizer"]),
    "unlike any flag": (["train", "--qqq"], ["--qqq"]),
    "flag with value": (["train", "--image-siz=3"], ["--image-siz", "--image-size"]),
    "too many words": (["train", "a", "b"], ["'b'"]),
    "no model": (["predict"], ["MODEL"]),
    "no images": (["predict", "model"], ["IMAGES"]),
    "no value": (["train", "--lr"], ["--lr"]),
    "several devices": (["train", "--device", "0,1"], ["--device", "0, 1"]),
    "no such choice": (["train", "--optimizer", "adm"], ["optimizer", "adm", ", ".join(OPTIMIZERS), "adam"]),
}
# name -> (words, what the message or the hint contains); the messages are those of cyclopts, or have no values
OTHER_INVALID_COMMANDS = {
    "no such command": (["trian"], ["'trian'", "'train'", "compare", "resume"]),
    "two formats": (["predict", "m", "i", "--json", "--csv"], ["--json", "--csv"]),
    "bad port": (["tensorboard", "--port", "x"], ["--port", '"x"']),
}


@pytest.mark.parametrize("name", INVALID_COMMANDS)
def test_invalid_commands_are_reported(name: str, capsys) -> None:
    words, values = INVALID_COMMANDS[name]
    code, message, _, before = fails(words, capsys)
    assert code == 2 and before == []
    assert values_of(message) == values


@pytest.mark.parametrize("name", OTHER_INVALID_COMMANDS)
def test_other_invalid_commands_are_reported(name: str, capsys) -> None:
    words, quoted = OTHER_INVALID_COMMANDS[name]
    code, message, hint, before = fails(words, capsys)
    assert code == 2 and before == []
    assert all(text in f"{message} {hint}" for text in quoted), message


def test_invalid_numbers_are_reported_together(capsys) -> None:
    code, message, _, before = fails(["train", "--lr", "abc", "--seed", "1.5"], capsys)
    assert code == 2 and before == []
    rate, rate_value, _, seed, seed_value, _ = values_of(message)  # each with a text of pydantic
    assert (rate, rate_value, seed, seed_value) == ("lr", "abc", "seed", "1.5")


def small(*more: str) -> list[str]:
    settings = {
        **SETTINGS,
        "source": "digits:0-1",
        "network": "timm:test_resnet",
        "batch_size": 8,
        "image_size": 16,
        "stem": "imagenet",
        "epochs": "3st",
        "precision": "fp32",
    }
    source = settings.pop("source")
    words = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return ["train", source, *words, *more]


def test_results_go_to_stdout_and_progress_to_stderr(tmp_path: Path, capsys) -> None:
    main(small("--runs", str(tmp_path / "a")))
    output = capsys.readouterr()
    (run,) = (tmp_path / "a").iterdir()
    result = RunResult.read(run / RESULT_FILE)
    *sentences, model = output.out.splitlines()
    assert model.endswith(f" {run / 'model'}") and sentences == result_sentences(result)
    assert result.best_epoch == 1 and result.test is not None
    assert "epoch 1/1" in output.err and f"headstart resume {run}" in output.err and "epoch 1/1" not in output.out
    assert "\x1b" not in output.err + output.out
    main(small("--runs", str(tmp_path / "b"), "--json"))
    printed = json.loads(capsys.readouterr().out)
    (run,) = (tmp_path / "b").iterdir()
    assert printed == {"folder": str(run), **json.loads((run / "result.json").read_text())}


def test_force_new_starts_a_second_run_of_the_same_plan(tmp_path: Path, capsys) -> None:
    main(small("--runs", str(tmp_path)))
    (first,) = tmp_path.iterdir()
    capsys.readouterr()
    main(["resume", str(first), "--force-new", "--json"])
    second = Path(json.loads(capsys.readouterr().out)["folder"])
    assert second != first and {first, second} == set(tmp_path.iterdir())
    hashes = {json.loads((folder / "plan.json").read_text())["hash"] for folder in (first, second)}
    assert len(hashes) == 1
    weights = {(folder / "model" / "model.safetensors").read_bytes() for folder in (first, second)}
    assert len(weights) == 1


def on_a_terminal(words: list[str], **environment: str) -> tuple[int, str]:
    """Run `headstart WORDS…` in a pseudo-terminal; return its exit code and its output."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from headstart.cli.main import main; main()", *words],
        stdin=child,
        stdout=child,
        stderr=child,
        env={**os.environ, **environment},
    )
    os.close(child)
    output = b""
    with suppress(OSError):  # Linux reports a closed child end as an error
        while chunk := os.read(parent, 4096):
            output += chunk
    os.close(parent)
    return process.wait(timeout=60), output.decode()


def test_no_color_and_errors_on_a_terminal(tmp_path: Path) -> None:
    code, plain = on_a_terminal(["--help"], NO_COLOR="1", TERM="xterm")
    assert code == 0 and "headstart" in plain
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", plain)
    code, text = on_a_terminal(["train", "--lr", "-1"], TERM="xterm")
    assert code == 2 and text.count("\n") == 2 and "\x1b" not in text


def test_progress_without_a_terminal_is_a_line_every_ten_seconds(capsys, monkeypatch) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr("headstart.console.time.monotonic", lambda: next(clock))
    with ConsoleReporter() as reporter:
        for done in range(1, 11):
            reporter.progress("training", done, 10)
        reporter.say("a [bold]name[/bold] :smile:\x1b[31m\nand more")
    output = capsys.readouterr()
    assert output.out == ""
    *progress, said = output.err.splitlines()
    assert [re.findall(r"\w+", line)[0] for line in progress] == 3 * ["training"]
    assert [re.findall(r"\d+", line) for line in progress] == [["3", "10"], ["6", "10"], ["9", "10"]]
    assert said == "a [bold]name[/bold] :smile:\\x1b[31m\\nand more"


def test_long_runs_of_a_study_leave_no_silence_without_a_terminal(capsys, monkeypatch) -> None:
    monkeypatch.setattr("headstart.console.SILENCE_S", 0.05)
    title = verbatim("comparison 1/9")
    with ConsoleReporter() as reporter:
        reporter.study_status(StudyStatus(title, 0.0, (), verbatim("a run"), verbatim("")))
        deadline = time.monotonic() + 60
        lines: list[str] = []
        while len(lines) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
            lines += capsys.readouterr().err.splitlines()
    assert lines[0] == "a run" and len(lines) >= 3 and all(line.startswith(title) for line in lines[1:])
    capsys.readouterr()
    time.sleep(0.2)
    assert capsys.readouterr().err == ""  # it ends with the reporter


def test_result_is_printed_when_the_reader_of_stderr_has_gone() -> None:
    program = (
        "import sys\nfrom headstart.console import ConsoleReporter\nfrom headstart.i18n import verbatim\n"
        "with ConsoleReporter() as reporter:\n"
        "    sys.stdin.read()\n"
        "    for _ in range(3):\n        reporter.say(verbatim('progress'))\n"
        "print('the result')\n"
    )
    command = [sys.executable, "-c", program]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, env=environment_for_processes(), text=True, **pipes) as process:
        process.stderr.close()
        process.stdin.close()  # the program goes on
        assert process.stdout.read() == "the result\n"
        assert process.wait() == 0


def test_unexpected_error_is_one_sentence_and_a_traceback_with_debug(monkeypatch, capsys, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("first\nsecond")

    monkeypatch.setattr(runner, "run_new", fail)
    code, message, hint, before = fails(small("--runs", str(tmp_path)), capsys)
    assert code == 1
    assert fields_of(message) == {"kind": "ZeroDivisionError", "text": "first second"}
    assert "--debug" in hint and "Traceback" not in "".join(before)
    with pytest.raises(ZeroDivisionError):
        main([*small("--runs", str(tmp_path)), "--debug"])
    with pytest.raises(UsageError):
        main(["--debug", "train", "--lr", "-1"])


@pytest.mark.parametrize(
    ("error", "code", "values", "flag"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 5, ["No space left on device"], ""),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 5, ["Permission denied", "/x"], "--runs"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "/x"), 5, ["Is a directory", "/x"], ""),
        (MemoryError(), 5, [], "--batch-size"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate"), 5, [],
         "--batch-size"),
        (RuntimeError("Storage size calculation overflowed with sizes=[9]"), 5, [], "--batch-size"),
        (ResourceError(verbatim("Disk full."), verbatim("Use --less.")), 5, ["Disk full."], "--less"),
        (NoWinnerError(verbatim("No winner."), verbatim("Read on.")), 7, ["No winner."], ""),
        (KeyboardInterrupt(), 130, [], ""),
        (OSError(errno.EIO, "Input/output error"), 1, ["OSError", "[Errno 5] Input/output error"], "--debug"),
    ],
    ids=str,
)  # fmt: skip
def test_foreign_errors_get_documented_exit_codes(
    error, code: int, values: list[str], flag: str, monkeypatch, capsys
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(runner, "rebuild", fail)
    exit_code, message, hint, before = fails(["rebuild", "x"], capsys)
    assert exit_code == code and before == []
    assert values_of(message) == values and re.findall(r"--[\w-]+", hint)[:1] == ([flag] if flag else [])


def test_closed_output_pipe_is_no_error() -> None:
    code = (
        "import os, sys; from headstart.__main__ import main\n"
        "read, write = os.pipe(); os.close(read); os.dup2(write, 1)\n"
        "from headstart.runs import runner\n"
        "runner.check = lambda *_: None\n"
        "sys.argv[1:] = ['train', '--dry-run']\n"
        "main()\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment_for_processes(), timeout=120
    )
    assert (process.returncode, process.stderr) == (0, "")


def test_ctrl_c_ends_tensorboard_without_traceback(tmp_path: Path) -> None:
    (tmp_path / "study" / "search" / "trial").mkdir(parents=True)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from headstart.cli.main import main; main()",
            "tensorboard",
            str(tmp_path),
            "--port",
            "0",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment_for_processes(),
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0 and "Traceback" not in err
    assert "search/…" in err


def test_package_runs_as_a_module() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "headstart", "--version"],
        capture_output=True,
        text=True,
        env=environment_for_processes(),
        timeout=120,
    )
    assert process.returncode == 0 and process.stdout == f"{version('headstart')}\n" and process.stderr == ""


def test_ctrl_c_during_the_import_of_torch_exits_with_130(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "headstart", "train", "digits:0-1", "--runs", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment_for_processes(),
    )
    maps = Path(f"/proc/{process.pid}/maps")
    while process.poll() is None and "libtorch" not in maps.read_text():
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130 and out == "" and list(tmp_path.iterdir()) == []
    first, _hint = err.splitlines()
    assert "Ctrl-C" in first


def test_every_section_has_a_group_of_flags() -> None:
    assert set(SECTION_GROUPS) == set(SECTIONS)


def test_fields_that_a_study_sets_are_no_flags_of_compare_and_are_refused_in_its_settings() -> None:
    main(["compare", "--help"])  # imports the command
    flags = {name for argument in app["compare"].assemble_argument_collection() for name in argument.names}
    values = {"start": "imagenet", "tuning": "frozen", "head": "mlp:8", "fraction": 0.5, "evaluate_on_val": True,
              "select": "balanced"}  # fmt: skip
    assert values.keys() == STUDY_FIELDS.keys()
    for name, value in values.items():
        assert f"--{name.replace('_', '-')}" not in flags
        with pytest.raises(UsageError) as error:
            build_study_spec("digits", ("scratch", "scratch@adam"), None, None, None, None, {name: value})
        assert fields_of(error.value.message) == {"name": name} and error.value.hint == STUDY_FIELDS[name]
