"""Check the files of a finished study beside its runs, its verdict and its model: none of them has a seal of its own.

`variants.json` and `search.json` are compared with the verdict and the runs. What the study does not need any more, the
runs of its search and its sources and the backbones that models share, is named if it is not as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from headstart.analysis.run_records import RunRecord, main_runs, runs_in
from headstart.analysis.status import RUN_FOLDERS
from headstart.analysis.verdict import stage_cost
from headstart.config.model_file import BACKBONE_FILE, BACKBONES_FOLDER
from headstart.errors import DataError
from headstart.experiment.run_declaration import has_inputs_of
from headstart.i18n import Message, _
from headstart.reporter import Reporter
from headstart.storage import contained, files, seals
from headstart.storage.run_files import MODEL_FOLDER, SEARCH_FILE, VARIANTS_FILE
from headstart.storage.schemas.schema import StoredFile
from headstart.storage.schemas.search import SearchResults
from headstart.storage.schemas.study import VariantInputs, VariantsFile
from headstart.storage.schemas.verdict import Exposure, Verdict


def restore_search_file(folder: Path, verdict: Verdict, reporter: Reporter) -> None:
    """Write search.json again, of which a valid verdict has the content, if it is missing or was changed."""
    results = SearchResults(groups=verdict.search)
    path = folder / SEARCH_FILE
    try:
        if SearchResults.read(path) == results:
            return
    except DataError:
        pass
    reporter.say(_("{path} is missing, or has changed: it is written again from the verdict.", path=path))
    files.write_json(path, results.to_json())


def require_variants_file(folder: Path, verdict: Verdict) -> None:
    """Raise DataError if variants.json is missing or damaged, or is not that of the verdict and of the runs."""
    path = folder / VARIANTS_FILE
    hint = _("Restore it from a copy of the study. The files of the runs that the verdict names are undamaged.")
    if not contained.is_file(folder, VARIANTS_FILE):
        raise DataError(_("{path} is missing.", path=path), hint)
    variants = VariantsFile.read(path, hint).variants
    exposure = {name: Exposure(classes=one.known_classes, images=one.known_images) for name, one in variants.items()}
    first = next(iter(variants.values()), None)
    if (
        first is None
        or exposure != verdict.exposure
        or (first.overlaps, first.declared) != (verdict.overlaps, verdict.evaluation.declared)
        or not all(_is_of(run, variants.get(run.arm)) for run in main_runs(folder))
    ):
        raise DataError(_("{path} has changed since the study ended.", path=path), hint)


def _is_of(run: RunRecord, inputs: VariantInputs | None) -> bool:
    return inputs is not None and inputs.arm == run.spec and has_inputs_of(run, inputs)


def say_changed_remains(folder: Path, verdict: Verdict, reporter: Reporter) -> None:
    """Say which files that a finished study does not need any more are not as they were."""
    for part, cost in (("search", verdict.cost.search), ("sources", verdict.cost.source)):
        if stage_cost(folder, part) != cost:
            reporter.say(
                _(
                    "The runs in {folder} are not those of which the verdict has the cost. The finished study does not "
                    "need them: its learning rates and its cost stay as they are.",
                    folder=folder / part,
                )
            )
    for path in _damaged_backbones(folder):
        reporter.say(_unneeded(path))


def _unneeded(path: Path) -> Message:
    return _(
        "{path} is damaged. The finished study does not need it: the models of its runs have their own copies. Remove "
        "it.",
        path=path,
    )


def _damaged_backbones(folder: Path) -> Iterator[Path]:
    """Yield the backbones of a study that are not those of a run that has ended."""
    for part in RUN_FOLDERS:
        name = contained.join(part, BACKBONES_FOLDER)
        if not contained.is_folder(folder, name):
            continue
        known = list(_sealed_backbones(folder))
        for entry in contained.entries(folder, name):
            if known and not any(seals.is_stored(folder, contained.join(name, entry.name), stored) for stored in known):
                yield folder / name / entry.name


def _sealed_backbones(folder: Path) -> Iterator[StoredFile]:
    """Yield size and hash of the backbone of each run that has ended, from its seal."""
    for part in RUN_FOLDERS:
        for run in runs_in(folder, part):
            if run.result and (stored := run.result.seal.files.get(contained.join(MODEL_FOLDER, BACKBONE_FILE))):
                yield stored
