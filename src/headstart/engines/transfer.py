"""Pack run folders into bytes for a machine that does not share the file system: an uncompressed tar archive.

Only the files that a run has are packed and unpacked (`storage.run_files`); links between them are not.
"""

from __future__ import annotations

import io
import os
import secrets
import tarfile
from collections.abc import Sequence
from pathlib import Path

from headstart.config.plan_file import PLAN_FILE, read_plan_file
from headstart.errors import DataError
from headstart.i18n import Message, _
from headstart.storage import contained
from headstart.storage.folders import make_folder
from headstart.storage.run_files import RUN_FILES, copy_file, known_files

MAX_ARCHIVE_BYTES = 16_000_000_000  # an archive is kept in memory


def pack(folders: Sequence[Path]) -> bytes:
    """Return an archive of run folders, with paths relative to the parent of each folder.

    Hard links to one file (a shared backbone) are stored once.

    Raises:
        UnsafeFileError: There is a link in a run.
        TooLargeError: The runs are too large.
    """
    buffer = io.BytesIO()
    packed: dict[tuple[int, int], str] = {}
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in folders:
            for name in known_files(folder, "", RUN_FILES):
                with contained.open_file(folder, name) as file:
                    status = os.fstat(file.fileno())
                    member = tarfile.TarInfo(f"{folder.name}/{name}")
                    member.mtime = status.st_mtime
                    key = (status.st_dev, status.st_ino)
                    if status.st_nlink > 1 and key in packed:
                        member.type, member.linkname = tarfile.LNKTYPE, packed[key]
                        archive.addfile(member)
                        continue
                    if buffer.tell() + status.st_size > MAX_ARCHIVE_BYTES:
                        raise contained.too_large(folder, MAX_ARCHIVE_BYTES)
                    packed[key], member.size = member.name, status.st_size
                    archive.addfile(member, file)
    return buffer.getvalue()


def unpack(archive: bytes, parent: Path) -> dict[str, Path]:
    """Unpack runs into `parent`.

    An existing folder with the same name and the same plan is replaced. If its plan differs, or it is no run, the
    unpacked run gets a numbered name. Each run appears atomically.

    Returns:
        The folder of each run by the name under which it was packed.

    Raises:
        DataError: The archive is damaged, or has something else than the files of runs, or a run without a plan;
            nothing is unpacked.
    """
    parent.mkdir(parents=True, exist_ok=True)
    scratch = f"archive.{secrets.token_hex(8)}{contained.temp_suffix()}"
    contained.make_folder(parent, scratch, exist_ok=False)
    placed: dict[str, Path] = {}
    try:
        _extract(archive, parent, scratch)
        runs = [entry.name for entry in contained.entries(parent, scratch)]
        for run in runs:
            if not contained.is_file(parent, f"{scratch}/{run}/{PLAN_FILE}"):  # it would replace what is no run
                raise _unreadable(_("{name!r} has no plan", name=run))
        for run in runs:
            target = parent / run
            if contained.find(parent, run) and _plan_hash(target) != _plan_hash(parent / scratch / run):
                target = make_folder(parent, run)
            contained.remove_folder(parent, target.name)
            contained.rename(parent, f"{scratch}/{run}", target.name)
            placed[run] = target
    finally:
        contained.remove_folder(parent, scratch)
    return placed


def _extract(archive: bytes, parent: Path, scratch: str) -> None:
    """Write the files of an archive below a folder; a compressed archive, which may be of any size, is damaged."""
    done = set[str]()
    if not archive.endswith(bytes(2 * tarfile.BLOCKSIZE)):
        raise _unreadable(_("its end is missing"))
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as content:
            for member in content:
                _require_run_file(member, done, len(archive))
                name = f"{scratch}/{member.name}"
                if member.islnk():
                    copy_file(parent, f"{scratch}/{member.linkname}", parent, name, link=True)
                elif (file := content.extractfile(member)) is not None:
                    contained.make_folder(parent, name.rpartition("/")[0])
                    with contained.new_file(parent, name) as new:
                        new.write(file.read())
                done.add(member.name)
    except tarfile.TarError as error:
        raise _unreadable(_("it is damaged ({reason})", reason=error)) from None


def _require_run_file(member: tarfile.TarInfo, done: set[str], size: int) -> None:
    """Raise DataError for a member that is no file of a run, is there twice, or is a link to a file outside."""
    run, _unused, file = member.name.partition("/")
    if "/" in run or run in ("", ".", "..") or not RUN_FILES.fullmatch(file) or member.name in done:
        raise _unreadable(_("{name!r} is no file of a run", name=member.name))
    if member.islnk():
        if member.linkname not in done:
            raise _unreadable(_("{name!r} is a link to another file", name=member.name))
    elif member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse() or member.size > size:
        raise _unreadable(_("{name!r} is no regular file", name=member.name))


def _unreadable(reason: Message) -> DataError:
    return DataError(
        _("An archive of runs cannot be unpacked: {reason}.", reason=reason),
        _("Check that every machine has this version of headstart."),
    )


def _plan_hash(folder: Path) -> str:
    return read_plan_file(folder).hash if contained.is_file(folder, PLAN_FILE) else ""
