"""The Python interface: what the commands do, as functions that return values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headstart.analysis.status import ended
from headstart.config.resolve import checkpoint_interval, resolve_settings
from headstart.config.study_file import read_study
from headstart.config.study_request import build_study_spec, reject_extra_options
from headstart.console import ConsoleReporter
from headstart.engines import checked, factory, require_listener
from headstart.experiment.planning import begin, resolve_study
from headstart.experiment.study import run_study
from headstart.inference.evaluate import evaluate as _evaluate
from headstart.inference.predictor import Prediction, Predictor
from headstart.reporter import NullReporter, Reporter
from headstart.results.diagnosis import Diagnosis
from headstart.results.diagnosis import diagnose as _diagnose
from headstart.results.run import Run
from headstart.results.study import Study
from headstart.runs import runner


def train(
    data: str | Path | None = None,
    *,
    config: str | Path | None = None,
    preset: str | None = None,
    runs: str | Path = "runs",
    save_every: str | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Train one run and return it.

    `data` is a folder of class folders, a manifest, or `digits` (the default, where `config` names none). `settings`
    are the fields of the plan by name (`optimizer="adam"`, `lr=1e-3`, `epochs="10ep"`, …), as on the command line.
    Raises UsageError, DataError, DivergedError, ResourceError, ModelFileError, or InterruptedRunError.
    """
    file = Path(config) if config is not None else None
    given = {"source": None if data is None else str(data), **settings}
    plan = resolve_settings(given, file=file, preset=preset).plan
    every = checkpoint_interval(save_every)
    with _reporter(quiet) as reporter:
        return Run(runner.start(plan, Path(runs), reporter, save_every=every))


def resume(folder: str | Path, *, save_every: str | None = None, quiet: bool = False) -> Run:
    """Go on with a run that was stopped, bit for bit as if it had not been.

    Raises UsageError or DataError, with the difference, when its plan or its data have changed.
    """
    every = checkpoint_interval(save_every)
    with _reporter(quiet) as reporter:
        return Run(runner.resume(Path(folder), reporter, save_every=every))


def compare(
    data: str | Path | None = None,
    *,
    arms: Sequence[str] = (),
    vary: Mapping[str, Sequence[Any]] | None = None,
    study: str | Path | None = None,
    config: str | Path | None = None,
    preset: str | None = None,
    runs: str | Path = "runs",
    engine: str = "auto",
    address: str = "",
    quiet: bool = False,
    **settings: Any,
) -> Study:
    """Compare arms in a paired, declared and searched experiment; returns the finished study.

    `arms` are written `START[+TUNING][+HEAD][@OPTIMIZER]` (default: scratch, and pretrained weights fully tuned,
    frozen, and head first); `vary` crosses them with values of any field of the plan. `settings` are fields of the
    protocol (`seeds=5`, `target=0.75`, `tie="1pt"`, …) and of the plan (`epochs="10ep"`, …). `study` is the study.toml
    of a protocol, or the folder of a study to go on with. `engine` is where the runs happen: `here` one after the
    other, `lanes` as many processes as this machine is faster with, `ray` a cluster (the one at `address`), `auto` the
    faster of the first two. Raises what `train` raises.
    """
    checked(engine, address)
    arms = [arms] if isinstance(arms, str) else arms
    with _reporter(quiet) as reporter:
        if study is not None and Path(study).is_dir():
            reject_extra_options(study, data, arms, vary, config, preset, settings)
            folder = Path(study)
            if ended(folder, read_study(folder)):
                return Study(folder)
            require_listener(address)
        else:
            wanted = build_study_spec(data, arms, vary, study, config, preset, settings)
            require_listener(address)
            found = resolve_study(wanted, engine, reporter)
            folder = begin(found, settings if study is None else None, Path(runs), reporter, engine)
        with factory.opened(engine, read_study(folder).plan, reporter, address) as chosen:
            run_study(folder, chosen, reporter)
        return Study(folder)


def predict(model: str | Path, images: str | Path | Sequence[str | Path]) -> list[Prediction]:
    """Predict image files or folders with a run, a model folder or a folder of runs.

    An image that is missing or unreadable gives a prediction with an `error`. Raises ModelFileError for the model.
    """
    paths = [images] if isinstance(images, (str, Path)) else images
    return list(Predictor(model).predict([Path(p) for p in paths]))


def evaluate(
    model: str | Path,
    data: str | Path,
    *,
    split: str = "auto",
    classes: Sequence[str] = (),
    skip_bad: bool = False,
    allow_outside: bool = False,
) -> dict[str, Any]:
    """Accuracy with its interval, loss and confusion of a model on labelled photos; see `headstart evaluate --help`."""
    how: dict[str, Any] = {"classes": classes, "skip_bad": skip_bad, "allow_outside": allow_outside}
    return _evaluate(model, str(data), NullReporter(), split=split, **how)


def diagnose(folder: str | Path) -> list[Diagnosis]:
    """Whether the training of a run, or of a study's runs, is healthy: for each run its findings, each with a cure.

    Raises DataError for a folder without runs.
    """
    return _diagnose(Path(folder))


@contextmanager
def _reporter(quiet: bool) -> Iterator[Reporter]:
    if quiet:
        yield NullReporter()
    else:
        with ConsoleReporter() as terminal:
            yield terminal
