"""Time and memory from a manifest of many images to their fingerprint, for a first start and for a second one.

    python -m benchmarks.manifest --rows 1000000

It writes that many small PNG files of different content in 1,000 folders, and tables of them. Each row is measured in a
process of its own: imports, reading the table, hashing (a second start compares size and times of the files only),
splitting, the search for equal images, and the fingerprint. Processor time is printed beside wall time, since other
programs may use the machine. Pixels are not decoded.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

FOLDERS, CLASSES = 1000, 100
STEPS = ("imports", "table", "hashes", "split", "overlaps", "fingerprint")
TABLES = ("plain.csv", "declared.csv", "plain.jsonl", "plain.parquet")


class Measured(NamedTuple):
    """Result of one start: wall and processor seconds of each step, peak memory in bytes, and the fingerprint."""

    wall: list[float]
    cpu: list[float]
    peak: int
    fingerprint: str


def png(number: int) -> bytes:
    """Return a PNG file of 4 x 4 pixels and about 350 bytes, which differs for every number."""
    pixels = number.to_bytes(8, "little") * 6
    rows = b"".join(b"\0" + pixels[i : i + 12] for i in range(0, 48, 12))
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)),
        (b"tEXt", b"Comment\0" + b"x" * 200),
        (b"IDAT", zlib.compress(rows, 1)),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def write_files(root: Path, count: int) -> list[tuple[str, str]]:
    """Write `count` files below `root` and return their paths and labels, in random order."""
    rows = []
    for folder in range(FOLDERS):
        (root / f"img/{folder:04d}").mkdir(parents=True)
        for number in range(folder * count // FOLDERS, (folder + 1) * count // FOLDERS):
            key = f"img/{folder:04d}/{number:07d}.png"
            with open(os.path.join(root, key), "wb") as file:  # noqa: PTH118, PTH123
                file.write(png(number))
            rows.append((key, f"class_{number * 7919 % CLASSES}"))
    random.Random(0).shuffle(rows)
    return rows


def write_tables(root: Path, rows: list[tuple[str, str]]) -> None:
    """Write the rows as the files `TABLES`; `declared.csv` also has splits."""
    names = random.Random(1).choices(("train", "val", "test"), (8, 1, 1), k=len(rows))
    for name, header, lines in (
        ("plain.csv", ("path", "label"), iter(rows)),
        ("declared.csv", ("path", "label", "split"), ((*row, name) for row, name in zip(rows, names, strict=True))),
    ):
        with (root / name).open("w", newline="") as file:
            csv.writer(file).writerows([header, *lines])
    with (root / "plain.jsonl").open("w") as file:
        file.writelines(json.dumps({"path": key, "label": label}) + "\n" for key, label in rows)
    import pandas as pd

    pd.DataFrame(rows, columns=["path", "label"]).to_parquet(root / "plain.parquet")


def start(manifest: str) -> None:
    """Do what a training does before it decodes images, and print the result as JSON."""
    import resource

    laps = [(time.perf_counter(), time.process_time())]

    def lap() -> None:
        laps.append((time.perf_counter(), time.process_time()))

    from headstart.data import hashing, sources, splits
    from headstart.hardware.garbage import collect_rarely
    from headstart.training import setup as _setup  # noqa: F401  # with torch, as in a training

    collect_rarely()  # as the command does
    lap()
    images = sources.read_index(manifest)
    lap()
    contents = hashing.hash_files(images)
    lap()
    split = splits.divide(images, seed=0, content_hashes=contents)
    lap()
    splits.overlaps(images, split, contents)
    lap()
    value = hashing.fingerprint(images, contents)
    lap()
    unit = 1 if sys.platform == "darwin" else 1024
    wall, cpu = ([b[i] - a[i] for a, b in itertools.pairwise(laps)] for i in range(2))
    print(json.dumps([wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, value]))


def measure(manifest: Path, cache: Path) -> Measured:
    """Return the result of one start in a process of its own."""
    script = f"from benchmarks.manifest import start; start({str(manifest)!r})"
    environment = {**os.environ, "HEADSTART_CACHE": str(cache)}
    process = subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
    )
    return Measured(*json.loads(process.stdout))


def measure_all(root: Path, count: int, tables: tuple[str, ...] = TABLES) -> Iterator[tuple[str, Measured]]:
    """Write the files, and yield the first start of the first table and the second starts of all of them."""
    write_tables(root, write_files(root, count))
    time.sleep(3)  # hashes of files that were written a moment ago are not kept
    cache = root / "cache"
    yield f"{tables[0]}, first", measure(root / tables[0], cache)
    for name in tables:
        yield f"{name}, second", measure(root / name, cache)


def table(root: Path, count: int, echo: Callable[[str], None]) -> None:
    """Print the table: processor seconds of each step, then sums and the peak."""
    columns = [*STEPS, "cpu s", "wall s", "GB"]
    echo(f"{count:,} rows, processor seconds by step; load {os.getloadavg()[0]:.1f}")
    echo(f"{'start':<22}" + "".join(f"{name:>12}" for name in columns))
    for name, result in measure_all(root, count):
        values = [*result.cpu, sum(result.cpu), sum(result.wall), result.peak / 1e9]
        echo(f"{name:<22}" + "".join(f"{value:>12.2f}" for value in values))


def main() -> None:
    """Parse the flags, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="parent of the temporary files, which take 4 KB each")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        table(Path(scratch), args.rows, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
