"""Find and read the images that a data source names: a folder, a manifest or the built-in digits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headstart.config.registry.starts import MANIFEST_SUFFIXES
from headstart.data.image_index import ImageIndex, validate_index
from headstart.errors import DataError
from headstart.i18n import _
from headstart.text import replacement_hint


def read_index(
    source: str, *, classes: Sequence[str] = (), allow_outside: bool = False, to_train: bool = True
) -> ImageIndex:
    """Return the index of the labeled images of a source. No image is opened.

    Args:
        source: A folder, a manifest, `digits` or `digits:0-5`.
        classes: Keep only these classes; empty keeps all.
        allow_outside: Also read files outside the folder, or outside the manifest's folder.
        to_train: Require two classes or more, and training images of every class. Without it one class is enough.

    Raises:
        DataError: The data is missing or not usable.
        UsageError: A class is unknown, or the `digits:` range is wrong.
    """
    from headstart.data import builtin, folder

    require_source(source)
    if builtin.is_builtin(source):
        images = builtin.read_digits(source)
    else:
        path = Path(source).expanduser().absolute()
        try:
            if path.is_dir():
                images = folder.read_folder(source, path, allow_outside=allow_outside)
            else:
                from headstart.data import manifest  # pandas is imported only for a manifest

                images = manifest.read_manifest(source, path, allow_outside=allow_outside)
        except OSError as error:
            raise _unreadable(source, error) from error
    return validate_index(images.pick(classes) if classes else images, to_train=to_train)


def require_source(source: str) -> None:
    """Raise DataError if `source` is no folder, manifest or built-in data set.

    It imports nothing slow, so that the command line reports a wrong path immediately.
    """
    from headstart.data import builtin

    path = Path(source).expanduser().absolute()
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


def _not_data(source: str, path: Path) -> DataError:
    if path.exists():
        return DataError(
            _("{source} is neither a folder nor a manifest.", source=source),
            _(
                "Name a folder, or a manifest that ends in {suffixes}.",
                suffixes=", ".join(sorted(MANIFEST_SUFFIXES)),
            ),
        )
    siblings = [p.name for p in path.parent.iterdir() if p.name[0] != "."] if path.parent.is_dir() else []
    return DataError(
        _("{source} does not exist.", source=source),
        replacement_hint(path.name, ["digits", *siblings]) or _("Name a folder, a manifest, or the built-in digits."),
    )
