"""Names of starts: parse and check them without torch, whose import takes seconds."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from headstart.config.registry.starts import (
    RUN_START,
    SCHEMES,
    STARTS,
    Argument,
    StartSpec,
)
from headstart.errors import DataError, UsageError
from headstart.factories import load_factory
from headstart.text import capitalize, suggestion

# The row of a kind that is not registered here: reports may show the runs of another process.
_UNREGISTERED = StartSpec("", Argument.NAME)


def split_start(start: str) -> tuple[str, str]:
    """Return the kind of a start and its argument, "" if it has none."""
    kind, _, argument = start.partition(":")
    return kind, argument


def start_row(start: str) -> StartSpec:
    """Return the row of a start; a kind without a row counts as pretrained weights with a name."""
    return STARTS.get(split_start(start)[0], _UNREGISTERED)


def start_forms(*, in_study: bool = True) -> tuple[str, ...]:
    """Return the forms of all starts, for help and messages; `in_study` includes those that a study trains."""
    specs = {kind: spec for kind, spec in STARTS.items() if in_study or not spec.needs_training}
    return tuple(form for kind, spec in specs.items() for form in _forms(kind, spec))


def _forms(kind: str, spec: StartSpec) -> tuple[str, ...]:
    if spec.argument is Argument.SCHEME:
        return (kind, *(f"{kind}:{scheme}" for scheme in SCHEMES))
    return (f"{kind}:{spec.argument}",) if spec.argument else (kind,)


def describe_forms() -> str:
    """Return the forms of the starts of a single run in one line: "scratch[:kaiming|xavier], imagenet, timm:NAME"."""
    forms = []
    for kind, spec in STARTS.items():
        if spec.argument is Argument.SCHEME:
            forms.append(f"{kind}[:{'|'.join(SCHEMES)}]")
        elif not spec.needs_training:
            forms += _forms(kind, spec)
    return ", ".join(forms)


def random_starts() -> tuple[str, ...]:
    """Return the starts with random weights that depend on no trained weights."""
    return tuple(form for kind, spec in STARTS.items() if spec.from_scratch for form in _forms(kind, spec))


def start_form(kind: str) -> str:
    """Return the form of a kind of start with its placeholder: "file:PATH"."""
    return _forms(kind, STARTS[kind])[-1]


def inner_start(start: str) -> str:
    """Return the start that a start is derived from (`stats:START`), or the start itself."""
    while start_row(start).argument is Argument.START:
        start = split_start(start)[1]
    return start


def run_start(folder: Path | str) -> str:
    """Return the start with the weights of a finished run."""
    return f"{RUN_START}:{folder}"


def start_problem(name: str) -> str:
    """Return what is wrong with the name of a start, with the most similar valid name; "" for a valid name."""
    kind, colon, argument = name.partition(":")
    noun, invalid, choices = "start", name, start_forms(in_study=False)
    if spec := STARTS.get(kind):
        if spec.argument is Argument.START and argument:
            return start_problem(argument)
        if not colon and spec.argument in (Argument.NONE, Argument.SCHEME):
            return ""
        if colon and spec.argument is Argument.SCHEME:
            if argument in SCHEMES:
                return ""
            noun, invalid, choices = "initialization", argument, tuple(SCHEMES)
        elif argument and spec.argument is not Argument.NONE:
            return ""
    return f"there is no {noun} {invalid!r}{suggestion(invalid, choices)}"


def require_start(name: str, *, in_study: bool = False) -> None:
    """Check that a start is valid and that what it names exists, as far as its kind can tell without torch.

    Args:
        name: The start.
        in_study: Weights that a study trains are valid too.

    Raises:
        UsageError: The name is not valid.
        DataError: The file, folder or data set does not exist.
    """
    spec = start_row(name)
    if fault := start_problem(name):
        raise unknown_start_error(fault)
    if spec.needs_training and not in_study:
        raise unknown_start_error(f"there is no start {name!r}")
    argument = split_start(name)[1]
    if spec.argument is Argument.START:
        require_start(argument)
    if spec.check:
        load_factory(spec.check)(argument)


def require_weights_file(path: str) -> None:
    """Raise DataError if there is no weights file or folder at `path`."""
    if not (absolute := Path(path).expanduser()).exists():
        raise unreadable_weights_error(absolute, os.strerror(errno.ENOENT))


def require_run_folder(path: str) -> None:
    """Raise DataError if there is no folder at `path`."""
    if not Path(path).expanduser().is_dir():
        raise DataError(f"There is no folder {path}.", "Use the folder of a finished run.")


def unknown_start_error(fault: str) -> UsageError:
    """Return the error of an invalid start; `fault` says what is wrong with it."""
    forms = start_forms(in_study=False)
    trained = ", ".join(form for form in start_forms() if form not in forms)
    return UsageError(
        f"{capitalize(fault)}{'' if fault.endswith('?') else '.'}",
        f"Use one of {', '.join(forms)}; in a comparison also {trained}.",
    )


def unreadable_weights_error(path: Path, reason: str) -> DataError:
    """Return the error of a weights file that cannot be opened."""
    return DataError(f"{path} cannot be opened ({reason}).", "Use an existing weights file.")


_BUILTIN = re.compile(r"digits(?::.*)?")


def absolute_start(start: str) -> str:
    """Return a start with its path made absolute."""
    prefix, path = _split_path(start)
    return prefix + absolute_source(path) if path else start


def absolute_source(path: str) -> str:
    """Return the path made absolute; the name of the built-in digits stays as it is."""
    return path if _BUILTIN.fullmatch(path) else str(Path(path).expanduser().absolute())


def short_start(start: str, parts: int = 1) -> str:
    """Return a start with the last `parts` components of its path, for names of arms and folders.

    `file:../w/cifar+1.pth` becomes `file:cifar-1`, because + and @ separate the parts of an arm. With two components
    it becomes `file:w/cifar-1.pth`. `parts` beyond the length of the absolute path have no effect.
    """
    prefix, path = _split_path(start)
    if not path:
        return re.sub(r"[+@,]+", "-", start)
    label = "/".join(Path(absolute_source(path)).parts[1:][-parts:])
    if parts == 1:
        label = re.sub(r"[.](safetensors|pth|pt)$", "", label)
    return prefix + re.sub(r"[+@,]+", "-", label)


def start_path(start: str) -> Path | None:
    """Return the path in a start; None when it has none."""
    path = _split_path(start)[1]
    return Path(absolute_source(path)) if path else None


def _split_path(start: str) -> tuple[str, str]:
    """Return what is before the path in a start, and the path; "" twice if it has none."""
    kind, argument = split_start(start)
    spec = start_row(start)
    if spec.argument is Argument.START:
        prefix, path = _split_path(argument)
        return (f"{kind}:{prefix}", path) if path else ("", "")
    is_builtin = spec.needs_training and _BUILTIN.fullmatch(argument)
    return (f"{kind}:", argument) if spec.argument.is_path and argument and not is_builtin else ("", "")
