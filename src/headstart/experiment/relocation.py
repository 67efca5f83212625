"""Find the images of a study or an ablation at another place, and write it to all its files that name them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from headstart.analysis.run_records import RunRecord, runs_in
from headstart.config.new_place import NewPlace, with_place
from headstart.config.run_config import DataConfig, ResolvedFacts, RunConfig
from headstart.config.study_file import StudySpec, read_study, write_study
from headstart.errors import DataError
from headstart.experiment.ablation_grid import AblationSpec, read_ablation, write_ablation
from headstart.i18n import _
from headstart.reporter import Reporter
from headstart.runs.relocation import find_images, write_place
from headstart.storage import locks
from headstart.storage.schemas.study import VariantsFile


def relocate_study(folder: Path, place: NewPlace, reporter: Reporter) -> None:
    """Write the new place of a study's images to its runs, also finished ones, and then to study.toml.

    Raises:
        DataError: The images there cannot be read, or are not those of the study. Nothing is changed.
        UsageError: Another process uses the study, or study.toml was changed.
    """
    spec = read_study(folder)
    with locks.locked(folder):
        variants = VariantsFile.read(folder / "variants.json").variants
        fingerprint = next((inputs.images for inputs in variants.values() if inputs.images), "")
        data = _find(spec.plan, fingerprint, folder, place, reporter)
        write_study(folder, StudySpec(spec.protocol, with_place(spec.plan, data)))


def relocate_ablation(folder: Path, place: NewPlace, reporter: Reporter) -> AblationSpec:
    """Write the new place of an ablation's images to its runs, and then to ablation.json; return the ablation.

    Raises:
        DataError: The images there cannot be read, or are not those of the ablation, or it has no run that tells which
            these are. Nothing is changed.
        UsageError: Another process uses the ablation.
    """
    spec = read_ablation(folder)
    with locks.locked(folder):
        fingerprint = next((run.plan.facts.fingerprint for run in _runs(folder)), "")
        data = _find(spec.study.plan, fingerprint, folder, place, reporter)
        moved = AblationSpec(replace(spec.study, plan=with_place(spec.study.plan, data)))
        write_ablation(folder, moved)
    return moved


def _find(plan: RunConfig, fingerprint: str, folder: Path, place: NewPlace, reporter: Reporter) -> DataConfig:
    """Find the images with a fingerprint, write their place to the runs that have read them, and return their data."""
    if not fingerprint:
        raise DataError(
            _("{folder} has no run yet that tells which images it reads.", folder=folder),
            _("Begin it again with the new place of the images."),
        )
    known = [run for run in _runs(folder) if run.plan.facts.fingerprint == fingerprint]
    facts = known[0].plan.facts if known else ResolvedFacts(fingerprint=fingerprint)
    data = find_images(plan.with_facts(facts), place, folder, reporter)
    for run in known:
        write_place(run.folder, data)
    return data


def _runs(folder: Path) -> Iterator[RunRecord]:
    """Yield the runs of all stages."""
    for part in ("", "search", "sources"):
        yield from runs_in(folder, part)
