"""Find the images of a run or of a study at another place: their fingerprint proves that they are the same.

The place is not part of what is hashed. The new one is written to plan.json, so that a later `resume` needs no flag.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from headstart.config.new_place import NewPlace, with_place
from headstart.config.plan_file import PlanFile, read_plan_file, write_plan_file
from headstart.config.registry.starts import MANIFEST_SUFFIXES
from headstart.config.run_config import COLUMN_FIELDS, DataConfig, ResolvedFacts, RunConfig
from headstart.config.start_spec import absolute_source
from headstart.data import hashing, sources
from headstart.data.image_index import ImageIndex
from headstart.data.read_errors import MissingFilesError, ReadError
from headstart.errors import DataError, HeadstartError, UsageError
from headstart.i18n import Message, _, join, ngettext
from headstart.reporter import NullReporter, Reporter
from headstart.storage import locks
from headstart.text import join_first, relative_path

_SHOWN_CLASSES = 5


def relocate_run(folder: Path, place: NewPlace, reporter: Reporter) -> PlanFile:
    """Write the new place of a run's images to its plan.json, and return the content.

    Raises:
        DataError: The images there cannot be read, or are not those of the run. Nothing is changed.
        UsageError: Another process uses the run.
    """
    with locks.locked(folder):
        plan = read_plan_file(folder).plan
        data = find_images(plan, place, folder, reporter)
        write_place(folder, data)
    return read_plan_file(folder)


def write_place(folder: Path, data: DataConfig) -> None:
    """Write where and how the images are read to the plan.json of a run; all else in it stays."""
    content = read_plan_file(folder)
    plan = with_place(content.plan, data)
    write_plan_file(folder, content.model_copy(update={"plan": plan}))


def find_images(plan: RunConfig, place: NewPlace, folder: Path, reporter: Reporter) -> DataConfig:
    """Return the data of a plan at its new place.

    A folder can stand for the table in it that has the name of the former one. The options of the plan are used, or
    none if the new place is of another kind.

    Args:
        plan: A plan with a fingerprint. Without class counts, a difference is not described.
        place: The place.
        folder: The run or study, for messages.
        reporter: Receives the result.

    Raises:
        DataError: The images there cannot be read, or are others.
        UsageError: An option of the plan does not fit the data.
    """
    sources.require_source(place.source)
    read: ImageIndex | None = None
    fault: HeadstartError | None = None
    for data in _candidates(plan.data, place):
        try:
            index = sources.read_data(data)
            found = _fingerprint(plan, data, index)
        except (DataError, UsageError) as error:
            fault = fault or error
            continue
        if found == plan.facts.fingerprint:
            source = relative_path(data.source)
            reporter.say(_("The images of {folder} are read from {source} from now on.", folder=folder, source=source))
            return data
        read = read or index
    if read is None and fault is not None:
        raise fault
    assert read is not None  # noqa: S101
    raise DataError(
        _(
            "The images in {source} are not those of {folder}: {difference}.",
            source=place.source,
            folder=folder,
            difference=image_difference(plan.facts, read),
        ),
        _hint(plan.data, place),
    )


def _candidates(data: DataConfig, place: NewPlace) -> Iterator[DataConfig]:
    """Yield the ways in which the new place can be read; absolute, as in every plan."""
    former, source = Path(data.source), Path(absolute_source(place.source))
    allow_outside = data.allow_outside or place.allow_outside
    if former.suffix.lower() in MANIFEST_SUFFIXES and (source / former.name).is_file():
        yield data.model_copy(update={"source": str(source / former.name), "allow_outside": allow_outside})
    moved = data.model_copy(update={"source": absolute_source(place.source), "allow_outside": allow_outside})
    yield moved
    usual = moved.model_copy(update={"class_folders": "auto"} | dict.fromkeys(COLUMN_FIELDS, ""))
    if usual != moved:
        yield usual


def _fingerprint(plan: RunConfig, data: DataConfig, index: ImageIndex) -> str:
    """Return the fingerprint of the images; with `skip_bad`, of those that can be decoded."""
    fingerprint = hashing.fingerprint(index, hashing.hash_files(index))
    if not data.skip_bad or fingerprint == plan.facts.fingerprint:
        return fingerprint
    from headstart.data.dataset import load_dataset  # slow, for a rare flag

    dataset, _unused = load_dataset(with_place(plan, data), index, NullReporter())
    return hashing.fingerprint(dataset.images, dataset.content_hashes)


def image_difference(facts: ResolvedFacts, index: ImageIndex) -> Message:
    """Return what differs from the images of a plan, as far as its facts tell."""
    numbers = np.bincount(index.labels, minlength=len(index.classes)).tolist()
    before, now = facts.class_counts, dict(zip(index.classes, numbers, strict=True))
    if before and before != now:
        changed = [name for name in {**before, **now} if before.get(name, 0) != now.get(name, 0)]
        return join_first(
            [
                ngettext(
                    "{name!r} has {count:,} image there, and had {former:,}",
                    "{name!r} has {count:,} images there, and had {former:,}",
                    now.get(name, 0),
                    name=name,
                    former=before.get(name, 0),
                )
                for name in changed
            ],
            _SHOWN_CLASSES,
        )
    if before:
        return _("classes and numbers are equal, but names, contents, labels, splits or groups differ")
    return _("the fingerprint is another one")


def _hint(data: DataConfig, place: NewPlace) -> Message:
    former = Path(data.source)
    if former.suffix.lower() in MANIFEST_SUFFIXES and Path(place.source).is_dir():
        return _(
            "It has read the table {table}: copy it into the folder of the images, where its paths lead to them, and "
            "name the copy with --data.",
            table=former if former.is_file() else former.name,
        )
    return _("Name the place to which the images were moved, with their folders and names unchanged.")


@contextmanager
def suggesting_new_place(folder: Path) -> Iterator[None]:
    """Add to an error in reading images within the block how to name their new place.

    Args:
        folder: The run or study that is resumed.
    """
    try:
        yield
    except ReadError as error:
        raise with_new_place(error, _("`headstart resume {folder:shell} --data NEW`", folder=folder)) from error


def with_new_place(error: ReadError, command: Message) -> DataError:
    """Return the error in reading the images of a run with the command that names their new place.

    The hint of the error is kept, unless files are missing: a table that is corrected then would be another one.
    """
    if isinstance(error, MissingFilesError):
        return DataError(
            error.message,
            _("Put the images back or, if they were moved, name their new place: {command}.", command=command),
        )
    moved = _("If the images were moved, name their new place: {command}.", command=command)
    return DataError(error.message, join([error.hint, moved]))
