"""The tables behind every claim of speed, on photos and weights that you name.

python -m benchmarks --photos photos.csv speed memory
python -m benchmarks --photos photos.csv --weights w.safetensors heads verdict               (most of an hour)
python -m benchmarks engines
python -m benchmarks --photos photos.csv --weights w.safetensors quality     (an hour; finished pairs are kept)
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import engines, heads, memory, quality, speed, verdict

TABLES = ("speed", "memory", "engines", "heads", "verdict", "quality")
NEED_WEIGHTS = ("heads", "verdict", "quality")
SIZES = {"speed": 128, "memory": 128, "heads": 96, "verdict": 96}  # px, where none is named


def main() -> None:
    """Print the tables that were asked for, or all that the given files allow."""
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", help=f"which of {', '.join(TABLES)}; none: all of them")
    parser.add_argument(
        "--photos", help="photos with declared splits: a folder or a manifest; all but engines need them"
    )
    parser.add_argument("--weights", type=Path, help="pretrained weights, for the tables that need them")
    parser.add_argument("--size", type=int, help="image size in px [default: 128 for speed and memory, else 96]")
    parser.add_argument("--rounds", type=int, default=2, help="epochs that count, for each loop")
    parser.add_argument("--enlarge", type=int, default=0, help="speed: on copies with this shorter side, px")
    parser.add_argument("--device", default="cpu", help="speed: where both loops train")
    parser.add_argument("--batch", type=int, default=32, help="speed: batch size")
    parser.add_argument("--workers", type=int, default=2, help="speed: of the stock loop's DataLoader")
    parser.add_argument("--seeds", type=int, default=10, help="pairs of the quality table")
    parser.add_argument(
        "--kept", type=Path, default=Path("runs") / "quality.jsonl", help="finished pairs are kept here"
    )
    parser.add_argument("--runs", type=Path, help="verdict: where its study stays; none: it is not kept")
    options = parser.parse_args()
    wanted = options.what or [name for name in TABLES if name not in NEED_WEIGHTS or options.weights]
    if unknown := set(wanted) - set(TABLES):
        sys.exit(f"There is no table {', '.join(unknown)}.\nChoose from {', '.join(TABLES)}.")
    if set(wanted) - {"engines"} and options.photos is None:
        sys.exit("These tables are made of photos.\nName them with --photos FOLDER, or ask for engines only.")
    if options.weights is None and (needy := [name for name in wanted if name in NEED_WEIGHTS]):
        sys.exit(f"The table {needy[0]} is of pretrained weights.\nName them with --weights FILE.")
    for name in wanted:
        size = options.size or SIZES.get(name, 0)
        if name == "speed":
            how = {name: getattr(options, name) for name in ("batch", "rounds", "enlarge", "device", "workers")}
            rows = speed.table(options.photos, size=size, **how)
        elif name == "engines":
            rows = engines.table()
        elif name == "memory":
            rows = memory.table(options.photos, size=size)
        elif name == "heads":
            rows = heads.table(options.photos, options.weights, size)
        elif name == "verdict":
            rows = verdict.table(options.photos, options.weights, size, options.runs)
        else:
            options.kept.parent.mkdir(parents=True, exist_ok=True)
            rows = quality.table(options.photos, options.weights, options.kept, options.seeds)
        print("\n".join(rows), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
