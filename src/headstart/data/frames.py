"""Labeled images that are values of Python: a data frame, or a torchvision `ImageFolder`.

They become a manifest with absolute paths, which a plan can name: runs are resumed, repeated and sent to other
processes from their plan alone. The manifest is beside the runs and not in the cache, which may be deleted at any time.
Its name depends on its content, so that equal data is written once. Names of images are relative to the folder that
contains all of them, so that the same images have the same fingerprint in a folder, an `ImageFolder` and a data frame.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from headstart.config.run_config import RunConfig
from headstart.data import hashing, image_index, manifest, splits
from headstart.data.tables import frame_reader
from headstart.data.tables.columns import find_columns
from headstart.data.tables.options import TableOptions
from headstart.errors import DataError, ResourceError, UsageError
from headstart.i18n import _
from headstart.path_names import expanded
from headstart.reporter import Reporter
from headstart.storage import contained
from headstart.storage.folders import slug

if TYPE_CHECKING:
    import pandas as pd

MANIFEST_FOLDER = "manifests"
_FOREIGN = re.compile(r"[A-Za-z]:[/\\]|\\\\|[A-Za-z][A-Za-z0-9+.-]+://")  # of Windows, or an address


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


def stored_source(data: DataSource, folder: Path, options: TableOptions | None = None) -> str:
    """Return the source of the images as text for a plan; a manifest of values of Python is written if needed.

    Args:
        data: Path or name of a data set, data frame with the columns path, label, and optionally split and group, or
            `ImageFolder`. Relative paths are relative to the working directory.
        folder: Folder of the runs; the manifest is written below it, into `manifests/`.
        options: Columns that the user named; the manifest has them under the same names.

    Raises:
        UsageError: The data is of another type.
        DataError: A column is missing, a path or a label is not UTF-8, or `manifests` is a link.
        ResourceError: The manifest cannot be written.
    """
    if isinstance(data, (str, os.PathLike)):
        return os.fspath(data)
    stem, columns = _columns_of(data, options or TableOptions())
    content = frame_reader.json_lines(columns).encode()
    name = f"{slug(stem)}-{hashlib.sha256(content).hexdigest()[:12]}.jsonl"
    root = expanded(folder).absolute()
    target = root / MANIFEST_FOLDER / name
    try:
        root.mkdir(parents=True, exist_ok=True)
        contained.make_folder(root, MANIFEST_FOLDER)
        if not _has_content(root, f"{MANIFEST_FOLDER}/{name}", content):
            contained.write(root, f"{MANIFEST_FOLDER}/{name}", content)
    except OSError as error:
        raise ResourceError(
            _("The manifest {path} cannot be written ({reason}).", path=target, reason=error.strerror),
            _("Choose another folder with runs=DIR."),
        ) from None
    return str(target)


def _has_content(root: Path, name: str, content: bytes) -> bool:
    """Return True if a file has this content; a link is no such file."""
    entry = contained.find(root, name)
    if entry is None or not entry.is_file or entry.size != len(content):
        return False
    return contained.read_bytes(root, name, len(content)) == content


@contextmanager
def temporary_source(data: DataSource | None, options: TableOptions | None = None) -> Iterator[str | None]:
    """Yield the source of the images as text; the manifest of values of Python exists until the end of the block.

    None, for the data of the run, stays None.
    """
    if data is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="headstart-") as folder:
        yield stored_source(data, Path(folder), options)


def hold_out_val(frame: pd.DataFrame, plan: RunConfig, threads: int, reporter: Reporter) -> pd.DataFrame:
    """Return a data frame with the column split: val for a stratified share of its images, train for the others.

    Images of equal content, groups, and near-duplicates unless the plan ignores them, stay together.

    Args:
        frame: Columns path, label and optionally group.
        plan: Plan of the run, for its seed, and for whether near-duplicates stay together.
        threads: Number of threads.
        reporter: Receives progress.

    Raises:
        DataError: The images are missing or unsuitable.
    """
    import pandas as pd

    from headstart.data import duplicates  # slow, and only needed here

    options = TableOptions(keep_labels=True)
    text = pd.DataFrame(_columns_of(frame, options)[1], dtype=object)
    with tempfile.TemporaryDirectory(prefix="headstart-") as folder:
        rows = manifest.read_rows(frame_reader.frame_table(text), Path(folder), options, allow_outside=True)
    index = image_index.validate_index(manifest.index_rows("frame", rows))
    content_hashes = hashing.hash_files(index)
    pairs = None
    if plan.data.near_duplicates == "together":
        pairs = duplicates.find_near_duplicates(index, content_hashes, threads=threads, reporter=reporter)
    val = {index.keys[i] for i in splits.split_off_val(index, plan.seeding.seed, content_hashes, pairs)}
    return text.assign(split=["val" if key in val else "train" for key in rows.keys])


def is_path(data: DataSource | None) -> bool:
    """Return True for a path or a name, which need no manifest."""
    return data is None or isinstance(data, (str, os.PathLike))


def _columns_of(
    data: pd.DataFrame | LabeledSamples, options: TableOptions
) -> tuple[str, dict[str, list[str | int | float | bool | None]]]:
    """Return a name, and the columns that are used, with absolute paths."""
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        stem, frame = "frame", frame_reader.with_index(data, options)
    elif isinstance(data, LabeledSamples):
        rows = [(path, data.classes[label]) for path, label in data.samples]
        stem, frame = Path(data.root).absolute().name, pd.DataFrame(rows, columns=["path", "label"], dtype=object)
    else:
        raise UsageError(
            _("The data is of type {kind}.", kind=type(data).__name__),
            _("Pass a path, a data frame with the columns path and label, or an ImageFolder of torchvision."),
        )
    table = frame_reader.frame_table(frame)
    used, _notes = find_columns(table, options)  # the manifest is read with the same notes
    names = [name for name in (used.path, used.label, used.split, used.group) if name]
    columns = {name: frame_reader.cells(table, frame, table.columns.index(name)) for name in names}
    columns[used.path] = [_absolute(path) for path in columns[used.path]]
    try:
        for name in names:
            "".join(map(str, columns[name])).encode()
    except UnicodeEncodeError as error:
        raise DataError(_("A path or a label is not UTF-8 ({reason}).", reason=error), _("Rename it.")) from None
    return stem, columns


def _absolute(path: str | float | bool | None) -> str:
    """Return an absolute path without blanks around it that no file name has; paths of other systems are unchanged."""
    text = "" if path is None else str(path)
    if text != text.strip() and not os.path.exists(text):  # noqa: PTH110
        text = text.strip()
    return text if not text or _FOREIGN.match(text) else os.path.abspath(text)  # noqa: PTH100
