"""Read zip archives whose members are stored without compression: they take no more memory than the file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from headstart.errors import DataError
from headstart.i18n import Message, _
from headstart.storage import contained

MAX_ARCHIVE_BYTES = 64_000_000  # a gallery has 3 MB
MAX_MEMBERS = 10_000  # a gallery has at most 1,000
_MIN_ENTRY_BYTES = 46  # of a member in the directory of an archive


def read_archive(root: Path, name: str, limit: int = MAX_ARCHIVE_BYTES) -> dict[str, bytes]:
    """Return the members of a zip archive by their names.

    Args:
        root: The folder that the user has named.
        name: Name of the archive below it.
        limit: Largest number of bytes of the archive.

    Raises:
        DataError: The archive is damaged, too large, or has members that are compressed, encrypted or overlap.
        OSError: It is missing or cannot be read.
    """
    path, content = root / name, contained.read_bytes(root, name, limit)
    if content.count(b"PK\x01\x02") > MAX_MEMBERS:  # counted before the directory is parsed
        raise _unreadable(path, _("it has more than {count:,} members", count=MAX_MEMBERS))
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            if len({info.filename for info in infos}) < len(infos):
                raise _unreadable(path, _("two members have the same name"))
            if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in infos):
                raise _unreadable(path, _("a member is compressed or encrypted"))
            if any(info.compress_size != info.file_size for info in infos):  # reading would take all of the first
                raise _unreadable(path, _("a member has two sizes"))
            if sum(info.file_size + _MIN_ENTRY_BYTES for info in infos) > len(content):
                raise _unreadable(path, _("its members claim to be larger than the file"))
            return {info.filename: archive.read(info) for info in infos}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, OSError) as error:
        raise _unreadable(path, str(error)) from None


def _unreadable(path: Path, reason: Message | str) -> DataError:
    return DataError(
        _("{path} is not an archive that headstart writes: {reason}.", path=path, reason=reason),
        _("Restore it from a copy."),
    )
