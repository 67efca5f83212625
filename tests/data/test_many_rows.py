"""Tables and folders of many images: quick forms give what simple ones do, and finished hashes are kept."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Self

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from benchmarks import manifest
from headstart.data import hash_cache, hashing, overlaps
from headstart.data.hash_cache import NO_STAMP, HashCache
from headstart.data.image_index import ImageIndex, build_index, natural_key, natural_order
from headstart.data.read_errors import MissingFilesError
from headstart.data.sources import read_index
from headstart.data.tables import json_reader, moved_files, paths
from headstart.data.tables.file_lookup import FileLookup
from headstart.data.tables.options import TableOptions
from tests.messages import fields_of

NAMES = st.text(st.sampled_from("ab019_/ é²٣"), max_size=8)


@hypothesis.given(st.lists(NAMES))
def test_natural_order_is_that_of_the_natural_keys(names: list[str]) -> None:
    order = sorted(range(len(names)), key=lambda i: natural_key(names[i]))
    assert natural_order(names) == order


@hypothesis.given(
    st.lists(st.integers(0, 9999), min_size=1), st.sampled_from(["{:04d}", "a/{:04d}.jpg", "{:02d}x{:04d}"])
)
def test_natural_order_of_numbers_of_equal_length(numbers: list[int], name: str) -> None:
    names = [name.format(number % 100, number) if name.count("{") > 1 else name.format(number) for number in numbers]
    assert [names[i] for i in natural_order(names)] == sorted(names, key=natural_key)


@hypothesis.given(st.lists(st.sampled_from(["", "a", "b", "c", "d"])))
def test_shared_names_are_those_of_a_table_of_all_names(names: list[str]) -> None:
    table = defaultdict(list)
    for i, name in enumerate(names):
        table[name].append(i)
    assert overlaps._shared_names(names) == [members for name, members in table.items() if name and len(members) > 1]


@hypothesis.given(st.text(st.sampled_from("aZ1é \t\n./\\:²")))
def test_usual_paths_match_neither_pattern(path: str) -> None:
    if not moved_files.is_unusual(path):
        assert not paths.OUTSIDE.search(path) and not paths._WINDOWS.match(path.strip())


@hypothesis.given(st.lists(st.dictionaries(st.sampled_from("abc"), st.none() | st.booleans() | st.text(max_size=2))))
def test_columns_of_json_are_those_of_its_objects(rows: list[dict[str, bool | str | None]]) -> None:
    columns, count = json_reader._columns(rows, "a.jsonl")
    assert count == len(rows) and list(columns) == list(dict.fromkeys(name for row in rows for name in row))
    assert columns == {name: [row.get(name) for row in rows] for name in columns}


def test_numbers_of_json_lines_skip_blank_lines(tmp_path: Path) -> None:
    rows = [{"path": "1.jpg", "label": 1}, {"path": "2.jpg", "label": 2}]
    (tmp_path / "list.jsonl").write_text("\n\n".join(map(json.dumps, rows)) + "\n")
    table = json_reader.read_json(tmp_path / "list.jsonl", TableOptions())
    assert table.rows == 2 and [table.number(row) for row in range(2)] == [1, 3]


def test_progress_of_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcde":
        (tmp_path / f"{name}.jpg").touch()
    (tmp_path / "list.csv").write_text("path,label\n" + "".join(f"{name}.jpg,{name}\n" for name in "abcde"))
    calls: list[tuple[int, int]] = []
    read_index(str(tmp_path / "list.csv"), progress=lambda done, total: calls.append((done, total)))
    assert not calls
    monkeypatch.setattr(paths, "ROWS_PER_REPORT", 2)
    images = read_index(str(tmp_path / "list.csv"), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(2, 5), (4, 5), (5, 5)] and len(images) == 5


# --- hashes that are kept --------------------------------------------------------------------------------------------


def files(root: Path, count: int) -> ImageIndex:
    root.mkdir()
    keys = [f"{i}.bin" for i in range(count)]
    for i, key in enumerate(keys):
        (root / key).write_bytes(bytes([i % 256]) * i)
    return build_index("files", root, keys, ["a"] * count, [""] * count, [""] * count)


def true_hashes(images: ImageIndex) -> tuple[str, ...]:
    return tuple(hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest() for path in images.paths)


@contextmanager
def names_of_read_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    names: list[str] = []
    with monkeypatch.context() as patch:
        read = hashing._read_hash
        patch.setattr(hashing, "_read_hash", lambda path: (names.append(Path(path).name), read(path))[1])
        yield names


def stop_after(count: int, exception: BaseException) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= count:
            raise exception

    return progress


@pytest.fixture
def old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the cache accept files that were written a moment ago, and read a few at a time."""
    monkeypatch.setattr(hash_cache, "_MIN_AGE_NS", -(10**12))
    monkeypatch.setattr(hashing, "_FILES_PER_TASK", 4)


@pytest.mark.usefixtures("old_files")
def test_interrupted_start_keeps_its_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = files(tmp_path / "files", 30)
    with pytest.raises(KeyboardInterrupt):
        hashing.hash_files(images, stop_after(12, KeyboardInterrupt()))
    with names_of_read_files(monkeypatch) as names:
        assert hashing.hash_files(images) == true_hashes(images)
    assert sorted(names) == sorted(images.keys[12:])
    with names_of_read_files(monkeypatch) as names:
        assert hashing.hash_files(images) == true_hashes(images)
    assert not names


@pytest.mark.usefixtures("old_files")
def test_hashes_are_saved_before_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_cache, "_SAVE_INTERVAL_S", 0.0)
    monkeypatch.setattr(hash_cache, "_MAX_SAVE_SHARE", 1e9)
    images = files(tmp_path / "files", 30)
    kept: list[int] = []

    def count_saved(done: int, total: int) -> None:
        """Count the hashes that a start finds if this one is killed now."""
        kept.append(len(HashCache(images.root)._rows) - done)

    assert hashing.hash_files(images, count_saved) == true_hashes(images)
    assert kept == [0] * 8


@pytest.mark.usefixtures("old_files")
def test_cache_keeps_files_of_other_tables_and_replaces_changed_ones(tmp_path: Path) -> None:
    images = files(tmp_path / "files", 10)
    hashing.hash_files(images.without(range(5)))
    images.paths[7].write_bytes(b"other")
    assert hashing.hash_files(images.without(range(8, 10))) == true_hashes(images)[:8]
    cache = HashCache(images.root)
    stamps = np.array([hashing._stamp(str(path)) for path in images.paths])
    assert tuple(cache.lookup(images.keys, stamps)) == true_hashes(images)
    assert cache.lookup(images.keys, stamps + 1) == [""] * 10
    assert cache.lookup(["absent"], np.array([NO_STAMP])) == [""]


class OtherThread:
    """Call a function once, before one instruction of another function: where a thread may be interrupted."""

    def __init__(self, interrupted: Callable[..., object], instruction: int, call: Callable[[], object]) -> None:
        self._code, self._left, self._call = interrupted.__code__, instruction, call
        self.done = False

    def __enter__(self) -> Self:
        self._former = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_error: object) -> None:
        sys.settrace(self._former)

    def _trace(self, frame: FrameType, event: str, _argument: object) -> Callable[..., object] | None:
        if frame.f_code is not self._code:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self._left -= 1
            if self._left < 0 and not self.done:
                self.done = True
                self._call()
        return self._trace


@pytest.mark.usefixtures("old_files")
@pytest.mark.parametrize("interrupted", ["lookup", "_merge"])
def test_lookup_during_a_merge_gives_the_hash_that_belongs_to_the_stamp(interrupted: str, tmp_path: Path) -> None:
    keys, stamps, hashes = ["a"], [np.array([[1, 1, n]]) for n in (1, 2)], ["1" * 32, "2" * 32]
    answers: set[tuple[str, str]] = set()
    for instruction in itertools.count():
        cache = HashCache(tmp_path)
        cache.add(keys, stamps[0], hashes[:1])
        cache._merge()
        cache.add(keys, stamps[1], hashes[1:])

        def look_up(cache: HashCache = cache) -> None:
            answers.add(tuple(cache.lookup(keys, values)[0] for values in stamps))

        first, second = (look_up, cache._merge) if interrupted == "lookup" else (cache._merge, look_up)
        with OtherThread(getattr(HashCache, interrupted), instruction, second) as thread:
            first()
        if not thread.done:
            break
    # each stamp alone: its own hash or none
    assert {answer[0] for answer in answers} == {hashes[0], ""}
    assert {answer[1] for answer in answers} == {hashes[1], ""}


def test_files_that_cannot_be_read_have_hashes_of_their_own(tmp_path: Path) -> None:
    images = files(tmp_path / "files", 5)
    images.paths[1].unlink()
    images.paths[3].unlink()
    images.paths[3].mkdir()
    first = hashing.hash_files(images)
    assert [content.startswith(hashing.UNREADABLE_PREFIX) for content in first] == [i in (1, 3) for i in range(5)]
    assert len(set(first)) == 5 and hashing.hash_files(images) == first


# --- a million rows --------------------------------------------------------------------------------------------------


def test_tables_of_many_files_give_their_rows(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    rows = manifest.write_files(tmp_path, manifest.FOLDERS)
    manifest.write_tables(tmp_path, rows)
    fingerprints: dict[str, str] = {}
    for name in manifest.TABLES:
        images = read_index(str(tmp_path / name))
        pairs = zip(images.keys, (images.classes[label] for label in images.labels), strict=True)
        assert list(pairs) == sorted(rows)
        fingerprints[name] = hashing.fingerprint(images, hashing.hash_files(images))
    with (tmp_path / "declared.csv").open() as file:
        declared = {row["path"]: row["split"] for row in csv.DictReader(file)}
    assert read_index(str(tmp_path / "declared.csv")).splits == tuple(declared[key] for key in sorted(declared))
    assert len(set(fingerprints.values())) == 2, "only the declared splits make a difference"
    assert fingerprints["plain.csv"] == fingerprints["plain.jsonl"] == fingerprints["plain.parquet"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_million_rows_need_little_memory_and_are_hashed_once(tmp_path: Path) -> None:
    starts = dict(manifest.measure_all(tmp_path, 1_000_000, ("plain.csv",)))
    first, second = starts["plain.csv, first"], starts["plain.csv, second"]
    assert first.fingerprint == second.fingerprint
    assert max(first.peak, second.peak) < 2e9
    step = manifest.STEPS.index("hashes")
    assert second.cpu[step] < first.cpu[step] / 2, "five times less were measured"


def test_missing_files_of_a_large_table_are_not_compared_with_similar_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their number is that of a small table, whose paths are all compared."""
    monkeypatch.setattr(moved_files, "_MAX_CORRECTED", 3000, raising=False)
    (tmp_path / "0.jpg").touch()
    lookups: list[str] = []
    original = FileLookup.find
    monkeypatch.setattr(FileLookup, "find", lambda self, key: (lookups.append(key), original(self, key))[1])
    for rows in (3000, 9000):
        lookups.clear()
        (tmp_path / "t.csv").write_text("path,label\n" + "".join(f"{row}.jpg,{row % 2}\n" for row in range(rows)))
        with pytest.raises(MissingFilesError) as error:
            read_index(str(tmp_path / "t.csv"))
        assert fields_of(error.value.message)["count"] == rows - 1
        assert len(lookups) < 3100


@hypothesis.given(st.lists(st.lists(st.sampled_from(["a", "b", "a-", "", " "]), min_size=1, max_size=4), min_size=1))
def test_the_common_beginning_of_paths_is_that_of_their_folders(parts: list[list[str]]) -> None:
    keys = ["/".join(each) for each in parts]
    split = [key.strip().split("/") for key in keys]
    common = moved_files.common_parts(split)
    expected = [["/".join(each[count:]) for each in split] for count in range(1, len(common) + 1)]
    assert [list(place.keys) for place in moved_files._shortened(keys)] == expected
