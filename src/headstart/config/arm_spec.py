"""Parse the arms of a study as users write them, and name their initial weights."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from headstart.config.one_of import registered_name
from headstart.config.run_config import ArmConfig
from headstart.config.start_spec import (
    absolute_start,
    inner_start,
    short_start,
    start_path,
    start_problem,
    start_row,
    without_kind,
)
from headstart.i18n import _
from headstart.optim.registry import OPTIMIZERS
from headstart.storage.schemas.arm import USUAL_HEAD, ArmSpec, Tuning, TuningKind
from headstart.text import suggestion

_HEAD = re.compile(ArmConfig.model_fields["head"].metadata[0].pattern)
_PART_NAMES = (*(kind.value for kind in TuningKind if kind is not TuningKind.STAGES), USUAL_HEAD)
_LIKE_AN_OPTIMIZER = re.compile("[a-z]+")  # the end of a path that is no file: file:weights.pth@adm


class UnknownStartError(ValueError):
    """The start of an arm is not one of those in `registry.starts`."""


def parse_arm(text: str) -> ArmSpec:
    """Parse `START[+TUNING][+HEAD][@OPTIMIZER]`, as users write arms.

    The text is parsed from the right, because a path may contain + and @.

    Raises:
        ValueError: the text is not an arm.
    """
    rest, optimizer = _split_optimizer(text)
    settings: dict[str, str | Tuning] = {"optimizer": optimizer} if optimizer else {}
    while "+" in rest:
        before, _unused, last = rest.rpartition("+")
        if "tuning" not in settings and (tuning := _tuning(last)) is not None:
            settings["tuning"] = tuning
        elif _HEAD.fullmatch(last) and "head" not in settings:
            settings["head"] = last
        elif start_row(inner_start(rest)).argument.is_path and not _exists_without_part(rest, before):
            break  # part of a path
        else:
            raise ValueError(
                _(
                    "the arm {arm!r} has a part {part!r} that is neither a tuning nor a head{suggestion}",
                    arm=text,
                    part=last,
                    suggestion=suggestion(last, _PART_NAMES),
                )
            )
        rest = before
    if not rest:
        raise ValueError(_("the arm {arm!r} has no start", arm=text))
    if fault := start_problem(rest):
        raise UnknownStartError(fault)
    return ArmSpec(start=rest, label=short_start(rest), **settings)


def is_unknown_start(text: str) -> bool:
    """Return whether an arm cannot be parsed because of its start."""
    try:
        parse_arm(text)
    except UnknownStartError:
        return True
    except ValueError:
        return False
    return False


def _split_optimizer(text: str) -> tuple[str, str]:
    """Return an arm without its optimizer, and the optimizer; "" if it names none.

    Raises:
        ValueError: what follows @ is not an optimizer, and not part of a path.
    """
    rest, at, last = text.strip().rpartition("@")
    if not at:
        return last, ""
    has_path = start_path(rest) is not None  # `w@Adam` is a file; elsewhere `Adam` is the optimizer adam
    optimizer = last if has_path else registered_name(last, OPTIMIZERS)
    if optimizer in OPTIMIZERS:
        return rest, optimizer
    if has_path and not _LIKE_AN_OPTIMIZER.fullmatch(last):
        return text.strip(), ""
    similar = suggestion(last, OPTIMIZERS)
    raise ValueError(
        _("the arm {arm!r} has no valid optimizer after @{suggestion}", arm=text, suggestion=similar)
        if similar
        else _(
            "the arm {arm!r} has no valid optimizer after @: use {optimizers}",
            arm=text,
            optimizers=", ".join(OPTIMIZERS),
        )
    )


def _tuning(text: str) -> Tuning | None:
    """Return the fine-tuning mode of a text; None if it is none."""
    try:
        return Tuning.parse(text)
    except ValueError:
        return None


def _exists_without_part(whole: str, before: str) -> bool:
    """Return whether only the path before the last `+` of a start exists."""
    whole_path, path = start_path(whole), start_path(before)
    return whole_path is not None and path is not None and path.exists() and not whole_path.exists()


def absolute_arm(text: str) -> str:
    """Return an arm with its path made absolute and its optimizer as registered.

    An invalid arm stays, and validation reports it later.
    """
    try:
        start = parse_arm(text).start
        rest, optimizer = _split_optimizer(text)
    except ValueError:
        return text
    return rest.replace(start, absolute_start(start), 1) + (f"@{optimizer}" if optimizer else "")


def start_names(starts: Iterable[str]) -> dict[str, str]:
    """Return the name of each start: the shortest distinct path ends, numbered where whole paths give equal names.

    Names differ also without their kinds, which sentences leave out: `file:w` and `run:w` become `file:w`, `run:w-2`.
    """
    parts = dict.fromkeys(starts, 1)
    whole = {start: short_start(start, len(start)) for start in parts}
    while True:
        names = {start: short_start(start, count) for start, count in parts.items()}
        ambiguous = [a for a in names for b in names if _alike(names[a], names[b]) and not _alike(whole[a], whole[b])]
        if not ambiguous:
            break
        for start in set(ambiguous):
            parts[start] += 1
    uses: Counter[str] = Counter()
    for start, name in names.items():
        bare = without_kind(name)
        uses[bare] += 1
        names[start] = name if uses[bare] == 1 else f"{name}-{uses[bare]}"
    return names


def _alike(first: str, second: str) -> bool:
    return without_kind(first) == without_kind(second)
