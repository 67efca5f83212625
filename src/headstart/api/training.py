"""Train a run, and resume a run, a study or an ablation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack, overload

from headstart.analysis.status import is_study
from headstart.api.options import (
    PathLike,
    engine_choice,
    given_settings,
    path_or_none,
    reporter_for,
    tracker_names,
)
from headstart.config.new_place import NewPlace
from headstart.config.plan_file import PLAN_FILE, read_plan_file
from headstart.config.plan_values import TrainSettings
from headstart.config.resolve import checkpoint_interval, resolve_settings
from headstart.config.run_config import DataConfig
from headstart.config.stored_code import trusting
from headstart.config.study_file import read_study
from headstart.data.frames import DataSource, is_path, stored_source
from headstart.data.tables.options import TableOptions
from headstart.engines.registry import EngineChoice
from headstart.errors import DataError, UsageError
from headstart.experiment import compare as orchestrator
from headstart.experiment.ablation_grid import ABLATION_FILE, read_ablation
from headstart.experiment.ablation_summary import AblationSummary
from headstart.i18n import _
from headstart.results.run import Run
from headstart.results.study import Study
from headstart.runs import runner


def train(
    data: DataSource | None = None,
    *,
    config: PathLike | None = None,
    preset: str | None = None,
    runs: PathLike = "runs",
    save_every: str | None = None,
    log: str | Sequence[str] = (),
    quiet: bool = False,
    **settings: Unpack[TrainSettings],
) -> Run:
    """Train one run and return it.

    Args:
        data: folder of class folders, manifest, or `digits`; a data frame with the columns path, label, and optionally
            split and group; or an `ImageFolder` of torchvision. Default: the data of `config`, or `digits`.
        config: TOML file with settings; `settings` override it.
        preset: name of a preset; `config` and `settings` override it.
        runs: folder in which the run's folder is created. A data frame is kept as a file in its folder `manifests/`.
        save_every: interval between checkpoints, as text: see `--save-every` in `headstart train --help-all`.
        log: trackers to which the curves are sent too: `wandb`, `mlflow`, or a list of them.
        quiet: report no progress.
        **settings: fields of the plan by name, as on the command line (`optimizer="adam"`, `lr=1e-3`, `epochs=10`);
            None means not set.

    Raises:
        UsageError: a setting is invalid.
        DataError: the images or weights are missing or unsuitable.
        DivergedError: the loss became NaN or infinite.
        ResourceError: disk space, memory or permissions are insufficient.
        ModelFileError: a weights file is unsafe or does not fit.
        InterruptedRunError: SIGINT or SIGTERM stopped the run.

    Examples:
        >>> run = headstart.train("digits:0-1", epochs=1, optimizer="SGD", quiet=True)
        >>> run.test.n  # unseen images
        54
    """
    flags, file = given_settings(settings, data), path_or_none(config)
    interval, trackers = checkpoint_interval(save_every), tracker_names(log)
    table = TableOptions()
    if not is_path(data):
        # report invalid settings before the data is written; digits would have settings of their own
        table = TableOptions.of(resolve_settings({**flags, "source": "images"}, file=file, preset=preset).plan.data)
    if data is not None:
        flags["source"] = stored_source(data, Path(runs), table)
    plan = resolve_settings(flags, file=file, preset=preset).plan
    with reporter_for(quiet) as reporter:
        return Run(runner.run_new(plan, Path(runs), reporter, save_every=interval, trackers=trackers))


@overload
def resume(
    folder: Run,
    *,
    data: DataSource | None = None,
    save_every: str | None = None,
    engine: str | EngineChoice = "auto",
    log: str | Sequence[str] = (),
    trust: bool = False,
    quiet: bool = False,
) -> Run: ...
@overload
def resume(
    folder: Study,
    *,
    data: DataSource | None = None,
    more_seeds: int | None = None,
    save_every: str | None = None,
    engine: str | EngineChoice = "auto",
    log: str | Sequence[str] = (),
    trust: bool = False,
    quiet: bool = False,
) -> Study: ...
@overload
def resume(
    folder: PathLike,
    *,
    data: DataSource | None = None,
    more_seeds: int | None = None,
    save_every: str | None = None,
    engine: str | EngineChoice = "auto",
    log: str | Sequence[str] = (),
    trust: bool = False,
    quiet: bool = False,
) -> Run | Study | AblationSummary: ...
def resume(
    folder: PathLike | Run | Study,
    *,
    data: DataSource | None = None,
    more_seeds: int | None = None,
    save_every: str | None = None,
    engine: str | EngineChoice = "auto",
    log: str | Sequence[str] = (),
    trust: bool = False,
    quiet: bool = False,
) -> Run | Study | AblationSummary:
    """Resume a stopped run, study or ablation; the result is bit-identical to that of an uninterrupted one.

    A finished study or ablation is returned as it is.

    Args:
        folder: its folder, or the run or study itself.
        data: new place of the images, if they were moved, as in `train`; it is kept in the files of the run or study.
        more_seeds: of a finished study: number of seeds to add, up to its `max_seeds`.
        save_every: of a run: interval between checkpoints, as in `train`.
        engine: of a study or an ablation: where its runs execute, as in `compare`.
        log: trackers, as in `train`; the curves in a tracker are continued.
        trust: execute the code of a network that the folder contains and that you have not run before.
        quiet: report no progress.

    Raises:
        UsageError: the run is finished, its plan has changed, another process uses it, or an option does not apply.
        DataError: the folder is no run, study or ablation, or the data has changed; the message shows the difference.
        HeadstartError: as for `train`.

    Examples:
        >>> headstart.resume(study, quiet=True).verdict == study.verdict  # it is finished
        True
    """
    path = Path(folder.folder if isinstance(folder, (Run, Study)) else folder)
    chosen, interval = engine_choice(engine), checkpoint_interval(save_every)
    trackers = tracker_names(log)
    is_run = (path / PLAN_FILE).is_file()
    _require_applicable(path, "engine" if is_run and chosen != EngineChoice() else "")
    _require_applicable(path, "more_seeds" if more_seeds is not None and not (path / "study.toml").is_file() else "")
    _require_applicable(path, "save_every" if not is_run and interval else "")
    with reporter_for(quiet) as reporter, trusting(trust):
        if is_run:
            place = _new_place(path, data, read_plan_file(path).plan.data) if data is not None else None
            return Run(runner.resume(path, reporter, save_every=interval, trackers=trackers, place=place))
        if (path / ABLATION_FILE).is_file():
            place = _new_place(path, data, read_ablation(path).study.plan.data) if data is not None else None
            return orchestrator.resume_ablation(path, chosen, reporter, trackers, place=place)
        if is_study(path):
            place = _new_place(path, data, read_study(path).plan.data) if data is not None else None
            finished = orchestrator.compare(
                path, path.parent, chosen, reporter, trackers=trackers, place=place, more_seeds=more_seeds
            )
            return Study(finished.folder)
    raise DataError(
        _("{folder} is no run, study or ablation.", folder=path),
        _("Use the folder of a run, of a study or of an ablation."),
    )


def _new_place(folder: Path, data: DataSource, former: DataConfig) -> NewPlace:
    """Return the new place of images; a data frame is written beside the folder as in `train`."""
    source = stored_source(data, folder.absolute().parent, TableOptions.of(former))
    return NewPlace(source, allow_outside=not is_path(data))


def _require_applicable(folder: Path, option: str) -> None:
    """Raise UsageError for an option that does not apply to what is resumed; "" for none."""
    if option:
        raise UsageError(_("{option} does not apply to {folder}.", option=option, folder=folder), _("Leave it out."))
