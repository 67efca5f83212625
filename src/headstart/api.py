"""The Python interface: what the commands do, as functions that return values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart import run
from headstart.settings import settle
from headstart.terminal import Terminal
from headstart.units import Duration
from headstart.use.evaluate import evaluate as _evaluate
from headstart.use.opened import Run
from headstart.use.predictor import Prediction, Predictor
from headstart.voice import Silent, Voice


def train(
    data: str | Path = "digits",
    *,
    config: str | Path | None = None,
    preset: str | None = None,
    runs: str | Path = "runs",
    save_every: str | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Train one run and return it.

    `settings` are the fields of the plan by name (`optimizer="adam"`, `lr=1e-3`, `epochs="10ep"`, …), as on the command
    line. Raises the errors of `headstart.errors`: UsageError, DataError, DivergedError, ResourceError, ModelFileError,
    InterruptedRunError.
    """
    file = Path(config) if config is not None else None
    plan = settle({"source": str(data), **settings}, file=file, preset=preset).plan
    every = Duration.parse(save_every) if save_every else None
    return Run(run.start(plan, Path(runs), _voice(quiet), save_every=every))


def resume(folder: str | Path, *, quiet: bool = False) -> Run:
    """Go on with a run that was stopped, bit for bit as if it had not been."""
    return Run(run.resume(Path(folder), _voice(quiet)))


def predict(model: str | Path, images: str | Path | Sequence[str | Path]) -> list[Prediction]:
    """Predict image files or folders with a run, a model folder or a study."""
    paths = [images] if isinstance(images, (str, Path)) else images
    return list(Predictor(model).predict([Path(p) for p in paths]))


def evaluate(model: str | Path, data: str | Path, *, split: str = "auto") -> dict[str, Any]:
    """Accuracy with its interval, loss and confusion of a model on labelled photos."""
    return _evaluate(model, str(data), Silent(), split=split)


def _voice(quiet: bool) -> Voice:
    return Silent() if quiet else Terminal()
