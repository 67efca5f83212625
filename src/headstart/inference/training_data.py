"""Find the data that a model was trained on, from the files beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headstart.config.plan_file import PLAN_FILE, read_plan_file
from headstart.config.run_config import DataConfig
from headstart.errors import DataError
from headstart.i18n import Message, _
from headstart.storage.schemas.verdict import Verdict


def training_data(model: Path) -> DataConfig | None:
    """Return the data of the run that a model folder belongs to; None if it belongs to none, or its plan is damaged.

    The best model of a study belongs to the run that its verdict names.
    """
    run = model.absolute().parent
    try:
        if not (run / PLAN_FILE).is_file() and (run / "verdict.json").is_file():
            run = run / Verdict.read(run / "verdict.json").exported.run
        return read_plan_file(run).plan.data if (run / PLAN_FILE).is_file() else None
    except DataError:
        return None


def require_data(data: DataConfig | None, model: Path) -> DataConfig:
    """Return the data that a model was trained on; raise DataError if it is unknown.

    Args:
        data: What `training_data` returned.
        model: The path that the user named.
    """
    if data is None:
        raise DataError(_("The files of {model} do not say where its images are.", model=model), _hint(model))
    return data


@contextmanager
def naming_data(model: Path) -> Iterator[None]:
    """Replace the hint of an error within the block, which reads the data of a run: the user has not named it."""
    try:
        yield
    except DataError as error:
        raise DataError(error.message, _hint(model)) from error


def _hint(model: Path) -> Message:
    return _("Name the place of the images: `headstart evaluate {model:shell} DATA`.", model=model)
