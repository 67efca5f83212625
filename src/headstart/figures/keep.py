"""Write files without losing those of the user that have the same name."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from headstart.i18n import _
from headstart.reporter import Reporter
from headstart.storage.files import write_atomic

CREATOR = "headstart"  # in the metadata of figures, by which they are recognized


def write_figure(path: Path, content: bytes, reporter: Reporter) -> None:
    """Write a figure over an earlier one; a file that headstart did not make is renamed."""
    if path.exists() and CREATOR.encode() not in path.read_bytes():
        _rename(path, reporter)
    write_atomic(path, content)


def write_text(path: Path, content: bytes, reporter: Reporter) -> None:
    """Write a document or a caption; an earlier file with another content, which may be edited, is renamed."""
    if path.exists() and path.read_bytes() != content:
        _rename(path, reporter)
    write_atomic(path, content)


def _rename(path: Path, reporter: Reporter) -> None:
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(1))
    kept = next(name for name in numbered if not name.exists())
    path.rename(kept)
    reporter.say(_("The earlier {name} is now {kept}.", name=path.name, kept=kept.name))
