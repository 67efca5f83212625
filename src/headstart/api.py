"""Python API: the commands as functions that return values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headstart.config.resolve import checkpoint_interval, resolve_settings
from headstart.config.study_file import read_study
from headstart.config.study_request import build_study_spec
from headstart.console import ConsoleReporter
from headstart.engines.registry import EngineChoice
from headstart.experiment import compare as orchestrator
from headstart.inference.evaluate import ModelEvaluation
from headstart.inference.evaluate import evaluate as _evaluate
from headstart.inference.predictor import Prediction, Predictor
from headstart.reporter import NullReporter, Reporter
from headstart.results.diagnosis import Diagnosis
from headstart.results.diagnosis import diagnose as _diagnose
from headstart.results.run import Run
from headstart.results.study import Study
from headstart.runs import runner
from headstart.telemetry.trackers.registry import require_trackers


def train(
    data: str | Path | None = None,
    *,
    config: str | Path | None = None,
    preset: str | None = None,
    runs: str | Path = "runs",
    save_every: str | None = None,
    log: str | Sequence[str] = (),
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Train one run and return it.

    Args:
        data: folder of class folders, manifest, or `digits`. Default: the data of `config`, or `digits`.
        config: TOML file with settings; `settings` override it.
        preset: name of a preset; `config` and `settings` override it.
        runs: folder in which the run's folder is created.
        save_every: interval between checkpoints, as text; see `--save-every` in `headstart train --help`.
        log: names of trackers to which the curves are sent too: `wandb`, `mlflow`.
        quiet: report no progress.
        **settings: fields of the plan by name, as on the command line (`optimizer="adam"`, `lr=1e-3`, `epochs="10ep"`).

    Raises:
        UsageError: a setting is invalid.
        DataError: the images or weights are missing or unsuitable.
        DivergedError: the loss became NaN or infinite.
        ResourceError: disk space, memory or permissions are insufficient.
        ModelFileError: a weights file is unsafe or does not fit.
        InterruptedRunError: SIGINT or SIGTERM stopped the run.
    """
    file = Path(config) if config is not None else None
    flags = {"source": None if data is None else str(data), **settings}
    trackers = _trackers(log)
    plan = resolve_settings(flags, file=file, preset=preset).plan
    interval = checkpoint_interval(save_every)
    with _reporter(quiet) as reporter:
        return Run(runner.run_new(plan, Path(runs), reporter, save_every=interval, trackers=trackers))


def resume(
    folder: str | Path, *, save_every: str | None = None, log: str | Sequence[str] = (), quiet: bool = False
) -> Run:
    """Resume an interrupted run; the result is bit-identical to that of an uninterrupted run.

    Args:
        folder: folder of the run.
        save_every: interval between checkpoints, as text; see `--save-every` in `headstart train --help`.
        log: trackers, as in `train`; a tracker that the run had continues its curves.
        quiet: report no progress.

    Raises:
        UsageError: the plan has changed, or another process uses the run.
        DataError: the folder is not a run, or the data has changed; the message shows the difference.
        DivergedError: the loss became NaN or infinite.
        ResourceError: disk space, memory or permissions are insufficient.
        ModelFileError: a checkpoint or weights file is unsafe or does not fit.
        InterruptedRunError: SIGINT or SIGTERM stopped the run.
    """
    interval, trackers = checkpoint_interval(save_every), _trackers(log)
    with _reporter(quiet) as reporter:
        return Run(runner.resume(Path(folder), reporter, save_every=interval, trackers=trackers))


def compare(
    data: str | Path | None = None,
    *,
    arms: str | Sequence[str] = (),
    vary: Mapping[str, Sequence[Any]] | None = None,
    config: str | Path | None = None,
    preset: str | None = None,
    runs: str | Path = "runs",
    engine: str | EngineChoice = "auto",
    log: str | Sequence[str] = (),
    quiet: bool = False,
    **settings: Any,
) -> Study:
    """Compare arms in a pre-declared experiment with paired seeds and searched learning rates; return the study.

    Args:
        data: folder of class folders, manifest, or `digits`. Default: the data of `config`, or `digits`.
        arms: arms as `START[+TUNING][+HEAD][@OPTIMIZER]`. Default: scratch, and ImageNet weights with full fine-tuning,
            a frozen backbone, and LP-FT. On the built-in digits: scratch and weights pretrained on digits 0 to 5.
        vary: values of plan fields by field name; the arms are crossed with them.
        config: TOML file with settings of the plan; `settings` override it.
        preset: name of a preset; `config` and `settings` override it.
        runs: folder in which the study's folder is created.
        engine: where runs execute: the name of an engine as in `headstart compare --help`, or `EngineChoice(NAME,
            ADDRESS)` for an engine that connects to a cluster.
        log: trackers for all runs, as in `train`.
        quiet: report no progress.
        **settings: fields of the protocol (`seeds=5`, `target=0.75`, `margin="1pt"`) and of the plan (`epochs="10ep"`).

    Raises:
        HeadstartError: as for `train`.
    """
    chosen, trackers = _engine_choice(engine), _trackers(log)
    arms = [arms] if isinstance(arms, str) else arms
    explicit = {name: value for name, value in settings.items() if value is not None}
    spec = build_study_spec(data, arms, vary, None, config, preset, explicit)
    with _reporter(quiet) as reporter:
        finished = orchestrator.compare(spec, Path(runs), chosen, reporter, explicit=explicit, trackers=trackers)
        return Study(finished.folder)


def run_study(
    study: str | Path,
    *,
    runs: str | Path = "runs",
    engine: str | EngineChoice = "auto",
    log: str | Sequence[str] = (),
    quiet: bool = False,
) -> Study:
    """Run the study that a study.toml declares, or resume the study in a folder; return the study.

    Args:
        study: study.toml of a new study, or folder of a study that has begun.
        runs: folder in which the folder of a new study is created.
        engine: where runs execute, as in `compare`.
        log: trackers for all runs, as in `train`.
        quiet: report no progress.

    Raises:
        HeadstartError: as for `train`.
    """
    chosen, trackers = _engine_choice(engine), _trackers(log)
    path = Path(study)
    with _reporter(quiet) as reporter:
        target = path if path.is_dir() else read_study(path)
        return Study(orchestrator.compare(target, Path(runs), chosen, reporter, trackers=trackers).folder)


def predict(model: str | Path, images: str | Path | Sequence[str | Path]) -> list[Prediction]:
    """Classify images with a trained model; return one prediction per image.

    A missing or unreadable image gives a prediction with an `error`.

    Args:
        model: run, model folder, or folder of runs (the best by val).
        images: image files and folders; a folder gives its images and those of its subfolders.

    Raises:
        ModelFileError: the model is missing, unsafe or incomplete.
    """
    paths = [images] if isinstance(images, (str, Path)) else images
    return list(Predictor(model).predict([Path(p) for p in paths]))


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    split: str = "auto",
    classes: str | Sequence[str] = (),
    skip_bad: bool = False,
    allow_outside: bool = False,
) -> ModelEvaluation:
    """Return accuracy with its confidence interval, loss and confusion matrix of a model on labeled images.

    Args:
        model: run, model folder, or folder of runs (the best by val).
        data: folder of class folders, manifest, or `digits`.
        split: train, val, test, all, or auto (the images that the model was not trained on).
        classes: evaluate only these classes. Default: all.
        skip_bad: leave out images that cannot be decoded.
        allow_outside: allow files outside the data folder in manifests and links.

    Raises:
        UsageError: a class or split is unknown.
        DataError: the images are missing or unsuitable.
        ModelFileError: the model is missing, unsafe or incomplete.
    """
    classes = [classes] if isinstance(classes, str) else classes
    return _evaluate(
        model,
        str(data),
        NullReporter(),
        split=split,
        classes=classes,
        skip_bad=skip_bad,
        allow_outside=allow_outside,
    )


def diagnose(folder: str | Path) -> list[Diagnosis]:
    """Return for each run in a run's or study's folder the health findings of its training, each with advice.

    Raises:
        DataError: the folder contains no runs.
    """
    return _diagnose(Path(folder))


def _engine_choice(engine: str | EngineChoice) -> EngineChoice:
    return EngineChoice(engine) if isinstance(engine, str) else engine


def _trackers(log: str | Sequence[str]) -> tuple[str, ...]:
    return require_trackers([log] if isinstance(log, str) else log)


@contextmanager
def _reporter(quiet: bool) -> Iterator[Reporter]:
    if quiet:
        yield NullReporter()
    else:
        with ConsoleReporter() as reporter:
            yield reporter
