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


def fault(name: str) -> str:
    """What is wrong with the name of a start, and the nearest that there is; "" for one that can be."""
    if name in FORMS[: FORMS.index("timm:NAME")] or _WITH_A_NAME.fullmatch(name):
        return fault(name.removeprefix("stats:")) if name.startswith("stats:") else ""
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
    if told := fault(name):
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
