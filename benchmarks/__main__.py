"""`make bench`: the tables behind every claim of speed, on photos and weights that the caller names."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import memory, quality, speed

SHARED = Path("..") / "shared"


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("what", nargs="*", choices=["speed", "memory", "quality", []], default=[])
    parser.add_argument(
        "--photos", default=str(SHARED / "data" / "clothing" / "lab4.csv"), help="data with declared splits"
    )
    parser.add_argument("--weights", type=Path, default=SHARED / "weights" / "cifar10-resnet18.safetensors")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2, help="epochs that count, per loop")
    parser.add_argument("--seeds", type=int, default=10, help="pairs of the quality benchmark")
    parser.add_argument(
        "--kept", type=Path, default=Path("runs") / "quality.jsonl", help="finished pairs are kept here"
    )
    options = parser.parse_args()
    if not Path(options.photos).exists():
        sys.exit(f"There are no photos at {options.photos}.\nName some with declared splits: --photos PATH.")
    wanted = options.what or ["speed", "memory", "quality"]
    if "speed" in wanted:
        print("\n".join(speed.table(options.photos, size=options.size, rounds=options.rounds)), end="\n\n", flush=True)
    if "memory" in wanted:
        print("\n".join(memory.table(options.photos, size=options.size)), end="\n\n", flush=True)
    if "quality" in wanted:
        options.kept.parent.mkdir(parents=True, exist_ok=True)
        print("\n".join(quality.table(options.photos, options.weights, options.kept, options.seeds)), flush=True)


if __name__ == "__main__":
    main()
