"""Labelled images: where they lie, how they are split, and their pixels. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headstart.data.image_index import ImageIndex, checked, nearest
from headstart.errors import DataError

__all__ = ["Listing", "checked", "read", "require", "require_images"]

MANIFESTS = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"})


def read(source: str, *, classes: Sequence[str] = (), allow_outside: bool = False, to_train: bool = True) -> ImageIndex:
    """The images that `source` names: a folder, a manifest, `digits` or `digits:0-5`.

    `classes` keeps only those; without `to_train` one class is enough, and train may lack some. Nothing outside the
    folder, or the manifest's folder, is read unless `allow_outside`.
    Raises DataError for data that is missing or unfit, UsageError for an unknown class or a bad `digits:` range.
    """
    from headstart.data import builtin, folder

    require(source)
    if builtin.names(source):
        listing = builtin.read(source)
    else:
        path = Path(source).expanduser().absolute()
        try:
            if path.is_dir():
                listing = folder.read(source, path, allow_outside=allow_outside)
            else:
                from headstart.data import manifest

                listing = manifest.read(source, path, allow_outside=allow_outside)
        except OSError as error:
            raise _unreadable(source, error) from error
    return checked(listing.pick(classes) if classes else listing, to_train=to_train)


def require(source: str) -> None:
    """Raise DataError where `source` names no data at all: a word that is told at once, before anything is imported."""
    from headstart.data import builtin

    path = Path(source).expanduser().absolute()
    try:
        if not (builtin.names(source) or path.is_dir() or (path.is_file() and path.suffix.lower() in MANIFESTS)):
            raise _not_data(source, path)
    except OSError as error:
        raise _unreadable(source, error) from error


def require_images(paths: Sequence[Path]) -> None:
    """Raise DataError where none of these files and folders is there; one that is lets the others be told beside it."""
    if paths and not any(path.exists() for path in paths):
        raise DataError(f"There is no image {paths[0]}.", "Name image files, or folders that hold some.")


def _unreadable(source: str, error: OSError) -> DataError:
    return DataError(f"{source} cannot be read ({error}).", "Check the path and your access to it.")


def _not_data(source: str, path: Path) -> DataError:
    if path.exists():
        return DataError(
            f"{source} is neither a folder nor a manifest.", f"A manifest ends in {', '.join(sorted(MANIFESTS))}."
        )
    siblings = [p.name for p in path.parent.iterdir() if p.name[0] != "."] if path.parent.is_dir() else []
    return DataError(
        f"{source} does not exist.",
        nearest(path.name, ["digits", *siblings]) or "Name a folder, a manifest, or the built-in digits.",
    )
