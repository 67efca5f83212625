"""What is missing or damaged in a folder of runs although a command can do its work without it, in sentences.

`report`, `figures` and `diagnose` print them, so that all say the same. What would make their output wrong is an error
of the functions that read it. This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from headstart.analysis.run_records import RunRecord, read_run, runs_in
from headstart.analysis.status import absent_runs, checked_verdict, is_study
from headstart.config.plan_file import PLAN_FILE
from headstart.config.study_file import read_study
from headstart.errors import HeadstartError
from headstart.i18n import Message, _, join, ngettext
from headstart.storage import contained
from headstart.storage.archive import read_archive
from headstart.storage.run_files import PREDICTIONS_FILE, STUDY_FILE
from headstart.storage.schemas.gallery import GALLERY_FILE, GalleryIndex
from headstart.storage.schemas.verdict import Verdict
from headstart.text import join_first

_MAX_SHOWN = 3


def remarks(folder: Path) -> list[Message]:
    """Return what is missing or damaged in the folder of a run, of a study or of runs, as sentences.

    Raises:
        DataError: The verdict, a plan or a result is damaged, or study.toml is missing.
        BrokenSealError: A run is not the one that the verdict of the study is about.
    """
    if contained.is_file(folder, PLAN_FILE):
        return list(_run_remarks([read_run(folder)]))
    runs = list(runs_in(folder))
    if not is_study(folder):
        return list(_run_remarks(runs))
    verdict = checked_verdict(folder, runs)
    sentences = [_declaration_remark(folder, verdict), absent_runs(folder, verdict, runs), *_run_remarks(runs)]
    return [sentence for sentence in sentences if sentence]


def _declaration_remark(folder: Path, verdict: Verdict | None) -> Message:
    """Return why the declaration of a study is not that of its verdict; empty if it is."""
    if verdict is None:  # its declaration is read, and an error if it is damaged
        return join([])
    try:
        spec = read_study(folder)
    except HeadstartError as error:
        unknown = _("What was declared, such as the margin, is not known; the verdict stays as it was written.")
        return join([error.message, unknown, error.hint or ""])
    if spec.hash != verdict.study:
        return _("{path} is not the declaration of which the verdict is.", path=folder / STUDY_FILE)
    return join([])


def _run_remarks(runs: Sequence[RunRecord]) -> Iterator[Message]:
    lost = [run.folder / PREDICTIONS_FILE for run in runs if _has_lost_predictions(run)]
    if lost:
        yield ngettext(
            "{count:,} file of predictions is missing or has changed: {names}. What is shown of images is without it.",
            "{count:,} files of predictions are missing or have changed: {names}. What is shown of images is without "
            "them.",
            len(lost),
            names=join_first(list(map(str, lost)), _MAX_SHOWN),
        )
    for run in runs:
        if contained.is_file(run.folder, GALLERY_FILE) and not _has_gallery(run.folder):
            yield _("{path} is damaged: its photos are not shown.", path=run.folder / GALLERY_FILE)


def _has_lost_predictions(run: RunRecord) -> bool:
    """Return whether the predictions of a run that has ended are missing, or have another size than it wrote."""
    stored = None if run.result is None else run.result.seal.files.get(PREDICTIONS_FILE)
    entry = contained.find(run.folder, PREDICTIONS_FILE)
    return stored is not None and (entry is None or entry.size != stored.size)


def _has_gallery(run: Path) -> bool:
    try:
        GalleryIndex.parse(read_archive(run, GALLERY_FILE)["index.json"], "index.json")
    except (HeadstartError, OSError, KeyError):
        return False
    return True
