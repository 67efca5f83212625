"""What a start may be called, and whether what it names is there: told without torch, which takes seconds to import."""

from __future__ import annotations

import difflib
import errno
import os
import re
from pathlib import Path

from headstart.errors import DataError, UsageError

SCHEMES = ("kaiming", "xavier", "orthogonal", "zero-gamma", "torch")  # of scratch
FORMS = ("scratch", *(f"scratch:{s}" for s in SCHEMES), "imagenet", "timm:NAME", "file:PATH", "run:DIR", "stats:START")
_WITH_A_NAME = re.compile(r"(?:timm|file|run|stats|source):.+")


def start_error(name: str) -> str:
    """What is wrong with the name of a start, and the nearest that there is; "" for one that can be."""
    if name in FORMS[: FORMS.index("timm:NAME")] or _WITH_A_NAME.fullmatch(name):
        return start_error(name.removeprefix("stats:")) if name.startswith("stats:") else ""
    kind, colon, scheme = name.partition(":")
    what, wanted, known = (
        ("initialisation", scheme, SCHEMES) if (kind, colon) == ("scratch", ":") else ("start", name, FORMS)
    )
    close = difflib.get_close_matches(wanted, known, n=1, cutoff=0.6)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"there is no {what} {wanted!r}{hint}"


def require(name: str) -> None:
    """Raise UsageError for a start that there is not, DataError for one whose file or folder is not there.

    What a `source:` names is data, not weights: it is not looked for here.
    """
    if told := start_error(name):
        raise unknown(told)
    kind, _, rest = name.partition(":")
    if kind == "stats":
        require(rest)
    elif kind == "file" and not (path := Path(rest).expanduser()).exists():
        raise not_there(path, os.strerror(errno.ENOENT))
    elif kind == "run" and not Path(rest).expanduser().is_dir():
        raise DataError(f"There is no folder {rest}.", "Name the folder of a finished run.")


def unknown(told: str) -> UsageError:
    """The error of a start that there is not; `told` is its fault."""
    return UsageError(
        f"{told[0].upper()}{told[1:]}.", f"Use one of {', '.join(FORMS)}; in a comparison also source:DATA."
    )


def not_there(path: Path, reason: str) -> DataError:
    """The error of a file of weights that cannot be opened."""
    return DataError(f"{path} cannot be opened ({reason}).", "Name a weights file that is there.")


_START_PATH = re.compile(r"((?:stats:)?(?:file|run|source):)(.+)")
_BUILTIN = re.compile(r"digits(?::.*)?")


def absolute_start(start: str) -> str:
    """A start with its path made absolute."""
    match = _START_PATH.fullmatch(start)
    return start if match is None else match[1] + _absolute(match[2])


def _absolute(path: str) -> str:
    """The path made absolute; the built-in digits are none."""
    return path if _BUILTIN.fullmatch(path) else str(Path(path).expanduser().absolute())


def short_start(start: str, parts: int = 1) -> str:
    """A start with so many last parts of its path. `file:../w/cifar+1.pth` is `file:cifar-1`: + and @ part an arm.

    With two parts it is `file:w/cifar-1.pth`; `parts` beyond the length of the absolute path change nothing.
    """
    match = _START_PATH.fullmatch(start)
    if match is None or _BUILTIN.fullmatch(match[2]):
        return re.sub(r"[+@,]+", "-", start)
    shown = "/".join(Path(_absolute(match[2])).parts[1:][-parts:])
    if parts == 1:
        shown = re.sub(r"[.](safetensors|pth|pt)$", "", shown)
    return match[1] + re.sub(r"[+@,]+", "-", shown)


def start_path(start: str) -> Path | None:
    """The path that a start names; None where it names none."""
    match = _START_PATH.fullmatch(start)
    return None if match is None or _BUILTIN.fullmatch(match[2]) else Path(_absolute(match[2]))
