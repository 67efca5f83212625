"""Carry out a study or an ablation from its specification to its result, for the command line and the Python API.

Modules that import torch are imported after the checks that do not need it: a missing folder is reported at once, and
the verdict of a finished study is read without torch.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

from headstart.analysis.status import is_study
from headstart.config.new_place import NewPlace
from headstart.config.start_spec import require_start
from headstart.config.study_file import StudySpec, read_study
from headstart.data.sources import require_source
from headstart.engines.registry import EngineChoice, require_listener
from headstart.experiment.ablation_grid import ABLATION_FILE, AblationSpec, read_ablation
from headstart.experiment.conclusion import conclude_if_trained
from headstart.experiment.more_seeds import add_seeds
from headstart.experiment.relocation import relocate_ablation, relocate_study
from headstart.i18n import _
from headstart.models.user_code import pinned, require_network
from headstart.reporter import Reporter
from headstart.runs.relocation import suggesting_new_place
from headstart.storage.locks import locked
from headstart.storage.schemas.verdict import Verdict
from headstart.telemetry.trackers.tracking import tracked

if TYPE_CHECKING:
    from headstart.experiment.ablation_summary import AblationSummary
    from headstart.experiment.planning import Forecast


@dataclass(frozen=True)
class FinishedStudy:
    """A study that has a verdict.

    Attributes:
        folder: Folder of the study.
        verdict: Its verdict.
    """

    folder: Path
    verdict: Verdict


@overload
def compare(  # noqa: D418  (editors show the docstring of the overload)
    study: AblationSpec, runs: Path, engine: EngineChoice, reporter: Reporter, *, trackers: Sequence[str] = ()
) -> AblationSummary:
    """Run or resume an ablation."""


@overload
def compare(  # noqa: D418
    study: StudySpec | Path,
    runs: Path,
    engine: EngineChoice,
    reporter: Reporter,
    *,
    explicit: Container[str] | None = None,
    trackers: Sequence[str] = (),
    place: NewPlace | None = None,
    more_seeds: int | None = None,
) -> FinishedStudy:
    """Run or resume a study."""


@pinned()
def compare(
    study: StudySpec | AblationSpec | Path,
    runs: Path,
    engine: EngineChoice,
    reporter: Reporter,
    *,
    explicit: Container[str] | None = None,
    trackers: Sequence[str] = (),
    place: NewPlace | None = None,
    more_seeds: int | None = None,
) -> FinishedStudy | AblationSummary:
    """Run a new study, resume the study in a folder, or run or resume an ablation.

    Args:
        study: Specification of a new study, the folder of a study that has begun, or an ablation.
        runs: Folder in which the folder of a new study or of an ablation is made.
        engine: Where its runs execute.
        reporter: Receives progress.
        explicit: Names of the settings set by the user, which a time budget does not change. None if the specification
            is complete, as that of a study.toml.
        trackers: Names of trackers to which the records of all runs are sent meanwhile.
        place: The place to which the images of the study in a folder were moved; it is written to its files.
        more_seeds: Number of seeds to add to the study in a folder, which has a verdict.

    Returns:
        The study with its verdict, or the summary of the ablation.

    Raises:
        HeadstartError: Every error about the arms, their weights, the data, the machine or a run.
        InterruptedRunError: A signal stopped the study, which can be resumed.
    """
    if isinstance(study, Path):
        if verdict := _verdict_if_trained(study, reporter, place, more_seeds):
            reporter.say(_("The study {study} is finished; this is its verdict.", study=study))
            with tracked(study, trackers, reporter):
                pass  # what an earlier command has not sent
            return FinishedStudy(study, verdict)
        _require_images(study)
    else:
        require_inputs(study.study if isinstance(study, AblationSpec) else study)
    require_listener(engine)
    if isinstance(study, AblationSpec):
        return _run_ablation(study, runs, engine, reporter, trackers)
    from headstart.engines import factory
    from headstart.experiment import planning
    from headstart.experiment.study import run_study

    if isinstance(study, Path):
        folder = study
    else:
        spec = planning.check_inputs_and_choose_threads(study, engine.name, reporter)
        folder = planning.begin_within_time_budget(spec, explicit, runs, reporter, engine.name)
    plan = read_study(folder).plan
    runs_here = factory.runs_on_this_machine(engine.name, plan.machine)
    with (
        factory.open_engine(engine.name, plan, reporter, engine.address) as run_engine,
        tracked(folder, trackers, reporter),
    ):
        return FinishedStudy(folder, run_study(folder, run_engine, reporter, runs_here=runs_here))


def _verdict_if_trained(
    study: Path, reporter: Reporter, place: NewPlace | None, more_seeds: int | None
) -> Verdict | None:
    """Return the verdict of a study that has nothing left to train, after what was asked to be changed about it."""
    if place is not None:
        relocate_study(study, place, reporter)
    if more_seeds is not None:
        _require_images(study)
        add_seeds(study, more_seeds)
    return conclude_if_trained(study, reporter)


def _require_images(study: Path) -> None:
    """Raise DataError, with how to name a new place, if the images of a study that has begun are not there."""
    data = read_study(study).plan.data
    with suggesting_new_place(study):
        require_source(data.source)


def resume_ablation(
    folder: Path,
    engine: EngineChoice,
    reporter: Reporter,
    trackers: Sequence[str] = (),
    *,
    place: NewPlace | None = None,
) -> AblationSummary:
    """Resume the ablation in a folder, and return its summary; `trackers` and `place` as in `compare`.

    Raises:
        DataError: The folder has no ablation, or its images or the machine have changed.
        HeadstartError: Every other error about the data, the machine or a run.
    """
    spec = read_ablation(folder) if place is None else relocate_ablation(folder, place, reporter)
    with suggesting_new_place(folder):  # not for other data, which an arm is trained on first
        require_source(spec.study.plan.data.source)
    require_inputs(spec.study)
    require_listener(engine)
    return _run_ablation(spec, folder.absolute().parent, engine, reporter, trackers, folder.absolute())


def _run_ablation(
    spec: AblationSpec,
    runs: Path,
    engine: EngineChoice,
    reporter: Reporter,
    trackers: Sequence[str],
    resumed: Path | None = None,
) -> AblationSummary:
    from headstart.engines import factory
    from headstart.experiment import ablation

    begun = ablation.begin(spec, runs, reporter, resumed)
    with (
        factory.open_engine(engine.name, begun.spec.plan, reporter, engine.address) as run_engine,
        tracked(begun.folder, trackers, reporter),
    ):
        return ablation.run_ablation(begun, run_engine, reporter)


@pinned()
def forecast(
    spec: StudySpec, engine: EngineChoice, reporter: Reporter, *, explicit: Container[str] | None = None
) -> Forecast:
    """Check everything that `compare` checks, and return what it would do. Write nothing."""
    require_inputs(spec)
    require_listener(engine)
    from headstart.experiment import planning

    resolved = planning.check_inputs_and_choose_threads(spec, engine.name, reporter)
    return planning.forecast(resolved, explicit, reporter, engine.name)


def rebuild(folder: Path, reporter: Reporter, trackers: Sequence[str] = ()) -> list[Path]:
    """Rebuild the TensorBoard files of a run, or of the runs of a study or an ablation, from the records.

    Args:
        folder: Folder of the run, the study or the ablation.
        reporter: Receives a sentence for each tracker that fails.
        trackers: Names of trackers to which what they do not have is sent.

    Returns:
        The folders whose files were rebuilt.

    Raises:
        DataError: The folder is none of these, or a record is damaged.
        UsageError: Another process uses the folder.
    """
    if is_study(folder):
        from headstart.experiment import study

        folders = study.rebuild(folder)
    elif (folder / ABLATION_FILE).is_file():
        from headstart.experiment import ablation

        folders = ablation.rebuild(folder)
    else:
        from headstart.runs import runner

        folders = [runner.rebuild(folder)]
    if trackers:
        with locked(folder), tracked(folder, trackers, reporter):
            pass  # all is sent at the end of the block
    return folders


def require_inputs(spec: StudySpec) -> None:
    """Raise the error of data, weights or a network that do not exist, before the slow import of torch."""
    require_source(spec.plan.data.source)
    for variant in spec.variants:
        plan = variant.plan(spec.plan)
        require_start(plan.arm.start, in_study=True)
        require_network(plan.network.network)
