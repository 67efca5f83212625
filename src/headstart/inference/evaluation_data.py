"""Read the images on which a model is evaluated, and tell whether they are those that it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from headstart.config.model_file import TrainingData
from headstart.config.run_config import ClassFolders, DataConfig
from headstart.data import duplicates, hashing, overlaps, sources, splits
from headstart.data.image_index import ImageIndex
from headstart.data.near_duplicates import Pairs
from headstart.data.pixel_store import PixelStore
from headstart.data.read_errors import MissingColumnError, NoTableError
from headstart.data.tables.options import ROLES, TableOptions
from headstart.errors import DataError, HeadstartError
from headstart.hardware.cpu import usable_cores
from headstart.i18n import Message, _
from headstart.path_names import expanded
from headstart.reporter import Reporter

OpenStore = Callable[[ImageIndex, Sequence[str]], PixelStore]


@dataclass(frozen=True)
class EvaluationData:
    """Images with their content hashes.

    `own` is True if they are the data that the model was trained on. `bad` are the keys of images left out of it.
    `near_duplicates` are the pairs that the split of the training kept together.
    """

    index: ImageIndex
    content_hashes: Sequence[str]
    own: bool
    bad: tuple[str, ...]
    near_duplicates: Pairs = field(default_factory=Pairs.none)


def read_named(
    source: str, classes: Sequence[str], training: DataConfig | None, given: TableOptions, *, allow_outside: bool
) -> ImageIndex:
    """Return the index of the images that the user named, read as in the training where that is possible.

    Args:
        source: The images.
        classes: Classes of the model.
        training: The data that the model was trained on, None if it is unknown.
        given: Options of the user for a table. With any, those of the training do not count.
        allow_outside: As for `read_index`.
    """
    as_given = given != TableOptions() or training is None
    options = given if as_given or training is None else TableOptions.of(training)

    def read(class_folders: ClassFolders) -> ImageIndex:
        return _read(source, classes, class_folders, options, allow_outside=allow_outside, may_differ=not as_given)

    if training is None or training.class_folders == "auto" or not expanded(source).is_dir():
        return read("auto")
    as_trained: ImageIndex | None = None
    with suppress(HeadstartError):  # the new folder may be laid out in another way
        as_trained = read(training.class_folders)
    if as_trained is not None and set(as_trained.classes) <= set(classes):
        return as_trained
    plain = read("auto")
    return plain if as_trained is None or _known(plain, classes) > _known(as_trained, classes) else as_trained


def _read(
    source: str,
    classes: Sequence[str],
    class_folders: ClassFolders,
    options: TableOptions,
    *,
    allow_outside: bool,
    may_differ: bool,
) -> ImageIndex:
    """Return the index; with `may_differ`, columns that the data does not have are found by the usual names."""
    notes: list[Message] = []
    while True:
        try:
            index = sources.read_evaluation_index(
                source, classes, class_folders=class_folders, allow_outside=allow_outside, table=options
            )
            return replace(index, notes=(*notes, *index.notes))
        except (MissingColumnError, NoTableError) as error:
            if not may_differ:
                raise
            missing = (error.role,) if isinstance(error, MissingColumnError) else ROLES
            if isinstance(error, MissingColumnError):
                notes.append(
                    _(
                        "{source} has no column {name!r}, which was read as {role} in the training: columns are found "
                        "by their names.",
                        source=source,
                        name=options.column(error.role),
                        role=error.role,
                    )
                )
            options = options.without_columns(missing)


def _known(index: ImageIndex, classes: Sequence[str]) -> int:
    """Return the number of images whose class the model has."""
    known = set(classes)
    return int(np.isin(index.labels, [i for i, name in enumerate(index.classes) if name in known]).sum())


def has_copy(
    data: EvaluationData, split: splits.Split, settings: DataConfig | None, reporter: Reporter
) -> npt.NDArray[np.bool_]:
    """Return for each image of the training data whether the model has seen a copy of it, see `overlaps.has_copy`.

    Args:
        data: The data that the model was trained on.
        split: Its split.
        settings: Those of the training, which can ignore near-duplicates; None if they are unknown.
        reporter: Receives progress.
    """
    pairs = data.near_duplicates
    if not split.is_drawn and (settings is None or settings.near_duplicates == "together"):
        pairs = duplicates.find_near_duplicates(
            data.index, data.content_hashes, threads=usable_cores(), reporter=reporter
        )
    return overlaps.has_copy(split, duplicates.copy_numbers(pairs, data.content_hashes))


def split_of_training(data: EvaluationData, training: TrainingData) -> splits.Split:
    """Return the split of the images that a model was trained on, which have their near-duplicates."""
    return splits.divide(
        data.index,
        seed=training.seed,
        test_seed=training.test_seed,
        content_hashes=data.content_hashes,
        near_duplicates=data.near_duplicates,
        fraction=training.fraction,
        evaluate_on_val=training.evaluate_on_val,
    )


def unit_numbers(data: EvaluationData, settings: DataConfig | None, reporter: Reporter) -> npt.NDArray[np.int64]:
    """Return the number of each image's unit, int64 [n]; see `splits.unit_numbers`.

    Args:
        data: The images.
        settings: Those of the training, which can ignore near-duplicates; None if they are unknown.
        reporter: Receives progress.
    """
    pairs = Pairs.none()
    if settings is None or settings.near_duplicates == "together":
        pairs = duplicates.find_near_duplicates(
            data.index, data.content_hashes, threads=usable_cores(), reporter=reporter
        )
    return splits.unit_numbers(data.index, data.content_hashes, pairs)


def match_training_data(
    index: ImageIndex, classes: Sequence[str], fingerprint: str, open_store: OpenStore | None
) -> EvaluationData:
    """Compare images with those that a model was trained on.

    Images that cannot be decoded are left out only if `open_store` is given. Classes that the model does not have are
    left out only if the rest is the data that the model was trained on.

    Args:
        index: The images.
        classes: Classes of the model.
        fingerprint: That of the data that the model was trained on.
        open_store: Decodes the images, and lists those that cannot be decoded.
    """
    known = set(classes)
    shared = [name for name in index.classes if name in known]
    if 2 <= len(shared) < len(index.classes):  # the model may have been trained on these classes only
        match = match_training_data(index.pick(shared), classes, fingerprint, open_store)
        if match.own:
            return match
    hashes = hashing.hash_files(index)
    own = hashing.fingerprint(index, hashes) == fingerprint
    if own or open_store is None:
        return EvaluationData(index, hashes, own, ())
    bad = set(open_store(index, hashes).bad)
    good_index = index.without(bad).without_empty_classes()
    good_hashes = [content for i, content in enumerate(hashes) if i not in bad]
    left_out = tuple(index.keys[i] for i in sorted(bad))
    own = hashing.fingerprint(good_index, good_hashes) == fingerprint
    return EvaluationData(good_index, good_hashes, own, left_out)


def with_near_duplicates(data: EvaluationData, training: TrainingData, reporter: Reporter) -> EvaluationData:
    """Return the data that a model was trained on, with the near-duplicates that its split kept together.

    Raises:
        DataError: Others are found now, so that the split of the training is unknown.
    """
    if not (data.own and training.near_duplicates_sha256):
        return data
    pairs = duplicates.find_near_duplicates(data.index, data.content_hashes, threads=usable_cores(), reporter=reporter)
    if duplicates.clusters_of(pairs, data.content_hashes).digest != training.near_duplicates_sha256:
        raise DataError(
            _(
                "The near-duplicates that are found in {source} are not those that decided the split of the training.",
                source=data.index.source,
            ),
            _("Evaluate on the computer of the training, or on all images with --split all."),
        )
    return replace(data, near_duplicates=pairs)
