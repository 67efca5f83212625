"""Conclude a study whose runs have ended, without its images: make again what is missing or damaged beside the runs.

The runs are verified first. What is made from them, the verdict, the study's model and the report, has nothing that the
runs do not have, and is made again if it was damaged; what it replaces is said. A run that was changed is an error.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

from headstart.analysis.run_records import main_runs, runs_in
from headstart.analysis.status import (
    declared_runs,
    has_all_runs,
    has_model,
    missing_runs,
    other_run,
    other_run_words,
    read_verdict,
    sealed_runs,
)
from headstart.analysis.study_model import require_exported_model, require_whole_model
from headstart.analysis.verdict import stops_early
from headstart.config.study_file import StudySpec, read_study
from headstart.errors import DataError, HeadstartError
from headstart.experiment import cleanup, study_files
from headstart.experiment.run_declaration import is_declared, require_own_runs
from headstart.i18n import NOTHING, Message, _, join
from headstart.report.page import PAGE_NAME
from headstart.reporter import Reporter
from headstart.storage import contained, locks
from headstart.storage.run_files import MODEL_FOLDER, SEARCH_FILE, VARIANTS_FILE, VERDICT_FILE
from headstart.storage.schemas.search import SearchResults
from headstart.storage.schemas.study import VariantsFile
from headstart.storage.schemas.verdict import Verdict
from headstart.text import join_first

_MAX_SHOWN = 3


def conclude_if_trained(folder: Path, reporter: Reporter) -> Verdict | None:
    """Return the verdict of a study that has nothing left to train; None for another one.

    Args:
        folder: Folder of the study.
        reporter: Receives what was damaged and is made again.

    Raises:
        BrokenSealError: A file of a run that has ended has changed, or is missing.
        DataError: study.toml, variants.json or a plan is damaged, an arm has two runs with the same seed, or a run is
            not one that the study declares.
        UsageError: Another process uses the study.
    """
    # a folder that cannot be written, such as a backup, is read as it is
    with locks.locked(folder) if os.access(folder, os.W_OK) else nullcontext():
        return _conclude(folder, reporter)


def _conclude(folder: Path, reporter: Reporter) -> Verdict | None:
    spec = read_study(folder)
    sealed_runs(folder)
    verdict, fault = _valid_verdict(folder, spec)
    if verdict is not None and has_all_runs(folder, verdict):
        study_files.require_variants_file(folder, verdict)
        _restore_outputs(folder, spec, verdict, reporter)
        study_files.say_changed_remains(folder, verdict, reporter)
        return verdict
    results = _search_results(folder, spec)
    if results is None or not _fits(folder, spec, results):
        require_own_runs(folder, spec)
        _say_replaced(folder, spec, fault, reporter)
        return None
    reporter.say(
        join([fault, _("The verdict is computed again from the runs.")])
        if fault
        else _("All runs have ended: the verdict is computed from them.")
    )
    from headstart.experiment.study import conclude

    cleanup.remove_partial_writes(folder)
    return conclude(folder, spec, results, reporter)


def complete_verdict(folder: Path, spec: StudySpec) -> Verdict | None:
    """Return the verdict of a study if nothing of it is missing or damaged, else None; the files of runs are not read.

    Args:
        folder: Folder of the study.
        spec: Its content of study.toml.

    Raises:
        DataError: An arm has two runs with the same seed.
    """
    verdict, _fault = _valid_verdict(folder, spec)
    if verdict is None or not has_all_runs(folder, verdict):
        return None
    has_outputs = contained.is_file(folder, PAGE_NAME) and not _model_fault(folder, verdict)
    return verdict if has_outputs else None


def _valid_verdict(folder: Path, spec: StudySpec) -> tuple[Verdict | None, Message]:
    """Return the verdict of a study if it is that of its runs; else why it is not, empty if there is none yet."""
    if not contained.is_file(folder, VERDICT_FILE):
        return None, NOTHING
    try:
        verdict = read_verdict(folder)
    except DataError as error:  # damaged, or of another schema version
        return None, error.message
    if verdict.study != spec.hash:
        return None, _("{path} is the verdict of another study.", path=folder / VERDICT_FILE)
    if (other := other_run(verdict, runs_in(folder))) is not None:
        return None, other_run_words(other)
    return verdict, NOTHING


def _restore_outputs(folder: Path, spec: StudySpec, verdict: Verdict, reporter: Reporter) -> None:
    """Make the model, the report and search.json of a study again if they are missing or damaged."""
    study_files.restore_search_file(folder, verdict, reporter)
    fault = _model_fault(folder, verdict)
    if fault:
        reporter.say(join([fault, _("The model is copied again from the run {run}.", run=verdict.exported.run)]))
        from headstart.experiment.best_model import export

        export(folder, verdict)
    if not contained.is_file(folder, PAGE_NAME):
        from headstart.experiment.study import write_event_files
        from headstart.report.page import write_page

        reporter.say(_("{path} is missing: it is written again.", path=folder / PAGE_NAME))
        write_event_files(folder, spec)  # the page is written after them: they may be missing too
        write_page(folder)


def _model_fault(folder: Path, verdict: Verdict) -> Message:
    """Return what is wrong with the model of a study; empty if nothing is, or if its run has no model to copy."""
    if not has_model(folder, verdict):
        return NOTHING
    if not contained.is_folder(folder, MODEL_FOLDER):
        return _("{path} is missing.", path=folder / MODEL_FOLDER)
    try:
        require_whole_model(folder)
        require_exported_model(folder, verdict)
    except HeadstartError as error:
        return error.message
    return NOTHING


def _search_results(folder: Path, spec: StudySpec) -> SearchResults | None:
    """Return the results of the search of a study; None if there are none yet, or if the file is damaged."""
    try:
        results = SearchResults.read(folder / SEARCH_FILE)
    except DataError:
        return None
    return results if bool(results.groups) == spec.searches_lr else None


def _fits(folder: Path, spec: StudySpec, results: SearchResults) -> bool:
    """Return whether a study has all runs that it declares, up to an interim analysis that stops it, and no others.

    It is compared without the images, see `run_declaration`.
    """
    runs = main_runs(folder)
    try:
        variants = VariantsFile.read(folder / VARIANTS_FILE)
    except DataError:
        return False
    if not all(is_declared(run, spec, results, variants) for run in runs):
        return False
    for count in (*spec.protocol.interim, len(spec.seed_range)):
        if missing_runs(declared_runs(spec, spec.seed_range[:count]), runs):
            return False
        if stops_early(folder, spec, count):
            return True
    return True


def _say_replaced(folder: Path, spec: StudySpec, fault: Message, reporter: Reporter) -> None:
    """Say that a verdict is replaced, and why: it was damaged, or runs that it is about are not there."""
    if not contained.is_file(folder, VERDICT_FILE):
        return
    absent = missing_runs(declared_runs(spec), main_runs(folder))
    if not fault and absent:
        fault = _(
            "Runs of the verdict are not there or have not ended: {names}.",
            names=join_first([run.words for run in absent], _MAX_SHOWN),
        )
    replaced = _("The verdict is replaced when all runs have ended.")
    reporter.say(join([fault, replaced] if fault else [replaced]))
