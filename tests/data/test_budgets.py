"""Refuse small files that would take minutes or gigabytes before they are read; read sound ones of their kinds."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart import signals
from headstart.data import conversion, png_chunks, row_bands
from headstart.data.conversion import BACKGROUNDS, Conversion, eight_bit_image, visible_on
from headstart.data.decode import UndecodableError, decode
from headstart.data.jpeg_scans import MAX_SCANNED_PIXELS, MAX_SCANS, MAX_SEGMENTS
from headstart.data.manifest import read_rows, read_table
from headstart.data.parallel import ordered_map
from headstart.data.read_errors import MissingFilesError
from headstart.data.samples import Samples
from headstart.data.tables import csv_reader, labels
from headstart.data.tables.file_lookup import FileLookup
from headstart.data.tables.options import TableOptions
from headstart.data.tables.table import MAX_COLUMNS, TableSizeError
from headstart.errors import DataError, InterruptedRunError
from tests.memory import cost

SIDE = 48


def jpeg(side: int = SIDE, *, progressive: bool = False) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((side, side), 60).convert("RGB").save(file, "JPEG", progressive=progressive, quality=80)
    return file.getvalue()


def with_scans(count: int, side: int = SIDE) -> bytes:
    """Return a progressive JPEG whose last scan is repeated until there are `count` scans."""
    content = jpeg(side, progressive=True)
    scans = [match.start() for match in re.finditer(b"\xff\xda", content)]
    last = content[scans[-1] : -2]
    return content[:-2] + last * (count - len(scans)) + content[-2:]


def with_segments(segment: bytes, count: int) -> bytes:
    content = jpeg()
    return content[:2] + segment * count + content[2:]


COMMENT = b"\xff\xfe\0\4ab"


@pytest.mark.parametrize(
    "content",
    [
        with_scans(MAX_SCANS + 1),
        with_scans(5000),
        with_scans(1 + MAX_SCANNED_PIXELS // 5000**2, 5000),
        with_segments(COMMENT, MAX_SEGMENTS),
        with_segments(b"\xff", 1 << 17),
        with_segments(b"\xff" * 5000 + COMMENT, 20),
        with_segments(b"\xff\xe1\0\x0aExif\0\0ab", 100_000),
    ],
    ids=["scans", "5000 scans", "scans of a large image", "segments", "fill", "fill between segments", "exif"],
)
def test_costly_jpeg_files_are_refused(content: bytes) -> None:
    with pytest.raises(UndecodableError):
        decode(content, 32)


@pytest.mark.parametrize("content", [with_scans(MAX_SCANS), with_segments(COMMENT, 900)], ids=["scans", "segments"])
def test_unusual_jpeg_files_are_decoded_as_pillow_does(content: bytes) -> None:
    assert np.array_equal(decode(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


def test_scans_behind_the_image_do_not_count() -> None:
    content = jpeg(progressive=True)
    assert np.array_equal(decode(content + b"\xff\xda\0\2" * 5000), decode(content))


def test_text_of_png_files_is_unpacked_up_to_a_total(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    unpack = png_chunks._unpacked_bytes
    monkeypatch.setattr(png_chunks, "_unpacked_bytes", lambda kind, body: (sizes.append(1), unpack(kind, body))[1])
    file = io.BytesIO()
    Image.new("RGB", (3, 3), (1, 2, 3)).save(file, "PNG")
    body = b"a\0\0" + zlib.compress(bytes(1 << 21), 9)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    content = file.getvalue()
    assert decode(content[:33] + chunk * 500 + content[33:]).tolist() == [[[1, 2, 3]] * 3] * 3
    assert 0 < len(sizes) < 50


def test_visible_backgrounds_are_those_of_every_nth_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "_MEASURED_PIXELS", 100)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 64, 4)).astype(np.uint8)
    pixels[::5, ::5, :3] = BACKGROUNDS[1]  # the step is 5
    assert visible_on(Image.fromarray(pixels)) == 0b11101


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK"])
def test_bands_give_the_values_of_the_whole_image(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, 5000, (37, 11, len(mode))).astype(np.uint16)
    samples, rule = Samples(values, mode, 1), Conversion(4095)
    whole, highest = eight_bit_image(samples, rule)
    monkeypatch.setattr(row_bands, "MAX_VALUES", 60)
    banded, highest_of_bands = eight_bit_image(samples, rule)
    assert banded.tobytes() == whole.tobytes() and highest == highest_of_bands


# --- tables ----------------------------------------------------------------------------------------------------------


def table_file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, newline="")
    return path


NAMES = ",".join(f"c{number}" for number in range(MAX_COLUMNS))
SPARSE = 6000  # rows that each lack 2,000 columns


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", f"path,label,{NAMES}\na.jpg,x\n"),
        ("a.csv", "path,label" + "," * 2000 + "\n" + "a.jpg,x\n" * SPARSE),
        ("a.jsonl", "{" + ",".join(f'"c{number}":1' for number in range(MAX_COLUMNS + 1)) + "}\n"),
        ("a.jsonl", "".join(f'{{"c{number}": 1}}\n' for number in range(MAX_COLUMNS + 1))),
        ("a.json", "[{" + ",".join(f'"c{n}":1' for n in range(2001)) + "}" + ',{"c1":1}' * SPARSE + "]"),
    ],
    ids=["columns", "short rows", "columns of JSON", "columns of JSON rows", "sparse JSON"],
)
def test_tables_of_too_many_cells_are_refused(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(TableSizeError):
        read_table(table_file(tmp_path, name, text), TableOptions())


@pytest.mark.parametrize(
    "text",
    [
        "path,label\n" + "-" * 200_000 + "x,x\n",
        "-" * 200_000 + "x\npath,label\na,b\n",
        "path,label\r" + "\r" * 200_000 + "a,b",
        "path,label\n" + "a" * 100_000 + "\xe9,x\n",
    ],
    ids=["line of a table", "line above a table", "line ends", "word before an accent"],
)
def test_long_lines_take_linear_time(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode("latin-1"))
    started = time.process_time()
    with contextlib.suppress(DataError):
        read_table(path, TableOptions())
    assert time.process_time() - started < 3


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_tables_of_too_many_labels_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "MAX_LABELS", 50)
    row = "{0}.jpg,{0}\n" if name == "a.csv" else '{{"path": "{0}.jpg", "label": "{0}"}}\n'
    for number in range(51):
        (tmp_path / f"{number}.jpg").touch()
    head = "path,label\n" if name == "a.csv" else ""
    sound = table_file(tmp_path, name, head + "".join(map(row.format, range(50))) + row.format(49))
    assert len({*read_rows(read_table(sound, TableOptions()), tmp_path).labels}) == 50
    large = table_file(tmp_path, name, head + "".join(map(row.format, range(51))))
    with pytest.raises(TableSizeError):
        read_rows(read_table(large, TableOptions()), tmp_path)


def test_text_of_more_rows_than_its_characters_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_reader, "_MAX_SHORT_ROWS", 100)
    for text in ("path,label\n" + "a,b\n" * 99, "path,label\n" + "a.jpg,b\n" * 100):
        assert read_table(table_file(tmp_path, "a.csv", text), TableOptions()).rows
    monkeypatch.setattr(csv_reader, "find_layout", lambda *_: pytest.fail("the table was read"))
    with pytest.raises(TableSizeError):
        read_table(table_file(tmp_path, "a.csv", "path,label\n" + "a,b\n" * 100), TableOptions())


def test_paths_of_thousands_of_folders_are_missing_files(tmp_path: Path) -> None:
    path = table_file(tmp_path, "a.csv", f"path,label\n{'x/' * 1500}a.jpg,b\n")
    with pytest.raises(MissingFilesError):
        read_rows(read_table(path, TableOptions()), tmp_path)


def test_repeated_headers_are_left_out_in_linear_time(tmp_path: Path) -> None:
    path = table_file(tmp_path, "a.csv", "path,label\n" + "a.jpg,b\npath,label\n" * 200_000)
    started = time.process_time()
    assert read_table(path, TableOptions()).rows == 200_000
    assert time.process_time() - started < 5


def test_paths_of_megabytes_are_not_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").touch()
    monkeypatch.setattr(FileLookup, "allowed", lambda _lookup, key: pytest.fail(f"{len(key)} characters"))
    assert FileLookup(tmp_path, allow_outside=False).find("\xe9" * 1_000_000) is None


def test_names_that_are_there_twice_are_found_in_linear_time(tmp_path: Path) -> None:
    names = ",".join(f'"{number}":1' for number in range(200_000))
    path = table_file(tmp_path, "a.jsonl", f'{{{names},"199999":2}}\n')
    started = time.process_time()
    with pytest.raises(DataError):
        read_table(path, TableOptions())
    assert time.process_time() - started < 5


def test_parquet_of_more_rows_than_its_bytes_name_is_refused(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2_500_000, np.int32)), ["a.jpg"])
    pq.write_table(pa.table({"path": column}), tmp_path / "a.parquet")
    with pytest.raises(DataError):
        read_table(tmp_path / "a.parquet", TableOptions())


def test_parquet_column_that_unpacks_to_much_more_is_refused(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    column = pa.array(["a" * 1_000_000] * 120)
    pq.write_table(pa.table({"path": column}), tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(DataError):
        read_table(tmp_path / "a.parquet", TableOptions()).column("path")


PARQUET = """
import pyarrow.compute, pyarrow.parquet
from headstart.data.manifest import read_table
from headstart.data.tables.options import TableOptions
def column():
    return read_table(Path({file!r}), TableOptions()).column("image").values
"""


@pytest.mark.parametrize("kind", ["string", "large_string", "binary", "struct"])
def test_text_of_parquet_is_shared_by_its_rows(kind: str, tmp_path: Path) -> None:
    """Copies of the long text for each row would take 1 GB."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    texts, places = ["b", "a" * 50_000, ""], [0, None, 1, 0, 2] * 20_000
    value = pa.string() if kind == "struct" else getattr(pa, kind)()
    text = pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), pa.array(texts, pa.string()))
    file = tmp_path / "a.parquet"
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", value)]) if kind == "struct" else value)])
    with pq.ParquetWriter(file, schema) as writer:
        for begin in range(0, len(text), 1000):
            part = text[begin : begin + 1000].cast(pa.string()).cast(value)
            if kind == "struct":
                empty = pa.nulls(len(part), pa.binary())
                part = pa.StructArray.from_arrays([empty, part], names=["bytes", "path"])
            writer.write_table(pa.table({"image": part}, schema=schema))
    assert file.stat().st_size < 10_000_000
    cells = read_table(file, TableOptions()).column("image").values
    assert list(cells) == ["" if place is None else texts[place] for place in places]
    assert len({*map(id, cells)}) <= 2 * len(texts)
    taken = cost(PARQUET.format(file=str(file)), "column()")
    assert taken.error == "-" and taken.megabytes < 400


def test_images_in_parquet_are_noticed_without_reading_them(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": b"\xff" * 100_000, "path": "a.jpg"}] * 5_000, kind)
    pq.write_table(pa.table({"image": rows}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 10_000_000
    taken = cost(PARQUET.format(file=str(tmp_path / "a.parquet")), "column()")
    assert taken.error == "DataError" and taken.megabytes < 200


def test_columns_whose_names_begin_with_the_same_letters_are_others(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"label": ["a", "b"] * 100, "label_scores": pa.array(["0" * 700_000] * 200)})
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False, compression="zstd")
    assert list(read_table(tmp_path / "a.parquet", TableOptions()).column("label").values) == ["a", "b"] * 100


# --- interrupts ------------------------------------------------------------------------------------------------------

INTERRUPTED = """
import contextlib, os, sys, time
from headstart.data.parallel import ordered_map

def slow(item):
    if item:
        os.write(1, b"started\\n")  # print may hold the lock of stdout when the process ends, which aborts it
        time.sleep(60)  # as a decoder, which no signal interrupts outside the main thread

with contextlib.closing(ordered_map(slow, range(9), 1)) as results:
    for result in results:
        while sys.argv[1] == "caller":
            time.sleep(0.1)  # a signal just before one long call would wait for its end
"""


@pytest.mark.parametrize("place", ["pool", "caller"])
def test_interrupt_does_not_wait_for_calls_in_progress(place: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, place]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout and process.stdout.readline() == b"started\n"
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        try:
            assert process.wait(20) == -signal.SIGINT
        finally:
            process.kill()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("is_requested", [False, True], ids=["signal", "request"])
def test_deferred_signal_does_not_wait_for_calls_in_progress(
    is_requested: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "_requested", [])
    started, released = threading.Event(), threading.Event()

    def slow(_item: int) -> None:
        started.set()
        released.wait(60)

    def interrupt() -> None:
        started.wait(60)
        signals.request_stop(signal.SIGINT) if is_requested else os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    begin = time.monotonic()
    with signals.SignalGuard(), pytest.raises(InterruptedRunError):
        list(ordered_map(slow, range(3), 1))
    assert time.monotonic() - begin < 5
    released.set()


def test_timeouts_of_calls_are_raised() -> None:
    def fail(_item: int) -> None:
        raise TimeoutError("of the call")

    with pytest.raises(TimeoutError, match="of the call"):
        list(ordered_map(fail, range(3), 1))


def test_closing_the_iterator_waits_for_calls_in_progress() -> None:
    done: list[int] = []

    def slow(item: int) -> int:
        time.sleep(0.1)
        done.append(item)
        return item

    results = ordered_map(slow, range(20), 2)
    assert next(results) == 0
    results.close()
    count = len(done)
    time.sleep(0.3)
    assert len(done) == count < 20
