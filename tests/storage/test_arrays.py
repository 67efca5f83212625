"""Arrays below a folder: what is read equals what numpy wrote, and nothing is allocated beyond the size of a file."""

import io
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from headstart.errors import DataError
from headstart.storage import arrays
from headstart.storage.contained import TooLargeError, UnsafeFileError

DTYPES = (
    arrays_of.boolean_dtypes()
    | arrays_of.integer_dtypes(endianness="<")
    | arrays_of.unsigned_integer_dtypes(endianness="<")
    | arrays_of.floating_dtypes(endianness="<", sizes=(16, 32, 64))
    | arrays_of.unicode_string_dtypes(endianness="<", min_len=1, max_len=9)
)
ARRAYS = arrays_of.arrays(DTYPES, arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version)
    return buffer.getvalue()


def header(text: str, values: bytes = b"") -> bytes:
    """Return a .npy file with a header of this text."""
    padded = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + len(padded).to_bytes(2, "little") + padded + values


def shaped(shape: str, values: bytes = b"", descr: str = "<f4") -> bytes:
    return header(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}", values)


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED, comment: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w", compression) as target:
        for name, content in members.items():
            target.writestr(name, content)
        target.comment = comment
    return path


@settings(max_examples=60)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), ARRAYS, max_size=4), st.booleans())
def test_arrays_equal_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, np.ndarray], in_fortran_order: bool
) -> None:
    root = tmp_path_factory.getbasetemp()
    if in_fortran_order:
        values = {name: np.asfortranarray(array) for name, array in values.items()}
    arrays.write_npz(root, "arrays.npz", values)
    stored = arrays.read_npz(root, "arrays.npz")
    assert stored.keys() == values.keys()
    with np.load(root / "arrays.npz", allow_pickle=False) as expected:
        for name, array in values.items():
            assert stored[name].dtype == array.dtype == expected[name].dtype
            np.testing.assert_array_equal(stored[name], array)
            np.testing.assert_array_equal(stored[name], expected[name])
            np.testing.assert_array_equal(arrays.parse_npy(npy(array, (2, 0)), name), array)


@settings(max_examples=40)
@given(ARRAYS, st.booleans())
def test_a_memory_map_equals_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, in_fortran_order: bool
) -> None:
    root = tmp_path_factory.getbasetemp()
    array = np.asfortranarray(array) if in_fortran_order else array
    (root / "mapped.npy").write_bytes(npy(array))
    mapped = arrays.map_npy(root, "mapped.npy")
    assert mapped.dtype == array.dtype and not (mapped.size and mapped.flags.writeable)
    np.testing.assert_array_equal(mapped, array)


DAMAGED = {
    "empty": b"",
    "magic alone": b"\x93NUMPY\1\0",
    "unknown version": npy(np.zeros(2)).replace(b"\x93NUMPY\1", b"\x93NUMPY\3"),
    "shorter than its shape": npy(np.zeros(9))[:-1],
    "longer than its shape": npy(np.zeros(9)) + b"x",
    "header beyond the file": b"\x93NUMPY\1\0\xff\xff{'descr'",
    "header of gigabytes": b"\x93NUMPY\2\0\xff\xff\xff\xff{'descr'",
    "header of 2 kB": header(" " * 2000 + "{}"),
    "huge shape": shaped("(1000000000, 1000000)"),
    "huge shape without values": shaped("(1000000000, 0)"),
    "overflowing shape": shaped(f"({2**32}, {2**32})", b"1234"),
    "negative shape": shaped("(-1,)", b"1234"),
    "nested shape": shaped("(((((1,),),),),)", b"1234"),
    "many dimensions": shaped("(" + "1, " * 9 + ")", b"1234"),
    "objects": shaped("(1,)", b"12345678", "|O"),
    "items of no size": shaped("(100000000,)", b"", "<U0"),
    "times": shaped("(1,)", b"12345678", "<M8"),
    "other byte order": shaped("(1,)", b"1234", ">f4"),
    "unknown size of items": shaped("(1,)", b"123", "<f3"),
    "structured": header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", b"1234"),
    "expression": header("{'descr': '<f4', 'fortran_order': False, 'shape': (1 + 1,), }", b"12345678"),
    "bool of 2": shaped("(1,)", b"\2", "|b1"),
    "no character": shaped("(1,)", b"\0\0\x11\0", "<U1"),
    "pickle": b"\x80\x04K\x01.",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_arrays_are_refused(tmp_path: Path, content: bytes, request: pytest.FixtureRequest) -> None:
    archive(tmp_path / "arrays.npz", {"sound.npy": npy(np.ones(3)), "damaged.npy": content})
    (tmp_path / "damaged.npy").write_bytes(content)
    is_mapped = request.node.callspec.id not in ("bool of 2", "no character")  # values are not checked
    calls: list[Callable[[], object]] = [
        lambda: arrays.read_npz(tmp_path, "arrays.npz"),
        lambda: arrays.parse_npy(content, "damaged.npy"),
        *([lambda: arrays.map_npy(tmp_path, "damaged.npy")] if is_mapped else []),
    ]
    for call in calls:
        with pytest.raises(DataError) as error:
            call()
        assert error.value.hint


def replaced(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def many(path: Path) -> None:
    archive(path, {f"{i}.npy": b"" for i in range(3000)})


def overlapping(path: Path) -> None:
    """Let all members of an archive have the place of the first."""
    content = npy(np.zeros(10_000))
    archive(path, {"a.npy": content, **{f"{i}.npy": b"" for i in range(9)}})
    data = bytearray(path.read_bytes())
    place = first = data.index(b"PK\1\2")
    while (place := data.find(b"PK\1\2", place + 1)) >= 0:
        data[place + 16 : place + 28] = data[first + 16 : first + 28]  # checksum and sizes
        data[place + 42 : place + 46] = b"\0\0\0\0"
    path.write_bytes(data)


SPOILED: dict[str, Callable[[Path], object]] = {
    "compressed": lambda path: np.savez_compressed(path, a=np.zeros(1000)),
    "bzip2": lambda path: archive(path, {"a.npy": npy(np.zeros(1000))}, zipfile.ZIP_BZIP2),
    "a byte": lambda path: replaced(path, np.float64(3).tobytes(), np.float64(5).tobytes()),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "begin missing": lambda path: path.write_bytes(path.read_bytes()[100:]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"text"),
    "comment": lambda path: archive(path, {"a.npy": npy(np.zeros(2))}, comment=b"a comment"),
    "other file": lambda path: archive(path, {"a.txt": b"text"}),
    "encrypted": lambda path: replaced(path, b"PK\1\2\x2d\3\x2d\0\0", b"PK\1\2\x2d\3\x2d\0\1"),
    "larger than the file": lambda path: replaced(path, b"\xa0\0\0\0\xa0\0\0\0", b"\xff\xff\xff\x7f" * 2),
    "many members": many,
    "overlapping members": overlapping,
    "end alone": lambda path: path.write_bytes(path.read_bytes()[-22:]),
    "a list of gigabytes": lambda path: path.write_bytes(path.read_bytes()[:-10] + b"\xff\xff\xff\x7f" + bytes(6)),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_damaged_archives_are_refused_without_memory(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    path = tmp_path / "arrays.npz"
    np.savez(path, a=np.arange(4.0))
    assert arrays.read_npz(tmp_path, "arrays.npz")["a"].tolist() == [0, 1, 2, 3]
    spoil(path)
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            arrays.read_npz(tmp_path, "arrays.npz")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_archives_with_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "arrays.npz", "w") as target:
        target.writestr("a.npy", npy(np.zeros(2)))
        with pytest.warns(UserWarning):
            target.writestr("a.npy", npy(np.ones(2)))
    with pytest.raises(DataError):
        arrays.read_npz(tmp_path, "arrays.npz")


def test_a_directory_behind_two_gigabytes_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's zipfile then writes the end of the larger format, zip64."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    values = {name: np.arange(500.0) for name in "abc"}
    arrays.write_npz(tmp_path, "arrays.npz", values)
    content = (tmp_path / "arrays.npz").read_bytes()
    assert b"PK\6\7" in content
    for name, array in arrays.read_npz(tmp_path, "arrays.npz").items():
        assert np.array_equal(array, values[name])
    record = content.index(b"PK\6\6")
    for damaged in (
        content[: record + 40] + (1 << 40).to_bytes(8, "little") + content[record + 48 :],  # a directory of any size
        content.replace(b"PK\6\6", b"PK\6\5"),
        content[: -42 + 8] + (1 << 60).to_bytes(8, "little") + content[-42 + 16 :],  # a record behind the end
    ):
        with pytest.raises(DataError):
            arrays.parse_npz(damaged, "arrays.npz")


def test_large_and_special_files_are_refused(tmp_path: Path) -> None:
    arrays.write_npz(tmp_path, "arrays.npz", {"a": np.zeros(100)})
    (tmp_path / "array.npy").write_bytes(npy(np.zeros(100)))
    size = (tmp_path / "arrays.npz").stat().st_size
    assert arrays.read_npz(tmp_path, "arrays.npz", size)["a"].shape == (100,)
    with pytest.raises(TooLargeError):
        arrays.read_npz(tmp_path, "arrays.npz", size - 1)
    (tmp_path / "linked.npz").symlink_to("arrays.npz")
    (tmp_path / "linked.npy").symlink_to("array.npy")
    os.mkfifo(tmp_path / "pipe")
    for call, name in ((arrays.read_npz, "linked.npz"), (arrays.map_npy, "linked.npy")):
        for special in (name, "pipe"):
            with pytest.raises(UnsafeFileError):
                call(tmp_path, special)
        with pytest.raises(FileNotFoundError):
            call(tmp_path, "missing")
