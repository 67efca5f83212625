"""Run folders, journal, atomic writes and locks."""

import json
import multiprocessing
import os
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.errors import DataError, ResourceError, UsageError
from headstart.storage import files, folders, locks
from headstart.storage.contained import UnsafeFileError
from headstart.storage.journal import MAX_LINE_BYTES, Journal, line_bytes, read_lines, with_checksum
from headstart.storage.schemas.metrics import BeginLine
from headstart.text import format_bytes
from tests.handmade import step_line
from tests.messages import fields_of


def test_run_folders_have_distinct_names_with_time_host_arm_and_seed(tmp_path: Path) -> None:
    now = datetime(2026, 10, 20, 14, 44, 12)
    folder = folders.create_run(tmp_path, "file:cifar10+frozen@sgd", 3, now)
    assert re.fullmatch(r"Oct20_14-44-12_[A-Za-z0-9.+@-]+-file-cifar10\+frozen@sgd-s3", folder.name)
    assert folders.create_run(tmp_path, "file:cifar10+frozen@sgd", 3, now).name == folder.name + "-2"


def test_slugs_are_safe_in_paths() -> None:
    for name in ("../../etc", "a/b", "..", "", "con\x00", "a" * 500, "файл"):
        slug = folders.slug(name)
        assert slug and "/" not in slug and slug not in (".", "..") and len(slug) <= 80


def test_failed_creation_of_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError):
        folders.create_run(tmp_path / "file", "x", 0)


def test_journal_is_truncated_at_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with Journal(path) as journal:
        journal.append(step_line(1))
        size = journal.sync()
        journal.append(step_line(2))
    with Journal(path, size) as journal:
        journal.append(step_line(2, 0.5))
    assert list(read_lines(path)) == [step_line(1), step_line(2, 0.5)]


def test_journal_shorter_than_its_checkpoint_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("{}\n")
    with pytest.raises(DataError) as error:
        Journal(tmp_path / "m", 100)
    assert fields_of(error.value.message) == {"path": tmp_path / "m", "present": 3, "size": 100}
    assert fields_of(error.value.hint) == {"checkpoints": tmp_path / "checkpoints", "folder": tmp_path}


def test_checkpoint_that_ends_inside_a_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with Journal(path) as journal:
        journal.append(step_line(1))
        size = journal.sync()
    content = path.read_bytes()
    for position in (1, size // 2, size - 1):
        with pytest.raises(DataError):
            Journal(path, position)
    assert path.read_bytes() == content
    Journal(path, 0).close()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("field", ["step", "epoch", "time"])
@pytest.mark.parametrize("value", [-1, 10**30])
def test_numbers_that_no_run_has_are_damage(field: str, value: int, tmp_path: Path) -> None:
    content = {**step_line(1).to_json(), field: value}
    (tmp_path / "m").write_text(json.dumps(content) + "\n")
    with pytest.raises(DataError):
        list(read_lines(tmp_path / "m"))


def test_incomplete_last_line_is_skipped(tmp_path: Path) -> None:
    text = line_bytes(step_line(1))
    (tmp_path / "m").write_bytes(text + text[:20])
    assert list(read_lines(tmp_path / "m")) == [step_line(1)]


def test_floats_round_trip_exactly(tmp_path: Path) -> None:
    with Journal(tmp_path / "m") as journal:
        journal.append(step_line(1, 0.1 + 0.2))
    assert next(read_lines(tmp_path / "m")).loss == 0.1 + 0.2


@pytest.mark.parametrize("nth", range(3))
def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    path = tmp_path / "result.json"
    files.write_json(path, {"old": 1})
    calls = iter(range(100))

    def fails(real):
        def call(*args, **kwargs):
            if next(calls) == nth:
                raise OSError(28, "No space left on device")
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "fsync", fails(os.fsync))
    monkeypatch.setattr(os, "replace", fails(os.replace))
    with pytest.raises(OSError, match="No space"):
        files.write_json(path, {"new": 1})
    assert json.loads(path.read_text()) in ({"old": 1}, {"new": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_nan_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "x.json", {"loss": float("nan")})


def _hold(folder: str, ready, done) -> None:
    with locks.locked(Path(folder)):
        ready.set()
        done.wait(30)


def test_lock_error_names_the_process_that_holds_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path), ready, done))
    holder.start()
    assert ready.wait(30)
    with pytest.raises(UsageError) as error, locks.locked(tmp_path):
        pass
    assert fields_of(error.value.message) == {"folder": tmp_path, "pid": holder.pid, "host": socket.gethostname()}
    holder.kill()  # the lock of a dead process is taken over
    holder.join()
    with locks.locked(tmp_path):
        assert locks.holder(tmp_path) == (os.getpid(), socket.gethostname())
    assert not (tmp_path / "lock").exists()


def test_lock_with_another_name_stays_held(tmp_path: Path) -> None:
    """A backup of hard links gives the lock of a run in progress another name."""
    (tmp_path / "backup").mkdir()
    with locks.locked(tmp_path):
        os.link(tmp_path / "lock", tmp_path / "backup" / "lock")
        with pytest.raises(UsageError) as error, locks.locked(tmp_path):
            pass
        assert fields_of(error.value.message)["pid"] == os.getpid()
    assert locks.holder(tmp_path / "backup") == (os.getpid(), socket.gethostname())
    with locks.locked(tmp_path / "backup"):  # that of a process that has ended
        pass


def test_lock_that_is_deleted_on_release_has_one_holder_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")

    def increment(_: int) -> None:
        with locks.locked(tmp_path, timeout_s=60):
            count = int((tmp_path / "count").read_text())
            time.sleep(0.001)  # another holder would read the same number
            (tmp_path / "count").write_text(str(count + 1))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(increment, range(64)))
    assert (tmp_path / "count").read_text() == "64"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]


def test_lock_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError), locks.locked(tmp_path / "file"):
        pass


def test_insufficient_disk_space_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ResourceError) as error:
        folders.require_space(tmp_path, 1 << 60)
    values = error.value.message.values
    assert values.keys() == {"folder", "free", "needed"} and values["folder"] == tmp_path
    assert values["needed"] == "1152921504.6 GB"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 kB"), (31_400, "31 kB"), (31_400_000, "31 MB"), (3_140_000_000, "3.1 GB")]
)
def test_sizes_in_messages_are_not_rounded_to_zero(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize("is_signed", [True, False])
@pytest.mark.parametrize("damaged", ['{"kind":', '{"kind":"step"}', '{"kind":"new","step":1}', "[]", "[" * 100_000, ""])
def test_error_of_a_damaged_line_has_its_number(damaged: str, is_signed: bool, tmp_path: Path) -> None:
    text = line_bytes(step_line(1))
    content = damaged.encode()
    (tmp_path / "m").write_bytes(text + (with_checksum(content) if is_signed else content + b"\n") + text)
    with pytest.raises(DataError) as error:
        list(read_lines(tmp_path / "m"))
    assert fields_of(error.value.message) == {"number": 2, "path": tmp_path / "m"}


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"schema_version": 2, "field_of_version_2": 1}, {"schema", "supported", "name"}),
        ({"schema_version": None}, {"name", "place", "text"}),
    ],
)
def test_record_of_another_version_is_refused(change: dict[str, object], fields: set[str], tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with Journal(path) as journal:
        journal.append(BeginLine(time=0.0))
        journal.append(step_line(1))
    assert list(read_lines(path)) == [BeginLine(time=0.0), step_line(1)]
    begin = json.dumps({**BeginLine(time=0.0).to_json(), **change}).encode()
    path.write_bytes(with_checksum(begin) + line_bytes(step_line(1)))
    with pytest.raises(DataError) as error:
        list(read_lines(path))
    assert set(fields_of(error.value.message)) == fields


@given(st.data())
def test_a_changed_byte_of_a_record_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "metrics.jsonl"
    content = bytearray(line_bytes(BeginLine(time=0.0)) + line_bytes(step_line(1, 0.25)) + line_bytes(step_line(2)))
    place = data.draw(st.integers(0, len(content) - 2))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(DataError):
        list(read_lines(path))


def test_a_line_ends_with_the_checksum_of_its_object(tmp_path: Path) -> None:
    with Journal(tmp_path / "m") as journal:
        journal.append(step_line(1))
    stored = json.loads((tmp_path / "m").read_text())
    checksum = stored.pop("crc32c")
    content = json.dumps(stored, separators=(",", ":")).encode()
    assert stored == step_line(1).to_json() and int(checksum, 16) == crc32c_bit_by_bit(content)


def crc32c_bit_by_bit(content: bytes) -> int:
    """Return the CRC-32C of RFC 3720, appendix B.4."""
    value = 0xFFFFFFFF
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def test_a_line_without_an_end_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "m").open("wb") as file:
        file.truncate(4 * MAX_LINE_BYTES)
    with pytest.raises(DataError):
        list(read_lines(tmp_path / "m"))


@pytest.mark.parametrize("content", [b"private", b""])
def test_locks_do_not_change_files_outside_of_their_folder(tmp_path: Path, content: bytes) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    outside.write_bytes(content)
    (run / "lock").symlink_to(outside)
    with pytest.raises(UnsafeFileError), locks.locked(run):
        pass
    assert locks.holder(run) is None
    (run / "lock").unlink()
    os.link(outside, run / "lock")
    with locks.locked(run):
        assert locks.holder(run) == (os.getpid(), socket.gethostname())
    assert outside.read_bytes() == content
    os.mkfifo(run / "lock")
    with pytest.raises(UnsafeFileError), locks.locked(run):
        pass
