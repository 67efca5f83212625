"""Find and read the images that a data source names: a folder, a manifest or the built-in digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from headstart.config.registry.starts import MANIFEST_SUFFIXES
from headstart.config.run_config import ClassFolders, DataConfig
from headstart.data.image_index import ImageIndex, validate_index
from headstart.data.read_errors import MissingFilesError, ReadError
from headstart.data.tables.options import TableOptions
from headstart.errors import DataError, UsageError
from headstart.i18n import _, join
from headstart.path_names import expanded, name_fault
from headstart.reporter import ProgressCallback
from headstart.text import replacement_hint

_TABLE_SUFFIXES = MANIFEST_SUFFIXES - {".txt", ".json"}  # these are often something else
_TABLE_WORDS = ("train", "label")  # in the name of a table of labels, beside which others may be
_MAX_FOLDERS = 10  # in which a table is looked for
_SPREADSHEET_SUFFIXES = frozenset({".xlsx", ".xls", ".xlsm", ".ods", ".numbers"})


def read_index(
    source: str,
    *,
    classes: Sequence[str] = (),
    min_per_class: int = 0,
    class_folders: ClassFolders = "auto",
    allow_outside: bool = False,
    table: TableOptions | None = None,
    progress: ProgressCallback | None = None,
) -> ImageIndex:
    """Return the index of the labeled images of a source, for training. No image is decoded.

    Args:
        source: A folder, a manifest, `digits` or `digits:0-5`.
        classes: Keep only these classes; empty keeps all.
        min_per_class: Leave out classes with fewer independent images or groups; see `without_small_classes`.
        class_folders: Which folders are the classes; see `find_class_folders`.
        allow_outside: Also read files outside the folder, or outside the manifest's folder.
        table: Columns of a manifest, and how labels in several spellings are read.
        progress: Called with (rows done, all rows) of a long manifest.

    Raises:
        DataError: The data is missing or not usable, or there are fewer than two classes.
        UsageError: A class is unknown, the `digits:` range is wrong, `class_folders` is given for other data, or a
            column is named for data that is no table.
    """
    options = table or TableOptions()
    options = replace(options, classes=(*classes, *options.classes))
    images = _read(source, class_folders, (), options, allow_outside=allow_outside, progress=progress)
    images = images.pick(classes) if classes else images
    if min_per_class:
        from headstart.data.class_sizes import without_small_classes  # slow, for a rare flag

        images = without_small_classes(images, min_per_class)
    return validate_index(images)


def read_data(data: DataConfig, progress: ProgressCallback | None = None) -> ImageIndex:
    """Return the index of the images of a run configuration; progress and errors are those of `read_index`.

    Every DataError is a ReadError: callers that also read weights know that it is about the images.
    """
    try:
        return read_index(
            data.source,
            classes=data.classes,
            min_per_class=data.min_per_class,
            class_folders=data.class_folders,
            allow_outside=data.allow_outside,
            table=TableOptions.of(data),
            progress=progress,
        )
    except ReadError:
        raise
    except DataError as error:
        raise ReadError(error.message, error.hint) from error


def read_evaluation_index(
    source: str,
    known_classes: Sequence[str],
    *,
    class_folders: ClassFolders = "auto",
    allow_outside: bool = False,
    table: TableOptions | None = None,
) -> ImageIndex:
    """Return the index of labeled images on which a model is evaluated. No image is opened; one class is enough.

    Args:
        source: As for `read_index`.
        known_classes: Classes of the model, which decide where the folders have two readings. Labels of a table that
            are equal to one of them keep their spelling.
        class_folders: As for `read_index`.
        allow_outside: As for `read_index`.
        table: As for `read_index`.

    Raises:
        DataError: The data is missing or not usable; a MissingColumnError if a table does not have a named column.
        UsageError: The `digits:` range is wrong, `class_folders` is given for other data, or a column is named for data
            that is no table (NoTableError).
    """
    options = replace(table or TableOptions(), classes=tuple(known_classes))
    images = _read(source, class_folders, known_classes, options, allow_outside=allow_outside, to_train=False)
    return validate_index(images, to_train=False)


def _read(
    source: str,
    class_folders: ClassFolders,
    known_classes: Sequence[str],
    options: TableOptions,
    *,
    allow_outside: bool,
    to_train: bool = True,
    progress: ProgressCallback | None = None,
) -> ImageIndex:
    from headstart.data import builtin, image_folder, labeled_folder

    require_source(source)
    path = expanded(source).absolute()
    if class_folders != "auto" and (builtin.is_builtin(source) or not path.is_dir()):
        raise UsageError(
            _("--class-folders is for a folder of images, and {source} is none.", source=source), _("Remove the flag.")
        )
    if builtin.is_builtin(source):
        options.require_table(source)
        return builtin.read_digits(source)
    try:
        if not path.is_dir():
            from headstart.data import manifest  # pandas is imported only for a manifest

            return manifest.read_manifest(source, path, options, allow_outside=allow_outside, progress=progress)
        read_classes = partial(
            labeled_folder.read_folder,
            source,
            path,
            allow_outside=allow_outside,
            class_folders=class_folders,
            known_classes=known_classes,
            to_train=to_train,
        )
        listed = image_folder.read_image_folder(
            source, path, options, allow_outside=allow_outside, read_classes=read_classes
        )
        if listed is not None:
            return listed
        options.require_table(source)
        images = read_classes()
        return images if len(images.classes) > 1 or not to_train else validate_index(images)
    except ReadError:  # of a table that was read: it need not be named instead of the folder
        raise
    except DataError as error:
        raise (_with_tables(error, source, path) if path.is_dir() else error) from None
    except OSError as error:
        raise _unreadable(source, error) from error


def require_source(source: str) -> None:
    """Raise DataError if `source` is no folder, manifest or built-in data set, or if its path is not UTF-8.

    If it does not exist, the error is a MissingFilesError.

    It imports nothing slow, so that the command line reports a wrong path immediately.
    """
    from headstart.data import builtin

    path = expanded(source).absolute()
    if fault := name_fault(path):
        raise DataError(*fault)
    try:
        is_manifest = path.is_file() and path.suffix.lower() in MANIFEST_SUFFIXES
        if not (builtin.is_builtin(source) or path.is_dir() or is_manifest):
            raise _not_data(source, path)
    except OSError as error:
        raise _unreadable(source, error) from error


def require_image_paths(paths: Sequence[Path]) -> None:
    """Raise DataError if none of these files and folders exists.

    If at least one exists, the missing ones are reported later, together with the results.
    """
    if paths and not any(path.exists() for path in paths):
        raise DataError(
            _("There is no image {path}.", path=paths[0]), _("Name image files, or folders that contain images.")
        )


def _unreadable(source: str, error: OSError) -> DataError:
    return DataError(
        _("{source} cannot be read ({error}).", source=source, error=error), _("Check the path and its permissions.")
    )


def _with_tables(error: DataError, source: str, root: Path) -> DataError:
    """Return the error on a folder, with the table in it that may list its images."""
    tables = _tables_in(root) or [
        f"{folder.name}/{name}" for folder in _few_folders(root) for name in _tables_in(folder)
    ]
    if not tables:
        return error
    if len(tables) > 1 and all(name.endswith(".parquet") for name in tables):
        target = str(root.with_name(root.stem + "-table.parquet"))
        hint = _(
            "If the Parquet files are one table, join them: pandas.read_parquet({folder!r}).to_parquet({file!r}).",
            folder=str(root),
            file=target,
        )
    else:
        hint = _(
            "If {table} lists the images, name it: {path:shell}.", table=tables[0], path=str(Path(source, tables[0]))
        )
    return DataError(error.message, join([error.hint, hint]))


def _tables_in(folder: Path) -> list[str]:
    """Return the names of the tables in a folder, one of labels first."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _TABLE_SUFFIXES)
    return sorted(names, key=lambda name: not any(word in name.lower() for word in _TABLE_WORDS))


def _few_folders(root: Path) -> list[Path]:
    """Return the visible folders in a folder, such as splits; none if there are many."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return folders if len(folders) <= _MAX_FOLDERS else []


def _not_data(source: str, path: Path) -> DataError:
    if "://" in source:
        return DataError(_("{source} is an address.", source=source), _("Download the images, and name their folder."))
    if path.exists() and (error := _other_file(source, path.suffix.lower())):
        return error
    if path.exists():
        return DataError(
            _("{source} is neither a folder nor a manifest.", source=source),
            _(
                "Name a folder, or a manifest that ends in {suffixes}.",
                suffixes=", ".join(sorted(MANIFEST_SUFFIXES)),
            ),
        )
    siblings = [p.name for p in path.parent.iterdir() if p.name[0] != "."] if path.parent.is_dir() else []
    return MissingFilesError(
        _("{source} does not exist.", source=source),
        replacement_hint(path.name, ["digits", *siblings]) or _("Name a folder, a manifest, or the built-in digits."),
    )


def _other_file(source: str, suffix: str) -> DataError | None:
    """Return the error for an archive, a spreadsheet or an image instead of data."""
    from headstart.data.class_folders import ARCHIVE_SUFFIXES  # Pillow is slow to import
    from headstart.data.image_formats import IMAGE_SUFFIXES

    if suffix in ARCHIVE_SUFFIXES:
        return DataError(
            _("{source} is an archive.", source=source),
            _("Unpack it into a new folder, and name that folder, or the table in it."),
        )
    if suffix in _SPREADSHEET_SUFFIXES:
        return DataError(
            _("{source} is a spreadsheet.", source=source), _("Save the table as CSV, and name that file.")
        )
    if suffix in IMAGE_SUFFIXES:
        return DataError(
            _("{source} is an image.", source=source), _("Name a folder that has one folder of images per class.")
        )
    return None
