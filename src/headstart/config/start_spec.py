"""Names of starts: parse and check them without torch, whose import takes seconds."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from headstart.errors import DataError, UsageError
from headstart.text import capitalize, suggestion

SCHEMES = {  # initialization schemes of scratch
    "kaiming": "normal, variance 2 / fan-out (He et al. 2015, as torchvision)",
    "xavier": "normal, variance 2 / (fan-in + fan-out) (Glorot and Bengio 2010)",
    "orthogonal": "orthogonal, gain √2 (Saxe et al. 2013)",
    "zero-gamma": "kaiming, and the last norm of every block starts at 0 (Goyal et al. 2017)",
    "torch": "uniform, ±1/√fan-in, biases too, as torch's layers start by themselves",
}
START_FORMS = (
    "scratch",
    *(f"scratch:{s}" for s in SCHEMES),
    "imagenet",
    "timm:NAME",
    "file:PATH",
    "run:DIR",
    "stats:START",
)
_WITH_ARGUMENT = re.compile(r"(?:timm|file|run|stats|source):.+")


def start_problem(name: str) -> str:
    """Return what is wrong with the name of a start, with the most similar valid name; "" for a valid name."""
    if name in START_FORMS[: START_FORMS.index("timm:NAME")] or _WITH_ARGUMENT.fullmatch(name):
        return start_problem(name.removeprefix("stats:")) if name.startswith("stats:") else ""
    kind, colon, scheme = name.partition(":")
    noun, invalid, choices = (
        ("initialization", scheme, SCHEMES) if (kind, colon) == ("scratch", ":") else ("start", name, START_FORMS)
    )
    return f"there is no {noun} {invalid!r}{suggestion(invalid, choices)}"


def require_start(name: str) -> None:
    """Check that a start is valid and that its file or folder exists.

    The data of a `source:` start is not checked here.

    Raises:
        UsageError: the name is not valid.
        DataError: the file or folder does not exist.
    """
    if fault := start_problem(name):
        raise unknown_start_error(fault)
    kind, _, rest = name.partition(":")
    if kind == "stats":
        require_start(rest)
    elif kind == "file" and not (path := Path(rest).expanduser()).exists():
        raise unreadable_weights_error(path, os.strerror(errno.ENOENT))
    elif kind == "run" and not Path(rest).expanduser().is_dir():
        raise DataError(f"There is no folder {rest}.", "Use the folder of a finished run.")


def unknown_start_error(fault: str) -> UsageError:
    """Return the error of an invalid start; `fault` says what is wrong with it."""
    return UsageError(
        f"{capitalize(fault)}{'' if fault.endswith('?') else '.'}",
        f"Use one of {', '.join(START_FORMS)}; in a comparison also source:DATA.",
    )


def unreadable_weights_error(path: Path, reason: str) -> DataError:
    """Return the error of a weights file that cannot be opened."""
    return DataError(f"{path} cannot be opened ({reason}).", "Use an existing weights file.")


_START_PATH = re.compile(r"((?:stats:)?(?:file|run|source):)(.+)")
_BUILTIN = re.compile(r"digits(?::.*)?")


def absolute_start(start: str) -> str:
    """Return a start with its path made absolute."""
    match = _START_PATH.fullmatch(start)
    return start if match is None else match[1] + absolute_source(match[2])


def absolute_source(path: str) -> str:
    """Return the path made absolute; the name of the built-in digits stays as it is."""
    return path if _BUILTIN.fullmatch(path) else str(Path(path).expanduser().absolute())


def short_start(start: str, parts: int = 1) -> str:
    """Return a start with the last `parts` components of its path, for names of arms and folders.

    `file:../w/cifar+1.pth` becomes `file:cifar-1`, because + and @ separate the parts of an arm. With two components
    it becomes `file:w/cifar-1.pth`. `parts` beyond the length of the absolute path have no effect.
    """
    match = _START_PATH.fullmatch(start)
    if match is None or _BUILTIN.fullmatch(match[2]):
        return re.sub(r"[+@,]+", "-", start)
    label = "/".join(Path(absolute_source(match[2])).parts[1:][-parts:])
    if parts == 1:
        label = re.sub(r"[.](safetensors|pth|pt)$", "", label)
    return match[1] + re.sub(r"[+@,]+", "-", label)


def start_path(start: str) -> Path | None:
    """Return the path in a start; None when it has none."""
    match = _START_PATH.fullmatch(start)
    return None if match is None or _BUILTIN.fullmatch(match[2]) else Path(absolute_source(match[2]))
