"""Read and write arrays below a folder, in .npz and .npy files that may come from somebody else.

numpy's own reader decompresses members of any size, creates arrays of any shape that a header names, and opens the file
by its path. Here the size of everything is known from the size of the file before anything is read.
"""

from __future__ import annotations

import io
import math
import mmap
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError
from headstart.i18n import Message, _, verbatim
from headstart.storage import contained

Array = npt.NDArray[Any]
_SUFFIX = ".npy"
_MAX_HEADER_BYTES = 1 << 10  # numpy needs 128, or 192 for many dimensions
_MAX_DIRECTORY_BYTES = 1 << 16  # of the list of members at the end of a zip: about a thousand
_MAX_DIMENSIONS = 8
_END_BYTES, _LOCATOR_BYTES = 22, 20  # of a zip without a comment; the locator stands before the end in zips over 2 GiB
_ZIP64_END_BYTES = 56  # of the record to which the locator leads
_HEADER = re.compile(  # what numpy writes for arrays that are not structured
    rb"\{'descr': '([<|][biufU][0-9]{1,5})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:[0-9]{1,15}(?:, |,|(?=\))))*)\), \} *\n"
)


class _DamagedError(Exception):
    """A file is damaged; the argument is a clause that says how."""

    def __init__(self, fault: Message) -> None:
        super().__init__(fault)
        self.fault = fault


@dataclass(frozen=True)
class _Header:
    """The header of a .npy file: type and shape of the array, whether columns come first, and where values begin."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_transposed: bool
    offset: int


def read_npz(root: Path, name: str, limit: int = contained.MAX_BYTES) -> dict[str, Array]:
    """Return the arrays of an .npz file by name; they cannot be written to.

    At most the size of the file is allocated twice. All members must be stored, not compressed, and together be no
    larger than the file, with correct checksums. The type of an array is bool, int, float or str, so nothing is
    unpickled. Shape times item size is the size of the member, and no dimension is larger than that, even where
    another one is 0.

    Args:
        root: The folder that the user has named.
        name: Name of the file below it.
        limit: Largest size of the file in bytes.

    Raises:
        UnsafeFileError: A component is a link, or the file is no regular file.
        TooLargeError: The file is larger than `limit`.
        DataError: The file is damaged, or is compressed.
        OSError: The file is missing or cannot be read.
    """
    with contained.open_file(root, name) as file:
        if file.seek(0, 2) > limit:
            raise contained.too_large(root / name, limit)
        return _read_archive(file, root / name)


def parse_npz(content: bytes, name: Path | str) -> dict[str, Array]:
    """Return the arrays in the content of an .npz file, as `read_npz`; `name` is the file in messages.

    Raises:
        DataError: The content is damaged or compressed.
    """
    return _read_archive(io.BytesIO(content), name)


def write_npz(root: Path, name: str, arrays: Mapping[str, Array]) -> None:
    """Replace an .npz file atomically and durably, as `contained.write`; its members are not compressed."""
    with contained.new_file(root, name) as file, zipfile.ZipFile(file, "w") as archive:
        for key, array in arrays.items():
            with archive.open(key + _SUFFIX, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def parse_npy(content: bytes, name: Path | str) -> Array:
    """Return the array in the content of a .npy file, which cannot be written to; `name` is the file in messages.

    The type and the shape are checked as in `read_npz`. Nothing beyond the content is allocated.

    Raises:
        DataError: The content is damaged.
    """
    try:
        return _parse(content)
    except _DamagedError as error:
        raise _damaged(name, error.fault) from None


def map_npy(root: Path, name: str) -> Array:
    """Return the array of a .npy file as a memory map that cannot be written to. The values are not checked.

    Raises:
        UnsafeFileError: A component is a link, or the file is no regular file.
        DataError: The file is damaged: its type, its shape and its size do not fit together.
        OSError: The file is missing or cannot be read.
    """
    with contained.open_file(root, name) as file:
        return map_file(file, root / name)


def map_file(file: BinaryIO, name: Path | str) -> Array:
    """Return the array of an open .npy file as a memory map, as `map_npy`; `name` is the file in messages.

    Raises:
        DataError: The file is damaged.
        OSError: The file cannot be mapped.
    """
    size = file.seek(0, 2)
    file.seek(0)
    try:
        header = _header(file.read(_MAX_HEADER_BYTES), size)
    except _DamagedError as error:
        raise _damaged(name, error.fault) from None
    return _array(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), header)


def _read_archive(file: BinaryIO, name: Path | str) -> dict[str, Array]:
    size = file.seek(0, 2)
    try:
        _check_directory(file, size)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check_members(members, size)
            return {item.filename.removesuffix(_SUFFIX): _parse(archive.read(item)) for item in members}
    except _DamagedError as error:
        raise _damaged(name, error.fault) from None
    except (zipfile.BadZipFile, ValueError, EOFError, RuntimeError, NotImplementedError) as error:
        raise _damaged(name, verbatim(str(error))) from None


def _check_directory(file: BinaryIO, size: int) -> None:
    """Check the end of a zip, so that `ZipFile` reads a short list of members: it would read one of any length."""
    tail_bytes = min(size, _END_BYTES + _LOCATOR_BYTES)
    file.seek(size - tail_bytes)
    tail = file.read(tail_bytes)
    locator, end = tail[:-_END_BYTES], tail[-_END_BYTES:]
    if not end.startswith(b"PK\5\6") or not end.endswith(b"\0\0"):
        raise _DamagedError(_("its end is missing"))
    directory_bytes = int.from_bytes(end[12:16], "little")
    if locator.startswith(b"PK\6\7"):  # zip64: its directory lies behind 2 GiB
        directory_bytes = _zip64_directory_bytes(file, int.from_bytes(locator[8:16], "little"), size)
    if directory_bytes > _MAX_DIRECTORY_BYTES:
        raise _DamagedError(_("it has too many members"))
    if directory_bytes + _END_BYTES > size:
        raise _DamagedError(_("its beginning is missing"))


def _zip64_directory_bytes(file: BinaryIO, offset: int, size: int) -> int:
    if offset + _ZIP64_END_BYTES > size:
        raise _DamagedError(_("its end is missing"))
    file.seek(offset)
    record = file.read(_ZIP64_END_BYTES)
    if not record.startswith(b"PK\6\6"):
        raise _DamagedError(_("its end is missing"))
    return int.from_bytes(record[40:48], "little")


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    if any(item.compress_type != zipfile.ZIP_STORED or item.compress_size != item.file_size for item in members):
        raise _DamagedError(_("its arrays are compressed"))
    if any(item.header_offset < 0 for item in members):
        raise _DamagedError(_("its beginning is missing"))
    if sum(item.file_size for item in members) > size:
        raise _DamagedError(_("its arrays are larger than the file"))
    if len({item.filename for item in members}) != len(members):
        raise _DamagedError(_("two arrays have the same name"))
    if not all(item.filename.endswith(_SUFFIX) for item in members):
        raise _DamagedError(_("it contains something else than arrays"))


def _header(content: bytes, size: int) -> _Header:
    """Return the header at the beginning of a .npy file that has `size` bytes."""
    length_bytes = {b"\x93NUMPY\1\0": 2, b"\x93NUMPY\2\0": 4}.get(content[:8], 0)
    offset = 8 + length_bytes + int.from_bytes(content[8 : 8 + length_bytes], "little")
    match = _HEADER.fullmatch(content[8 + length_bytes : offset])
    if not length_bytes or offset > min(size, _MAX_HEADER_BYTES) or match is None:
        raise _DamagedError(_("an array has an unknown format"))
    try:
        dtype = np.dtype(match[1].decode())
    except TypeError:
        raise _DamagedError(_("an array has an unknown format")) from None
    shape = tuple(int(number) for number in match[3].replace(b",", b" ").split())
    if len(shape) > _MAX_DIMENSIONS or max(shape, default=0) > size or not dtype.itemsize:
        raise _DamagedError(_("the shape of an array is wrong"))
    if math.prod(shape) * dtype.itemsize != size - offset:
        raise _DamagedError(_("the shape of an array does not fit its size"))
    return _Header(dtype, shape, match[2] == b"True", offset)


def _parse(content: bytes) -> Array:
    """Return the array in the content of a .npy file."""
    header = _header(content[:_MAX_HEADER_BYTES], len(content))
    array = _array(content, header)
    flat = array.ravel("K")
    # other values are undefined behavior in numpy
    if header.dtype.kind == "b" and flat.view(np.uint8).max(initial=0) > 1:
        raise _DamagedError(_("a value of an array is wrong"))
    if header.dtype.kind == "U" and flat.view(np.uint32).max(initial=0) > 0x10FFFF:
        raise _DamagedError(_("a value of an array is wrong"))
    return array


def _array(content: bytes | mmap.mmap, header: _Header) -> Array:
    flat = np.frombuffer(content, header.dtype, offset=header.offset)
    return flat.reshape(header.shape[::-1]).T if header.is_transposed else flat.reshape(header.shape)


def _damaged(name: Path | str, fault: Message) -> DataError:
    return DataError(_("{name} is damaged ({fault}).", name=name, fault=fault), _("Restore it from a copy."))
