"""Write files without losing those of the user that have the same name."""

from __future__ import annotations

from itertools import count
from pathlib import Path, PurePosixPath

from headstart.errors import DataError
from headstart.i18n import _
from headstart.reporter import Reporter
from headstart.storage import contained

CREATOR = "headstart"  # in the metadata of figures, by which they are recognized


def write_figure(root: Path, name: str, content: bytes, reporter: Reporter) -> None:
    """Write a figure over an earlier one; a file that headstart did not make, or a link, is renamed.

    Args:
        root: Folder in which links are not followed.
        name: Name of the file below it.
        content: The figure.
        reporter: Receives the new name of the earlier file.
    """
    if CREATOR.encode() not in (_earlier(root, name) or CREATOR.encode()):
        _rename(root, name, reporter)
    contained.write(root, name, content)


def write_text(root: Path, name: str, content: bytes, reporter: Reporter) -> None:
    """Write a document or a caption; an earlier file with another content, which may be edited, is renamed."""
    if (_earlier(root, name) or content) != content:
        _rename(root, name, reporter)
    contained.write(root, name, content)


def _earlier(root: Path, name: str) -> bytes | None:
    """Return the content of an earlier file, None without one; one line feed for a link and for a very large file."""
    if contained.find(root, name) is None:
        return None
    try:
        return contained.read_bytes(root, name) or b"\n"
    except (DataError, IsADirectoryError):
        return b"\n"


def _rename(root: Path, name: str, reporter: Reporter) -> None:
    path = PurePosixPath(name)
    numbered = (str(path.with_name(f"{path.stem}-{number}{path.suffix}")) for number in count(1))
    kept = next(name for name in numbered if contained.find(root, name) is None)
    contained.rename(root, name, kept)
    reporter.say(_("The earlier {name} is now {kept}.", name=path.name, kept=PurePosixPath(kept).name))
