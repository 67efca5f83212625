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
from headstart.i18n import Message, _
from headstart.path_names import expanded
from headstart.text import did_you_mean, end_sentence, suggestion

# The row of a kind that is not registered here: reports may show the runs of another process.
_UNREGISTERED = StartSpec("", Argument.NAME)


def split_start(start: str) -> tuple[str, str]:
    """Return the kind of a start and its argument, "" if it has none."""
    kind, _unused, argument = start.partition(":")
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


def content_start(start: str) -> str:
    """Return the part of a start that decides its weights besides the hash of its weights file.

    The hash stands for the path or the published name of the weights: `file:a.pth` becomes `file`. An argument of
    another kind stays, also that of an inner start: `shrunk:0.3`.
    """
    kind, argument = split_start(start)
    if _is_in_hash(start):
        return kind
    if start_row(start).argument is Argument.START:
        return kind if _is_in_hash(argument) else f"{kind}:{content_start(argument)}"
    return start


def _is_in_hash(start: str) -> bool:
    """Return True if the argument of a start only names its weights file."""
    spec = start_row(start)
    return spec.argument.is_path or spec.published


def run_start(folder: Path | str) -> str:
    """Return the start with the weights of a finished run."""
    return f"{RUN_START}:{folder}"


def start_problem(name: str) -> Message | None:
    """Return what is wrong with the name of a start, with the most similar valid name; None for a valid name."""
    kind, colon, argument = name.partition(":")
    if spec := STARTS.get(kind):
        if spec.argument is Argument.START and argument:
            return start_problem(argument)
        if not colon and spec.argument in (Argument.NONE, Argument.SCHEME):
            return None
        if colon and spec.argument is Argument.SCHEME:
            similar = suggestion(argument, SCHEMES)
            text = _("there is no initialization {name!r}{suggestion}", name=argument, suggestion=similar)
            return None if argument in SCHEMES else text
        if argument and spec.argument is not Argument.NONE:
            return None
    if name == "pretrained":  # as other programs call it
        return no_start(name, did_you_mean("imagenet"))
    if "/" in name or Path(name).suffix in (".safetensors", ".pth", ".pt", ".ckpt", ".bin"):
        return no_start(name, did_you_mean(f"file:{name}"))
    return no_start(name, suggestion(name, start_forms(in_study=False)))


def no_start(name: str, similar: str = "") -> Message:
    """Return that there is no such start; `similar` suggests another one."""
    return _("there is no start {name!r}{suggestion}", name=name, suggestion=similar)


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
        raise unknown_start_error(no_start(name))
    argument = split_start(name)[1]
    if spec.argument is Argument.START:
        require_start(argument)
    if spec.check:
        load_factory(spec.check)(argument)


def require_weights_file(path: str) -> None:
    """Raise DataError if there is no weights file or folder at `path`."""
    if not (absolute := expanded(path)).exists():
        raise unreadable_weights_error(absolute, os.strerror(errno.ENOENT))


def require_run_folder(path: str) -> None:
    """Raise DataError if there is no folder at `path`."""
    if not expanded(path).is_dir():
        raise DataError(_("There is no folder {path}.", path=path), _("Use the folder of a finished run."))


def unknown_start_error(fault: Message) -> UsageError:
    """Return the error of an invalid start; `fault` says what is wrong with it."""
    forms = start_forms(in_study=False)
    trained = ", ".join(form for form in start_forms() if form not in forms)
    return UsageError(
        end_sentence(_("{fault:cap}", fault=fault)),
        _("Use one of {forms}; in a comparison also {trained}.", forms=", ".join(forms), trained=trained),
    )


def unreadable_weights_error(path: Path, reason: str) -> DataError:
    """Return the error of a weights file that cannot be opened."""
    return DataError(
        _("{path} cannot be opened ({reason}).", path=path, reason=reason), _("Use an existing weights file.")
    )


_BUILTIN = re.compile(r"digits(?::.*)?")


def absolute_start(start: str) -> str:
    """Return a start with its path made absolute."""
    prefix, path = _split_path(start)
    return prefix + absolute_source(path) if path else start


def absolute_source(path: str) -> str:
    """Return the path made absolute; the name of the built-in digits stays as it is."""
    return path if _BUILTIN.fullmatch(path) else str(expanded(path).absolute())


def without_kind(start: str) -> str:
    """Return a start without its kind if it names a file or a run: `file:cifar10` is "cifar10"."""
    is_path = start_row(start).argument in (Argument.PATH, Argument.RUN)
    return split_start(start)[1] if is_path else start


def short_start(start: str, parts: int = 1) -> str:
    """Return a start with the last `parts` components of its path, for names of arms and folders.

    `file:../w/cifar+1.pth` becomes `file:cifar-1`, because + and @ separate the parts of an arm. With two components
    it becomes `file:w/cifar-1.pth`. `parts` beyond the length of the absolute path have no effect.
    """
    prefix, path = _split_path(start)
    if not path:
        return re.sub(r"[+@,]+", "-", start)
    label = "/".join(Path(absolute_source(path)).parts[1:][-parts:])
    suffix = Path(label).suffix
    if parts == 1 and suffix.lower() in start_row(prefix.split(":")[-2]).suffixes:  # of the start in stats:START
        label = label.removesuffix(suffix)
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
