"""The Python interface: what the commands do, as functions that return values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headstart import run
from headstart.engines import choice
from headstart.errors import UsageError
from headstart.forecast import begin
from headstart.protocol import Declared, Protocol, declare, read_study
from headstart.settings import settle
from headstart.study import carry_out
from headstart.terminal import Terminal
from headstart.units import Duration
from headstart.use.diagnosis import Diagnosis
from headstart.use.diagnosis import diagnose as _diagnose
from headstart.use.evaluate import evaluate as _evaluate
from headstart.use.opened import Run
from headstart.use.opened_study import Study
from headstart.use.predictor import Prediction, Predictor
from headstart.voice import Silent, Voice

DEFAULT_ARMS = ("scratch", "imagenet", "imagenet+frozen", "imagenet+lp-ft")
OF_ARMS = {"arm": ("start", "tuning", "head"), "data": ("fraction", "val_judges")}  # what a study decides by itself
DEMO_ARMS = ("scratch", "source:digits:0-5", "source:digits:0-5+frozen", "source:digits:0-5+lp-ft")


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
    plan = settle(given, file=file, preset=preset).plan
    every = interval(save_every)
    with _voice(quiet) as voice:
        return Run(run.start(plan, Path(runs), voice, save_every=every))


def resume(folder: str | Path, *, save_every: str | None = None, quiet: bool = False) -> Run:
    """Go on with a run that was stopped, bit for bit as if it had not been.

    Raises UsageError or DataError, with the difference, when its plan or its data have changed.
    """
    every = interval(save_every)
    with _voice(quiet) as voice:
        return Run(run.resume(Path(folder), voice, save_every=every))


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
    choice.checked(engine, address)
    with _voice(quiet) as voice:
        if study is not None and Path(study).is_dir():
            alone(study, data, arms, vary, config, preset, settings)
            folder = Path(study)
        else:
            wanted = declared(data, arms, vary, study, config, preset, settings)
            found = choice.settled(wanted, engine, voice)
            folder = begin(found, settings if study is None else None, Path(runs), voice)
        with choice.opened(engine, read_study(folder).plan, voice, address) as chosen:
            carry_out(folder, chosen, voice)
        return Study(folder)


def declared(
    data: str | Path | None,
    arms: Sequence[str],
    vary: Mapping[str, Sequence[Any]] | None,
    study: str | Path | None,
    config: str | Path | None,
    preset: str | None,
    settings: Mapping[str, Any],
) -> Declared:
    """What a call of `compare` declares. Raises UsageError with every fault."""
    given = {name: value for name, value in settings.items() if value is not None}
    if study is not None:
        alone(study, data, arms, vary, config, preset, given)
        return read_study(Path(study))
    rules = {name: given.pop(name) for name in Protocol.model_fields if name in given}
    if data in (None, "digits") and not arms and config is None:
        arms, preset = DEMO_ARMS, preset or "demo"
    rules["arms"] = tuple(arms) or DEFAULT_ARMS
    rules["vary"] = {name.replace("-", "_"): tuple(map(str, values)) for name, values in (vary or {}).items()}
    if "lr" in given:
        rules.setdefault("search", "off")
    source = {"source": None if data is None else str(data)}
    plan = settle({**source, **given}, file=Path(config) if config is not None else None, preset=preset).plan
    for section, names in OF_ARMS.items():
        usual = type(getattr(plan, section))()
        if changed := [name for name in names if getattr(getattr(plan, section), name) != getattr(usual, name)]:
            raise UsageError(
                f"{changed[0]} cannot be set for a whole comparison.", "Name it in --arm, or use --vary or --fractions."
            )
    return declare(rules, plan)


def alone(study: str | Path, *others: Any) -> None:
    """Raise UsageError where anything stands beside a study that says everything itself."""
    if any(others):
        raise UsageError(
            f"The study {study} is declared as it stands: nothing can be set beside it.",
            "Leave out the rest, or write it into a study.toml of its own.",
        )


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
    return _evaluate(model, str(data), Silent(), split=split, **how)


def diagnose(folder: str | Path) -> list[Diagnosis]:
    """Whether the training of a run, or of a study's runs, is healthy: for each run its findings, each with a cure.

    Raises DataError for a folder without runs.
    """
    return _diagnose(Path(folder))


def interval(save_every: str | None) -> Duration | None:
    """How often a checkpoint is written, as a user says it. Raises UsageError for what is no duration, or none."""
    if save_every is None:
        return None
    cure = "Write for example 1ep or 50st."
    try:
        every = Duration.parse(save_every)
    except ValueError as error:
        raise UsageError(f"save-every = {error}.", cure) from None
    if every.value <= 0:
        raise UsageError(f"save-every = {save_every!r} is no time at all.", cure)
    return every


@contextmanager
def _voice(quiet: bool) -> Iterator[Voice]:
    if quiet:
        yield Silent()
    else:
        with Terminal() as terminal:
            yield terminal
