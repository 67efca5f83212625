"""Compare what two commits compute: equal weights, and equal numbers in the verdict.

    python -m benchmarks.reference BASE [HEAD]

Each commit is checked out into a worktree of its own. Both train the same runs on scikit-learn's digits, on this
machine, in fp32 on one thread: full, frozen and LP-FT, and a small study with a search on the local engine. The
weights must be equal bit for bit, the numbers of verdict.json to `TOLERANCE`. Wall-clock values are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

TOLERANCE = 1e-12  # relative
COMMON = ("--threads", "1", "--precision", "fp32", "--device", "cpu", "--epochs", "1ep")
CLOCK_KEYS = {"seconds"}  # measured by the clock

# Keys of verdict.json that were renamed, old to new.
RENAMED_KEYS = {
    "tie": "margin",
    "by_less_than_tie": "by_less_than_margin",
    "looks": "interim",
    "judge": "evaluation",
    "cell": "variant",
    "chosen": "selected",
    "need": "sample_size",
    "worth": "equivalences",
    "endless_seeds": "half_width_infinite_seeds",
    "known": "exposure",
    "degrees": "degrees_of_freedom",
    "least": "min_factor",
    "most": "max_factor",
    "whole": "full_runs",
    "schema": "schema_version",
}
# Names of the engine that runs one job after the other, newest first.
LOCAL_ENGINES = ("local", "here")


@dataclass(frozen=True)
class Outcome:
    """What one commit computed."""

    weights: dict[str, str]  # sha256 of the weights of each run, by its name
    numbers: dict[str, float]  # numbers of verdict.json, by their path


def main() -> None:
    """Run both commits and print the comparison; exit with 1 where they differ."""
    parser = argparse.ArgumentParser(prog="benchmarks.reference", description=__doc__.splitlines()[0])
    parser.add_argument("base", help="commit to compare with")
    parser.add_argument("head", nargs="?", default="HEAD", help="commit to check [default: HEAD]")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="relative tolerance of numbers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headstart-reference-") as parent:
        base = outcome(options.base, Path(parent) / "base")
        head = outcome(options.head, Path(parent) / "head")
    faults = differences(base, head, options.tolerance)
    weights, numbers = len(base.weights), len(base.numbers)
    print("\n".join([*faults, f"{weights} weights and {numbers} numbers compared, {len(faults)} different"]))
    sys.exit(1 if faults or not weights or not numbers else 0)


def outcome(commit: str, parent: Path) -> Outcome:
    """Train the reference runs with the code of `commit` in the new folder `parent`."""
    tree, runs = parent / "tree", parent / "runs"
    parent.mkdir()
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), commit], check=True)
    try:
        return _train_all(tree, runs)
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(tree)], check=True)


def differences(base: Outcome, head: Outcome, tolerance: float) -> list[str]:
    """Return one line per weight or number that differs or is missing on one side."""
    faults = _compare("weights", base.weights, head.weights, lambda a, b: a == b)
    numbers = {_renamed(path): value for path, value in base.numbers.items()}
    if len(numbers) != len(base.numbers):
        raise SystemExit("Two keys of the base have one new name.\nCorrect RENAMED_KEYS.")
    return faults + _compare(
        "number", numbers, head.numbers, lambda a, b: abs(a - b) <= tolerance * max(abs(a), abs(b))
    )


def _train_all(tree: Path, runs: Path) -> Outcome:
    """Train with the sources in `tree`; the runs and the study have fixed names, since arms are named after paths."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "HEADSTART_CACHE": str(runs.parent / "cache")}

    def headstart(*arguments: str) -> None:
        command = [sys.executable, "-m", "headstart", *arguments, "--runs", str(runs)]
        finished = subprocess.run(command, env=environment, cwd=runs.parent, capture_output=True, text=True)
        if finished.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{finished.stderr}")

    def train(name: str, *arguments: str) -> str:
        """Train one run, rename its folder, and return the sha256 of its weights."""
        before = set(runs.glob("*"))
        headstart("train", *arguments, *COMMON)
        (run,) = set(runs.glob("*")) - before
        run.rename(runs / name)
        return _weights_digest(runs / name / "model")

    start = f"run:{runs / 'pretrained'}"
    weights = {"pretrained": train("pretrained", "digits:0-5")}
    weights["full"] = train("full", "digits")
    weights["frozen"] = train("frozen", "digits", "--start", start, "--tuning", "frozen")
    weights["lp-ft"] = train("lp-ft", "digits", "--start", start, "--tuning", "lp-ft")
    arms = ["scratch", f"{start}+frozen", f"{start}+lp-ft"]
    rules = ("--seeds", "3", "--grid", "0.05,0.01,0.001", "--search-seeds", "1")
    arm_flags = [part for arm in arms for part in ("--arm", arm)]
    headstart("compare", "digits", *arm_flags, *rules, "--engine", _local_engine(tree), *COMMON)
    (verdict,) = runs.glob("*/verdict.json")
    for folder in sorted(verdict.parent.glob("*-s[0-9]*/model")):
        name = folder.parent.name.split("_", 2)[2]  # <date>_<time>_<host>-<arm>-s<seed>
        weights[f"study/{name}"] = _weights_digest(folder)
    return Outcome(weights, dict(_numbers(_restructured(json.loads(verdict.read_text(encoding="utf-8"))))))


def _local_engine(tree: Path) -> str:
    """Return the name that the commit gives to the engine that runs one job after the other."""
    engines = tree / "src" / "headstart" / "engines"
    return next(name for name in LOCAL_ENGINES if (engines / f"{name}.py").is_file())


def _weights_digest(folder: Path) -> str:
    """Return the sha256 of all tensors in a model folder, in the order of their names.

    A frozen run keeps backbone and head in two files; file names and metadata are ignored.
    """
    tensors = {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
    return digest.hexdigest()


def _restructured(verdict: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict with the searches of earlier commits, four parallel dictionaries, as a list of groups."""
    search = verdict["search"]
    if not isinstance(search, dict):
        return verdict
    selected = search.get("selected") or search["chosen"]
    groups = [
        {
            "budget": budget,
            "seed": int(name.split()[1]) if name.startswith("seed ") else None,
            "grid": grid,
            "arms": [
                {
                    "selected": rate,
                    "at_edge": arm in search["edges"][budget][name],
                    "tried": [
                        {"lr": float(lr), **scores}
                        for lr, scores in sorted(
                            search["tried"][budget][name][arm].items(), key=lambda item: float(item[0])
                        )
                    ],
                }
                for arm, rate in selected[budget][name].items()
            ],
        }
        for budget, by_group in search["grid"].items()
        for name, grid in by_group.items()
    ]
    arms = [{key: value for key, value in arm.items() if key != "rates"} for arm in verdict["arms"]]
    return {**verdict, "search": groups, "arms": arms}


def _numbers(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, float]]:
    """Yield (path, number) for every number of a JSON value that does not depend on the clock."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in CLOCK_KEYS:
                yield from _numbers(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _numbers(item, (*path, str(index)))
    elif isinstance(value, int | float):
        yield "/".join(path), float(value)


def _renamed(path: str) -> str:
    return "/".join(RENAMED_KEYS.get(part, part) for part in path.split("/"))


def _compare(
    kind: str, base: Mapping[str, Any], head: Mapping[str, Any], equal: Callable[[Any, Any], bool]
) -> list[str]:
    faults = [f"{kind} {name}: only in one commit" for name in sorted(base.keys() ^ head.keys())]
    for name in sorted(base.keys() & head.keys()):
        if not equal(base[name], head[name]):
            faults.append(f"{kind} {name}: {base[name]} != {head[name]}")
    return faults


if __name__ == "__main__":
    main()
