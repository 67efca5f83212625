"""Zip archives: what is stored is read, and nothing that is larger than the file."""

import copy
import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.errors import DataError
from headstart.storage import archive
from headstart.storage.archive import read_archive


def write_zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path.read_bytes()


@given(st.dictionaries(st.text("ab/é", min_size=1, max_size=5), st.binary(max_size=50), max_size=5))
def test_members_are_those_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    write_zip(folder / "members.zip", members)
    assert read_archive(folder, "members.zip") == members


def overlapping(size: int | None = None) -> bytes:
    """Return an archive whose members are all the same megabyte, and claim to have `size` bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("0", bytes(1_000_000))
        first = file.filelist[0]
        for number in range(1, 100):
            other = copy.copy(first)
            other.filename = other.orig_filename = str(number)
            file.filelist.append(other)
        for item in file.filelist:
            item.file_size = item.file_size if size is None else size
    return buffer.getvalue()


@pytest.mark.parametrize(
    "kind", ["deflate", "bzip2", "lzma", "overlap", "sizes", "twice", "many", "cut", "text", "long"]
)
def test_other_archives_are_errors_that_name_the_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "some.zip"
    content = write_zip(path, {"a": b"1" * 1000, "b": b"2" * 1000})
    methods = {"deflate": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}
    if kind in methods:
        write_zip(path, {"a": bytes(1000)}, methods[kind])
    elif kind == "many":
        monkeypatch.setattr(archive, "MAX_MEMBERS", 1)
    elif kind == "long":
        monkeypatch.setattr(archive, "MAX_ARCHIVE_BYTES", 10)
        with pytest.raises(DataError, match="some"):
            read_archive(tmp_path, "some.zip", archive.MAX_ARCHIVE_BYTES)
        return
    else:
        path.write_bytes({"overlap": overlapping(), "sizes": overlapping(0), "twice": content.replace(b"b", b"a"),
                          "cut": content[:-30], "text": b"PK nothing"}[kind])  # fmt: skip
    with pytest.raises(DataError, match="some"):
        read_archive(tmp_path, "some.zip")


def test_a_missing_archive_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_archive(tmp_path, "no.zip")
