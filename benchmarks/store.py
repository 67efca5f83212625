"""Speed of building the pixel store, compared with Pillow's full decode and resize on the same number of threads.

    python -m benchmarks.store photos/train --enlarge 400

The two alternate, with a warm page cache. `--enlarge` first writes copies of the photos with that shorter side (JPEG,
quality 90), for folders whose photos are too small. Both receive the list of files; the store also checks the contents,
writes them and syncs the disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from benchmarks.stock import write_enlarged


def full(path: Path, side: int) -> Image.Image:
    """Decode a photo fully with Pillow and resize its shorter side to `side` px."""
    with Image.open(path) as image:
        scale = side / min(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        return image.convert("RGB").resize(size, Image.Resampling.BILINEAR)


def enlarge(source: Path, target: Path, side: int) -> None:
    """Copy the photos below `source` with shorter sides of `side` px."""
    for path in sorted(source.glob("*/*.jpg")):
        copy = target / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_enlarged(path, copy, side)


def measure(folder: Path, side: int, threads: int, repeats: int) -> list[tuple[float, float, float]]:
    """Return images/s of (Pillow, store, hashing of the files) for each repeat."""
    from headstart.data.hashing import hash_files
    from headstart.data.pixel_store import open_store
    from headstart.data.sources import read_index

    index = read_index(str(folder))
    rates = []
    for _ in range(repeats + 1):
        with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(threads) as pool:
            os.environ["HEADSTART_CACHE"] = cache
            t0 = time.perf_counter()
            contents = hash_files(index)
            t1 = time.perf_counter()
            for _ in pool.map(lambda path: full(path, side), index.paths):
                pass
            t2 = time.perf_counter()
            open_store(index, contents, side=side, threads=threads)
            t3 = time.perf_counter()
            rates.append((len(index) / (t2 - t1), len(index) / (t3 - t2), len(index) / (t1 - t0)))
    return rates[1:]  # the first repeat warms the page cache


def main() -> None:
    """Parse the flags, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of class folders of JPEG photos")
    parser.add_argument("--side", type=int, default=192, help="shorter side in the store, px")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--enlarge", type=int, default=0, help="shorter side in px of enlarged copies [default: the photos themselves]"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if args.enlarge:
            enlarge(args.folder, Path(scratch), args.enlarge)
        folder = Path(scratch) if args.enlarge else args.folder
        rates = measure(folder, args.side, args.threads, args.repeats)
    print(f"side {args.side}, {args.threads} threads, images/s")
    print(f"{'repeat':>6} {'Pillow':>8} {'store':>8} {'ratio':>6} {'hashing':>8}")
    for number, (pillow, store, hashing) in enumerate(rates, 1):
        print(f"{number:>6} {pillow:>8.0f} {store:>8.0f} {store / pillow:>6.2f} {hashing:>8.0f}")
    middle = [statistics.median(column) for column in zip(*rates, strict=True)]
    ratio = statistics.median(store / pillow for pillow, store, _ in rates)
    print(f"median {middle[0]:>8.0f} {middle[1]:>8.0f} {ratio:>6.2f} {middle[2]:>8.0f}")


if __name__ == "__main__":
    main()
