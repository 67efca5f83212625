"""Compare arms, forecast a study, run an ablation, and require a winner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack

from headstart.api.options import (
    PathLike,
    engine_choice,
    given_settings,
    path_or_none,
    reporter_for,
    tracker_names,
)
from headstart.config.plan_values import AblationSettings, StudySettings, VariedValues
from headstart.config.presets import Setting
from headstart.config.study_file import StudySpec
from headstart.config.study_request import build_study_spec, reject_extra_options
from headstart.data.frames import DataSource, is_path, stored_source, temporary_source
from headstart.data.tables.options import TableOptions
from headstart.engines.registry import EngineChoice
from headstart.experiment import best_model
from headstart.experiment import compare as orchestrator
from headstart.experiment import pool as pooling
from headstart.experiment.ablation_grid import ablation_spec
from headstart.experiment.ablation_summary import AblationSummary
from headstart.experiment.planning import Forecast
from headstart.results.run import Run
from headstart.results.study import Study


def compare(
    data: DataSource | None = None,
    *,
    arms: str | Sequence[str] = (),
    vary: Mapping[str, VariedValues] | None = None,
    study: PathLike | None = None,
    config: PathLike | None = None,
    preset: str | None = None,
    runs: PathLike = "runs",
    engine: str | EngineChoice = "auto",
    log: str | Sequence[str] = (),
    quiet: bool = False,
    **settings: Unpack[StudySettings],
) -> Study:
    """Compare arms in a pre-declared experiment with paired seeds and searched learning rates; return the study.

    Args:
        data: folder of class folders, manifest, or `digits`; a data frame with the columns path, label, and optionally
            split and group; or an `ImageFolder` of torchvision. Default: the data of `config`, or `digits`.
        arms: arms as `START[+TUNING][+HEAD][@OPTIMIZER]`. Default: scratch, and ImageNet weights with full fine-tuning,
            a frozen backbone, and LP-FT. On the built-in digits: scratch and weights pretrained on digits 0 to 5.
        vary: values of plan fields by field name; the arms are crossed with them.
        study: study.toml of a declared study, or folder of a study to resume; excludes the other settings.
        config: TOML file with settings of the plan; `settings` override it.
        preset: name of a preset; `config` and `settings` override it.
        runs: folder in which the study's folder is created; not used when a study is resumed. A data frame is kept as
            a file in its folder `manifests/`.
        engine: where runs execute: the name of an engine as in `headstart compare --help`, or `EngineChoice(NAME,
            ADDRESS)` for an engine that connects to a cluster.
        log: trackers for all runs, as in `train`.
        quiet: report no progress.
        **settings: fields of the protocol (`seeds=5`, `target=0.75`, `margin=0.01`) and of the plan (`epochs=10`); None
            means not set.

    Raises:
        HeadstartError: as for `train`.

    Examples:
        >>> study = headstart.compare(
        ...     "digits:0-1", arms=["scratch", "scratch@adam"], seeds=1, search="off", epochs=1, quiet=True
        ... )
        >>> len(study.frame)  # one row per run and epoch
        2
    """
    chosen, given = engine_choice(engine), given_settings(settings, data)
    trackers = tracker_names(log)
    target: StudySpec | Path
    if study is not None and Path(study).is_dir():
        reject_extra_options(Path(study), data is not None, arms, vary, config, preset, given)
        target = Path(study)
    else:
        table = TableOptions()
        if not is_path(data):  # report invalid settings before the data is written
            table = TableOptions.of(_spec("images", arms, vary, study, config, preset, given).plan.data)
        source = None if data is None else stored_source(data, Path(runs), table)
        target = _spec(source, arms, vary, study, config, preset, given)
    explicit = given if study is None else None
    with reporter_for(quiet) as reporter:
        finished = orchestrator.compare(target, Path(runs), chosen, reporter, explicit=explicit, trackers=trackers)
        return Study(finished.folder)


def plan(
    data: DataSource | None = None,
    *,
    arms: str | Sequence[str] = (),
    vary: Mapping[str, VariedValues] | None = None,
    study: PathLike | None = None,
    config: PathLike | None = None,
    preset: str | None = None,
    engine: str | EngineChoice = "auto",
    quiet: bool = False,
    **settings: Unpack[StudySettings],
) -> Forecast:
    """Check everything that `compare` checks, and return what it would do and how long it would take; train nothing.

    The arguments are those of `compare`. The machine is measured if that has not been done yet.

    Raises:
        HeadstartError: as for `train`.

    Examples:
        >>> forecast = headstart.plan("digits:0-1", arms=["scratch", "scratch@adam"], seeds=3, epochs=1, quiet=True)
        >>> forecast.spec.protocol.seeds, forecast.seconds > 0
        (3, True)
        >>> print(forecast)  # doctest: +ELLIPSIS
        3 seeds of 2 arms: scratch and scratch (with adam).
        ...
    """
    chosen, given = engine_choice(engine), given_settings(settings, data)
    table = TableOptions()
    if not is_path(data):
        table = TableOptions.of(_spec("images", arms, vary, study, config, preset, given).plan.data)
    with temporary_source("digits" if data is None else data, table) as text, reporter_for(quiet) as reporter:
        spec = _spec(None if data is None else text, arms, vary, study, config, preset, given)
        return orchestrator.forecast(spec, chosen, reporter, explicit=given if study is None else None)


def ablate(
    data: DataSource,
    *,
    seeds: int = 1,
    runs: PathLike = "runs",
    engine: str | EngineChoice = "auto",
    log: str | Sequence[str] = (),
    quiet: bool = False,
    **settings: Unpack[AblationSettings],
) -> AblationSummary:
    """Train networks with and without shortcuts and BatchNorm in three depths; return the effect of each.

    The same call resumes a stopped ablation.

    Args:
        data: images, as in `train`.
        seeds: seeds of each network.
        runs: folder in which the ablation's folder is created.
        engine: where runs execute, as in `compare`.
        log: trackers for all runs, as in `train`.
        quiet: report no progress.
        **settings: fields of the plan by name, without those that the ablation varies; `start` must be random weights.

    Raises:
        HeadstartError: as for `train`.

    Examples:
        >>> summary = headstart.ablate("digits", epochs=1)  # doctest: +SKIP
        >>> print(summary)  # doctest: +SKIP
    """
    chosen, given = engine_choice(engine), given_settings(settings, data)
    trackers = tracker_names(log)
    table = TableOptions()
    if not is_path(data):  # report invalid settings before the data is written
        table = TableOptions.of(ablation_spec("images", given, seeds).study.plan.data)
    spec = ablation_spec(stored_source(data, Path(runs), table), given, seeds)
    with reporter_for(quiet) as reporter:
        return orchestrator.compare(spec, Path(runs), chosen, reporter, trackers=trackers)


def pool(
    folders: PathLike | Run | Sequence[PathLike | Run],
    *,
    margin: str | float | None = None,
    target: float | None = None,
    primary: str | None = None,
    trust: bool = False,
    runs: PathLike = "runs",
    quiet: bool = False,
) -> Study:
    """Make one study of finished runs with equal plans but for arm and seed, and return it with its verdict.

    Args:
        folders: runs, folders of runs, or folders that contain runs.
        margin: as in `compare`.
        target: as in `compare`.
        primary: as in `compare`.
        trust: accept runs that somebody else trained; the verdict says so.
        runs: folder in which the folder of the study is created.
        quiet: do not report the runs that do not fit.

    Raises:
        DataError: there are no runs, fewer than two arms have runs with the same seed, a run was changed since it
            ended, or somebody else trained it and `trust` is False.
        UsageError: a rule is invalid.

    Examples:
        >>> settings = {"epochs": "1st", "quiet": True}
        >>> arms = [headstart.train("digits:0-1", optimizer=name, **settings) for name in ("sgd", "adam")]
        >>> [arm.name for arm in headstart.pool(arms, quiet=True).verdict.arms]
        ['scratch@sgd', 'scratch@adam']
    """
    given = folders if isinstance(folders, Sequence) and not isinstance(folders, str) else [folders]
    paths = [Path(item.folder if isinstance(item, Run) else item) for item in given]
    with reporter_for(quiet) as reporter:
        study = pooling.pool(paths, Path(runs), {"margin": margin, "target": target, "primary": primary}, trust=trust)
        for sentence in pooling.summary(study):
            reporter.say(sentence)
    return Study(study.folder)


def require_winner(study: Study | PathLike) -> Run:
    """Return the run whose model is exported if its arm alone is not shown to be worse on the evaluation images.

    Args:
        study: a finished study, or its folder.

    Raises:
        HeadstartError: there is no winner.
        DataError: the study has no verdict yet.

    Examples:
        >>> try:
        ...     model = headstart.require_winner(study).model()
        ... except headstart.HeadstartError as error:  # one seed decides nothing
        ...     print(error.message)
        The study has no winner: scratch and scratch (with adam) are not shown to be worse than any other arm.
    """
    opened = study if isinstance(study, Study) else Study(Path(study))
    best_model.require_winner(opened.verdict)
    return opened.best()


def _spec(
    source: str | None,
    arms: str | Sequence[str],
    vary: Mapping[str, VariedValues] | None,
    study: PathLike | None,
    config: PathLike | None,
    preset: str | None,
    given: Mapping[str, Setting],
) -> StudySpec:
    """Return the study that the arguments specify."""
    names = [arms] if isinstance(arms, str) else arms
    return build_study_spec(source, names, vary, path_or_none(study), path_or_none(config), preset, given)
