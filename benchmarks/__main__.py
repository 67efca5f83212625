"""Measure speed, memory and quality on your photos and weights, and print one table per benchmark.

python -m benchmarks --photos photos.csv speed memory
python -m benchmarks --photos photos.csv --weights w.safetensors heads verdict               (most of an hour)
python -m benchmarks engines
python -m benchmarks --photos photos.csv --weights w.safetensors quality     (an hour; finished pairs are stored)
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import engines, heads, memory, quality, speed, verdict

TABLES = ("speed", "memory", "engines", "heads", "verdict", "quality")
NEED_WEIGHTS = ("heads", "verdict", "quality")
DEFAULT_SIZES = {"speed": 128, "memory": 128, "heads": 96, "verdict": 96}  # image size in px


def main() -> None:
    """Print the requested tables. Default: all for which photos and weights are given."""
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", help=f"tables to print: {', '.join(TABLES)} [default: all]")
    parser.add_argument(
        "--photos", help="photos with declared splits: a folder or a manifest; required by all tables but engines"
    )
    parser.add_argument("--weights", type=Path, help="pretrained weights, required by heads, verdict and quality")
    parser.add_argument("--size", type=int, help="image size in px [default: 128 for speed and memory, else 96]")
    parser.add_argument("--rounds", type=int, default=2, help="measured epochs of each loop")
    parser.add_argument(
        "--enlarge", type=int, default=0, help="speed: shorter side in px of enlarged copies of the photos"
    )
    parser.add_argument("--device", default="cpu", help="speed: device of both loops")
    parser.add_argument("--batch", type=int, default=32, help="speed: batch size")
    parser.add_argument("--workers", type=int, default=2, help="speed: DataLoader workers of the stock loop")
    parser.add_argument("--seeds", type=int, default=10, help="quality: number of paired seeds")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("runs") / "quality.jsonl",
        help="quality: file of finished pairs",
    )
    parser.add_argument("--runs", type=Path, help="verdict: parent folder of the study [default: a temporary folder]")
    options = parser.parse_args()
    tables = options.tables or [name for name in TABLES if name not in NEED_WEIGHTS or options.weights]
    if unknown := set(tables) - set(TABLES):
        sys.exit(f"There is no table {', '.join(sorted(unknown))}.\nChoose from {', '.join(TABLES)}.")
    if set(tables) - {"engines"} and options.photos is None:
        sys.exit("--photos is missing.\nSet --photos FOLDER, or run the table engines only.")
    if options.weights is None and (missing := [name for name in tables if name in NEED_WEIGHTS]):
        sys.exit(f"--weights is missing, which the table {missing[0]} requires.\nSet --weights FILE.")
    for name in tables:
        size = options.size or DEFAULT_SIZES.get(name, 0)
        if name == "speed":
            settings = {name: getattr(options, name) for name in ("batch", "rounds", "enlarge", "device", "workers")}
            rows = speed.table(options.photos, size=size, **settings)
        elif name == "engines":
            rows = engines.table()
        elif name == "memory":
            rows = memory.table(options.photos, size=size)
        elif name == "heads":
            rows = heads.table(options.photos, options.weights, size)
        elif name == "verdict":
            rows = verdict.table(options.photos, options.weights, size, options.runs)
        else:
            options.results.parent.mkdir(parents=True, exist_ok=True)
            rows = quality.table(options.photos, options.weights, options.results, options.seeds)
        print("\n".join(rows), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
