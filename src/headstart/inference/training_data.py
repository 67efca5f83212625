"""Find and read the data that a model was trained on, from the files beside it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from headstart.config.plan_file import PLAN_FILE, PlanFile, read_plan_file
from headstart.config.run_config import DataConfig, ResolvedFacts, RunConfig
from headstart.data import sources
from headstart.data.image_index import ImageIndex
from headstart.data.read_errors import ReadError
from headstart.data.tables.options import TableOptions
from headstart.errors import DataError
from headstart.i18n import Message, _
from headstart.runs.relocation import image_difference, with_new_place
from headstart.storage import contained
from headstart.storage.schemas.verdict import Verdict


def training_plan(model: Path) -> RunConfig | None:
    """Return the plan of the run that a model folder belongs to; None if it belongs to none, or its plan is damaged.

    The best model of a study belongs to the run that its verdict names.
    """
    content = training_run(model)[1]
    return None if content is None else content.plan


def training_run(model: Path) -> tuple[Path, PlanFile | None]:
    """Return the folder and the plan.json of the run that a model folder belongs to, as `training_plan`."""
    run = model.absolute().parent
    try:
        if not contained.is_file(run, PLAN_FILE) and contained.is_file(run, "verdict.json"):
            run = contained.subfolder(run, Verdict.read(run / "verdict.json").exported.run)
        return run, read_plan_file(run) if contained.is_file(run, PLAN_FILE) else None
    except DataError:
        return run, None


def require_plan(plan: RunConfig | None, model: Path) -> RunConfig:
    """Return the plan that a model was trained by; raise DataError if it is unknown.

    Args:
        plan: What `training_plan` returned.
        model: The path that the user named.
    """
    if plan is None:
        raise DataError(
            _("The files of {model} do not say where its images are.", model=model),
            _("Name the place of the images: {command}.", command=_command(model)),
        )
    return plan


def with_options(data: DataConfig, table: TableOptions, *, skip_bad: bool, allow_outside: bool) -> DataConfig:
    """Return data with options that the user gave besides those of the plan, such as a column that was renamed."""
    own = TableOptions.of(data)
    if table.merge_labels or table.keep_labels:
        own = replace(own, merge_labels=False, keep_labels=False)
    given = {field.name: getattr(table, field.name) or getattr(own, field.name) for field in fields(table)}
    del given["classes"]
    more = {"skip_bad": skip_bad or data.skip_bad, "allow_outside": allow_outside or data.allow_outside}
    return data.model_copy(update={**given, **more})


def read_training_images(data: DataConfig, model: Path) -> ImageIndex:
    """Return the index of the images that a model was trained on, read as in its training.

    Args:
        data: The data of the model's plan.
        model: The path that the user named.

    Raises:
        DataError: The images cannot be read. The hint is that of `read_index`, with how to name another place.
        UsageError: As for `read_index`.
    """
    try:
        return sources.read_data(data)
    except ReadError as error:
        raise with_new_place(error, _command(model)) from error


def changed_error(index: ImageIndex, facts: ResolvedFacts, model: Path) -> DataError:
    """Return the error for images of a run that are others than in its training."""
    return DataError(
        _(
            "The images in {source} are not those that {model} was trained on: {difference}.",
            source=index.source,
            model=model,
            difference=image_difference(facts, index),
        ),
        _(
            "To evaluate the model on them nevertheless, or on other images, name their place: {command}.",
            command=_command(model),
        ),
    )


def _command(model: Path) -> Message:
    return _("`headstart evaluate {model:shell} DATA`", model=model)
