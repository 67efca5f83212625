"""Check the commands of a console block without running them."""

import ast
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from cyclopts import CycloptsError

from headstart.cli.compare import _parse_vary
from headstart.cli.main import _application
from headstart.config.resolve import checkpoint_interval, resolve_settings
from headstart.config.study_file import read_study
from headstart.config.study_request import build_study_spec, reject_extra_options
from headstart.engines.registry import EngineChoice
from headstart.errors import HeadstartError
from headstart.experiment.ablation_grid import ablation_spec
from headstart.telemetry.trackers.registry import TRACKERS
from tests.docs.markdown import ROOT

OPERATORS = {"&&", "||", ";", "|", "&"}
REDIRECTIONS = {">", ">>", "<", ">&", "&>"}
DESCRIPTOR = re.compile(r"(?<!\S)\d+(?=[<>])")  # the number before a redirection: `2>&1`
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*")
# Commands of other programs.
UNCHECKED = {".", "cd", "cp", "export", "git", "pipx", "pre-commit", "source", "unzip", "uvx", "wandb"}
FOLDERS = {"benchmarks", "docs", "examples", "src", "tests"}  # of the repository


def split_commands(code: str) -> list[list[str]]:
    """Return the words of each command of a console block, without prompts, comments, output and redirections.

    With a prompt (`$ `) on any line the lines without one are output. A line of a notebook begins with `!`.
    """
    lines = code.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    commands: list[list[str]] = []
    for line in lines:
        words: list[str] = []
        for word in _words(line.removeprefix("!")):
            if word in OPERATORS:
                commands.append(words)
                words = []
            else:
                words.append(word)
        commands.append(words)
    return [simple for words in commands if (simple := _simple(words))]


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(DESCRIPTOR.sub("", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


def _simple(words: list[str]) -> list[str]:
    """Return a command without variables before it and without redirections."""
    while words and ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    for position in reversed([position for position, word in enumerate(words) if word in REDIRECTIONS]):
        words = words[:position] + words[position + 2 :]
    return words


def console_faults(code: str) -> list[str]:
    """Return what is wrong with the commands of a console block."""
    try:
        commands = split_commands(code)
    except ValueError as error:  # quotes without an end
        return [f"the shell cannot read it ({error})"]
    if not commands:
        return ["it has no command"]
    return [f"{shlex.join(words)}: {fault}" for words in commands if (fault := _fault(words))]


def _fault(words: Sequence[str]) -> str:
    program, arguments = PurePosixPath(words[0]).name, words[1:]
    if program in CHECKS:
        return CHECKS[program](arguments)
    return "" if words[0] in UNCHECKED else f"{program} is not among the commands in {Path(__file__).name}"


def _headstart_fault(words: Sequence[str]) -> str:
    """Return why the command line refuses a command; "" if it accepts its flags and their values."""
    try:
        _parse(words)
    except (CycloptsError, HeadstartError, ValueError) as error:
        return str(error)
    return _missing_file(words)


def _parse(words: Sequence[str]) -> None:
    """Parse a command as `headstart` does, and check its settings as the command does before it reads any data."""
    app = _application()
    if help_flags := {"--help", "-h", "--help-all"}.intersection(words):
        _chain, _path, unused = app.parse_commands([word for word in words if word not in help_flags])
        if unused:
            raise ValueError(f"no command {unused[0]}")
        return
    _launch, flags, _unused = app.meta.parse_args(list(words), exit_on_error=False, print_error=False)
    if words == ["--version"]:
        return
    command, bound, _unused = app.parse_args(list(flags.args), exit_on_error=False, print_error=False)
    _check_values(command.__name__, bound.arguments)


def _check_values(command: str, given: Mapping[str, Any]) -> None:
    EngineChoice(given.get("engine", "auto"), given.get("address", ""))
    checkpoint_interval(given.get("save_every"))
    if unknown := set(given.get("log", ())) - TRACKERS.keys():
        raise ValueError(f"no tracker {unknown}")
    source, settings, preset = given.get("source"), given.get("settings", {}), given.get("preset")
    if command in ("check", "train"):
        resolve_settings({"source": source, **settings}, preset=preset)
    elif command == "ablate":
        ablation_spec(given["source"], settings, given.get("seeds", 1))
    elif command == "compare":
        study, arms, varied = given.get("study"), given.get("arm", ()), _parse_vary(given.get("vary", ()))
        if study is None:
            build_study_spec(source, arms, varied, None, None, preset, settings)
        else:
            reject_extra_options(study, source, arms, varied, given.get("config"), preset, settings)
            if (ROOT / study).is_file():
                read_study(ROOT / study)


def _missing_file(words: Sequence[str]) -> str:
    """Return a fault for a path into a folder of the repository that does not exist, also in `--flag=PATH`."""
    paths = [word.partition("=")[2] if word.startswith("-") else word for word in words]
    missing = [path for path in paths if path.partition("/")[0] in FOLDERS and not (ROOT / path).exists()]
    return f"{missing[0]} does not exist" if missing else ""


def _make_fault(words: Sequence[str]) -> str:
    """Return a fault for a word that is no target of the Makefile; variables and flags are none."""
    targets = re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    unknown = [word for word in words if not word.startswith("-") and "=" not in word and word not in targets]
    return f"the Makefile has no target {unknown[0]}" if unknown else ""


def _pip_fault(words: Sequence[str]) -> str:
    """Return a fault for an extra that headstart does not have."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = [match[1] for word in words if (match := re.match(r"(?:headstart|\.)\[(.*)\]", word))]
    unknown = sorted({extra.strip() for names in named for extra in names.split(",")} - set(extras))
    return f"headstart has no extra {unknown[0]}" if unknown else ""


def _python_fault(words: Sequence[str]) -> str:
    """Return a fault for a module or a script that does not exist, or for code that is no Python."""
    if not words:
        return ""
    first, *rest = words
    if first == "-m" and rest:
        module, *arguments = rest
        if module in CHECKS:
            return CHECKS[module](arguments)
        is_found = importlib.util.find_spec(module.partition(".")[0]) and importlib.util.find_spec(module)
        return "" if is_found else f"there is no module {module}"
    if first == "-c" and rest:
        try:
            ast.parse(rest[0])
        except SyntaxError as error:
            return str(error)
        return ""
    return "" if first.startswith("-") or (ROOT / first).is_file() else f"{first} does not exist"


def _pytest_fault(words: Sequence[str]) -> str:
    return _missing_file([word.partition("::")[0] for word in words])


CHECKS: dict[str, Callable[[Sequence[str]], str]] = {
    "headstart": _headstart_fault,
    "make": _make_fault,
    "pip": _pip_fault,
    "pytest": _pytest_fault,
    "python": _python_fault,
    "python3": _python_fault,
}
