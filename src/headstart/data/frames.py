"""Labeled images that are values of Python: a data frame, or a torchvision `ImageFolder`.

They become a manifest with absolute paths, which a plan can name: runs are resumed, repeated and sent to other
processes from their plan alone. The manifest is beside the runs and not in the cache, which may be deleted at any time.
Its name depends on its content, so that equal data is written once. Names of images are relative to the folder that
contains all of them, so that the same images have the same fingerprint in a folder, an `ImageFolder` and a data frame.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from headstart.data import hashing, sources, splits
from headstart.errors import DataError, ResourceError, UsageError
from headstart.i18n import _
from headstart.storage.files import write_atomic
from headstart.storage.folders import slug
from headstart.text import join_list

if TYPE_CHECKING:
    import pandas as pd

MANIFEST_FOLDER = "manifests"
_COLUMNS = ("path", "label", "split", "group")


@runtime_checkable
class LabeledSamples(Protocol):
    """What is needed of torchvision's `ImageFolder`; its transforms are not used."""

    @property
    def root(self) -> str | Path:
        """Folder of the images."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes."""

    @property
    def samples(self) -> Sequence[tuple[str, int]]:
        """Path and number of the class of each image."""


DataSource: TypeAlias = "str | os.PathLike[str] | pd.DataFrame | LabeledSamples"


def stored_source(data: DataSource, folder: Path) -> str:
    """Return the source of the images as text for a plan; a manifest of values of Python is written if needed.

    Args:
        data: Path or name of a data set, data frame with the columns path, label, and optionally split and group, or
            `ImageFolder`. Relative paths are relative to the working directory.
        folder: Folder of the runs; the manifest is written below it, into `manifests/`.

    Raises:
        UsageError: The data is of another type.
        DataError: A column is missing, or a path or a label is not UTF-8.
        ResourceError: The manifest cannot be written.
    """
    if isinstance(data, (str, os.PathLike)):
        return os.fspath(data)
    stem, frame = _as_frame(data)
    content = frame.to_csv(index=False, lineterminator="\n").encode()
    name = f"{slug(stem)}-{hashlib.sha256(content).hexdigest()[:12]}.csv"
    target = folder.expanduser().absolute() / MANIFEST_FOLDER / name
    try:
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, content)
    except OSError as error:
        raise ResourceError(
            _("The manifest {path} cannot be written ({reason}).", path=target, reason=error.strerror),
            _("Choose another folder with runs=DIR."),
        ) from None
    return str(target)


@contextmanager
def temporary_source(data: DataSource) -> Iterator[str]:
    """Yield the source of the images as text; the manifest of values of Python exists until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="headstart-") as folder:
        yield stored_source(data, Path(folder))


def hold_out_val(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return a data frame with the column split: val for a stratified share of its images, train for the others.

    Images of equal content, and groups, stay together.

    Args:
        frame: Columns path, label and optionally group.
        seed: Seed of the split.

    Raises:
        DataError: The images are missing or unsuitable.
    """
    text = _as_frame(frame)[1]
    with temporary_source(text) as source:
        index = sources.read_index(source, allow_outside=True)
    val = {str(index.paths[i]) for i in splits.split_off_val(index, seed, hashing.hash_files(index))}
    return text.assign(split=["val" if path in val else "train" for path in text["path"]])


def is_path(data: DataSource | None) -> bool:
    """Return True for a path or a name, which need no manifest."""
    return data is None or isinstance(data, (str, os.PathLike))


def _as_frame(data: pd.DataFrame | LabeledSamples) -> tuple[str, pd.DataFrame]:
    """Return a name, and the data as a frame of text with absolute paths."""
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        for name in _COLUMNS[:2]:
            if name not in data:
                raise DataError(
                    _("The data frame has no column {name!r}.", name=name),
                    _("Name its columns {columns}.", columns=join_list(_COLUMNS[:2])),
                )
        stem, frame = "frame", data[[name for name in _COLUMNS if name in data]].astype(object)
    elif isinstance(data, LabeledSamples):
        rows = [(path, data.classes[label]) for path, label in data.samples]
        stem, frame = Path(data.root).absolute().name, pd.DataFrame(rows, columns=list(_COLUMNS[:2]), dtype=object)
    else:
        raise UsageError(
            _("The data is of type {kind}.", kind=type(data).__name__),
            _("Pass a path, a data frame with the columns path and label, or an ImageFolder of torchvision."),
        )
    try:
        text = frame.where(frame.notna(), "").map(str)
        text["path"] = text["path"].map(lambda path: os.path.abspath(path) if path else "")  # noqa: PTH100
        text.map(str.encode)
    except UnicodeEncodeError as error:
        raise DataError(_("A path or a label is not UTF-8 ({reason}).", reason=error), _("Rename it.")) from None
    return stem, text
