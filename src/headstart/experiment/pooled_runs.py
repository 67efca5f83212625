"""The runs that can be pooled: those that can be read, that have ended, and that may be those of others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headstart.analysis.run_records import RunRecord, read_run
from headstart.config.plan_file import PLAN_FILE
from headstart.errors import DataError
from headstart.i18n import Message, _, join, ngettext
from headstart.storage import repair, run_index, seals
from headstart.storage.schemas.study import Stage
from headstart.text import end_sentence, join_first

_MAX_SHOWN = 3


@dataclass(frozen=True)
class LeftOut:
    """A run that does not fit the others, and why; `is_trial` for one that belongs to a search, and fits no pool."""

    folder: Path
    reason: Message
    is_trial: bool = False


def left_out_sentences(left_out: Iterable[LeftOut]) -> list[Message]:
    """Return one sentence for each reason for which runs are left out."""
    by_reason: dict[str, list[LeftOut]] = {}
    for run in left_out:
        by_reason.setdefault(run.reason, []).append(run)
    sentences = []
    for runs in by_reason.values():
        first, names = runs[0], [str(run.folder) for run in runs]
        text = ngettext(
            "{folders} is left out: {reason}",
            "{count:,} runs are left out: {reason} ({folders})",
            len(runs),
            reason=first.reason,
            folders=join_first(names, _MAX_SHOWN),
        )
        sentences.append(end_sentence(text))
    return sentences


def read_runs(paths: Iterable[Path]) -> tuple[list[RunRecord], list[LeftOut]]:
    """Return the runs in folders, each folder once, and those behind links.

    Raises:
        DataError: There are no runs, or the plan or the result of one is damaged.
    """
    runs: dict[Path, RunRecord] = {}
    left_out: dict[Path, LeftOut] = {}
    for path in paths:
        plans = sorted(path.rglob(PLAN_FILE)) if path.is_dir() else []
        for link in _linked_folders(path):
            left_out.setdefault(link.absolute(), LeftOut(link, _("it is behind a link, which is not followed")))
        if not plans and not left_out:
            raise DataError(
                _("There are no runs in {folder}.", folder=path),
                _("Name folders of runs, or a folder with copies of them."),
            )
        for folder in (plan.parent for plan in plans):
            with _naming_other_folders(folder):
                runs.setdefault(folder.resolve(), read_run(folder))
    return list(runs.values()), list(left_out.values())


@contextmanager
def _naming_other_folders(run: Path) -> Iterator[None]:
    """Say beside the hint of an error on a damaged run how to leave it out."""
    try:
        yield
    except DataError as error:
        study = repair.study_of(run)
        way = _("To pool the others, move {folder} to another place.", folder=run if study is None else study)
        error.hint = join([error.hint, way])
        raise


def _linked_folders(path: Path) -> Iterator[Path]:
    """Yield the links to folders of runs below a folder, which `rglob` does not enter."""
    for parent, names, _files in os.walk(path):
        for link in (Path(parent, name) for name in sorted(names)):
            if link.is_symlink() and (link / PLAN_FILE).is_file():
                yield link


def finished_runs(runs: Iterable[RunRecord]) -> tuple[list[RunRecord], list[LeftOut]]:
    """Return the runs that have ended and were evaluated, and the others; a copy of a run counts once."""
    kept: dict[str, RunRecord] = {}
    left_out: list[LeftOut] = []
    for run in runs:
        if run.stage not in (None, Stage.MAIN):
            left_out.append(LeftOut(run.folder, _("trials of a search, and sources of weights"), is_trial=True))
        elif not run.done:
            left_out.append(LeftOut(run.folder, _("not ended")))
        elif run.withholds_test:
            study = run.folder.parent
            reason = _("its study has no verdict; run `headstart resume {folder:shell}`", folder=study)
            left_out.append(LeftOut(run.folder, reason))
        elif run.evaluation_split != "test":
            left_out.append(LeftOut(run.folder, _("not evaluated on test")))
        elif run.hash in kept:
            left_out.append(LeftOut(run.folder, _("it has the plan of {other}", other=kept[run.hash].folder)))
        else:
            kept[run.hash] = run
    return list(kept.values()), left_out


def foreign_runs(runs: Sequence[RunRecord], *, trust: bool) -> set[Path]:
    """Return the folders of the runs that are not in this user's index.

    Raises:
        BrokenSealError: A file of a run has changed since the run ended.
        DataError: There are such runs, and they are not trusted.
    """
    foreign = set()
    for run in runs:
        assert run.result is not None  # noqa: S101 - it has ended
        with _naming_other_folders(run.folder):
            seals.require_all(run.folder, run.result.seal)
        if not run_index.knows_seal(run.result.seal.digest):
            foreign.add(run.folder)
    if foreign and not trust:
        raise DataError(
            ngettext(
                "{count:,} of the {total:,} runs is not one that you trained: {names}.",
                "{count:,} of the {total:,} runs are not ones that you trained: {names}.",
                len(foreign),
                total=len(runs),
                names=join_first([str(folder) for folder in sorted(foreign)], _MAX_SHOWN),
            ),
            join(
                [
                    _(
                        "If you trust the people who trained them, use --trust (in Python trust=True). The verdict "
                        "then says so."
                    ),
                    run_index.fault(),
                ]
            ),
        )
    return foreign
