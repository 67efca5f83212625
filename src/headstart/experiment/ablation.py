"""Begin and run an ablation of the network with the code that begins and runs a study.

An ablation has no learning-rate search and no verdict, and its folder is named after its configuration: the same
command finds the folder again and resumes.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headstart.analysis.run_records import RunRecord, runs_in
from headstart.analysis.set_uses import uses_words
from headstart.config.run_config import RunConfig
from headstart.config.study_file import StudySpec
from headstart.engines.engine import Engine
from headstart.errors import DataError
from headstart.experiment.ablation_cell import read_cell
from headstart.experiment.ablation_grid import AblationSpec, write_ablation
from headstart.experiment.ablation_summary import AblationSummary, summarize
from headstart.experiment.preflight import common_precision, resolve_arms
from headstart.experiment.progress import Progress, comparison_phase
from headstart.experiment.set_ledger import StudyOnTestSet
from headstart.experiment.study_kind import StudyKind
from headstart.experiment.study_runs import StudyRuns, in_progress
from headstart.hardware import calibration
from headstart.i18n import _, ngettext
from headstart.reporter import Reporter
from headstart.runs import runner
from headstart.storage import folders, locks
from headstart.storage.schemas.ledger import LedgerUse
from headstart.storage.schemas.study import Stage
from headstart.training import setup


def require_two_images(plan: RunConfig) -> None:
    """Raise DataError if the evaluation split has fewer than two images: an interval needs two."""
    split, count = plan.facts.split_counts.evaluation
    if count < 2:
        raise DataError(
            ngettext(
                "The {split} split has {count:,} image, and an ablation needs at least 2.",
                "The {split} split has {count:,} images, and an ablation needs at least 2.",
                count,
                split=split,
            ),
            _("Add images to {split}.", split=split),
        )


ABLATION = StudyKind(
    name=_("ablation"),
    stage=Stage.ABLATION,
    evaluates_on_val=False,
    require_images=require_two_images,
)


@dataclass(frozen=True)
class BegunAblation:
    """An ablation that has a folder.

    Attributes:
        folder: Folder of the runs.
        spec: Its networks and what their runs share, with the machine resolved.
        networks: Resolved configurations of the variants of `spec`, in order.
    """

    folder: Path
    spec: StudySpec
    networks: tuple[setup.ResolvedRun, ...]


def begin(spec: AblationSpec, runs: Path, reporter: Reporter, resumed: Path | None = None) -> BegunAblation:
    """Check every network, resolve the machine, and make the folder or find it again; train nothing.

    Args:
        spec: The ablation.
        runs: Folder in which the ablation's folder is made.
        reporter: Receives notes on the images and on the weights, each once.
        resumed: Folder that it must have, of an ablation that is resumed.

    Raises:
        DataError: The evaluation split has fewer than two images, or the images or the machine have changed since the
            ablation `resumed` began.
        HeadstartError: Every other error about the data or the machine.
    """
    folders.require_writable(runs)
    study = StudySpec(spec.study.protocol, calibration.resolve_machine(spec.study.plan))
    resolved, _unused = resolve_arms(study, reporter, ABLATION)
    folder, precision = _folder_and_precision(runs, study.plan, resolved, resumed)
    if resumed is not None and folder != resumed:
        raise DataError(
            _("The images or the machine have changed since the ablation {folder} began.", folder=resumed),
            _("Restore them, or run the command of the ablation again."),
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_ablation(folder, spec)
    networks = tuple(replace(run, plan=run.plan.changed(precision=precision)) for run in resolved)
    plan = study.plan.changed(precision=precision)
    return BegunAblation(folder, StudySpec(study.protocol, plan), networks)


def _folder_and_precision(
    runs: Path, draft: RunConfig, resolved: Sequence[setup.ResolvedRun], resumed: Path | None
) -> tuple[Path, str]:
    """Return the ablation's folder and the precision of all its runs.

    The folder that is resumed keeps the name of the images' former folder if its digest is right: they may be moved.

    A measured precision may differ when the command is run again. It is then not part of the folder's name, and the
    precision of the first existing run is used.
    """
    precision, first = common_precision(resolved), resolved[0].plan
    measured = draft.machine.precision == "auto"
    named = first.changed(precision="fp32" if measured else precision)
    digest = named.hash[:12]
    folder = runs / f"ablation-{folders.slug(Path(draft.data.source).stem)}-{digest}"
    if resumed is not None and resumed.name.endswith(f"-{digest}"):
        folder = resumed
    existing = next(runs_in(folder), None) if measured else None
    return folder, existing.plan.machine.precision if existing is not None else precision


def run_ablation(ablation: BegunAblation, engine: Engine, reporter: Reporter) -> AblationSummary:
    """Train the networks that are not trained yet, and compare them.

    Raises:
        DataError: The images changed during the ablation.
        InterruptedRunError: A signal stopped a run, or the ablation between two runs. The ablation can be resumed.
    """
    folder, spec = ablation.folder, ablation.spec
    study = StudyRuns(folder, spec, engine, reporter, Progress(spec, compared=ABLATION.stage), ABLATION)
    for variant, network in zip(spec.variants, ablation.networks, strict=True):
        study.add_variant(variant.name, network)
    study.progress.expect(study.planned.plans, study.image_seconds)
    requests = study.planned.comparison_requests(spec.seed_range)
    reporter.say(
        ngettext(
            "{count} run in {folder}. Ctrl-C is safe: resume with `headstart resume {folder:shell}`.",
            "{count} runs in {folder}. Ctrl-C is safe: resume with `headstart resume {folder:shell}`.",
            len(requests),
            folder=folder,
        )
    )
    with in_progress(study):
        records = study.run(comparison_phase(spec, spec.seed_range), folder, requests)
    _enter_in_ledger(folder, records, reporter)
    by_variant: dict[str, list[RunRecord]] = defaultdict(list)
    for request, record in zip(requests, records, strict=True):
        by_variant[request.role.variant].append(record)
    return summarize([read_cell(runs) for runs in by_variant.values()], requests[0].plan, folder)


def _enter_in_ledger(folder: Path, runs: Sequence[RunRecord], reporter: Reporter) -> None:
    """Enter an ablation in the ledger of test sets, and report which studies used its test images."""
    study = hashlib.sha256("\n".join(sorted(run.hash for run in runs)).encode()).hexdigest()
    on_test = StudyOnTestSet.of_runs(folder, study, runs)
    fault = on_test.enter(LedgerUse.ABLATION)
    if (on_test.place or 0) > 1:
        reporter.say(uses_words(on_test.place or 0))
    if fault:
        reporter.say(fault)


def rebuild(folder: Path) -> list[Path]:
    """Rebuild the TensorBoard files of an ablation's runs from their records; return their folders."""
    with locks.locked(folder):
        return [runner.rebuild(run.folder) for run in runs_in(folder)]
