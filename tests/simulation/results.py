"""Run declared cells in processes, keep each result as one line of a file, and print the table of docs/protocol.md.

A cell whose line is in the file is not simulated again, unless the code that decides or simulates has changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from tests.simulation.measures import CellResult, limits, measure
from tests.simulation.studies import Cell

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "simulation"
SOURCES = (
    "src/headstart/analysis/contrasts.py",
    "src/headstart/analysis/headline.py",
    "src/headstart/analysis/image_sample.py",
    "src/headstart/analysis/interim.py",
    "src/headstart/analysis/looks.py",
    "src/headstart/analysis/statistics.py",
    "src/headstart/experiment/lr_search.py",
    "tests/fixtures/records.npz",
    "tests/simulated.py",
    "tests/simulation/measures.py",
    "tests/simulation/populations.py",
    "tests/simulation/searches.py",
    "tests/simulation/studies.py",
)


def code_digest() -> str:
    """Return a digest of the files that a result follows from."""
    content = b"".join((ROOT / name).read_bytes() for name in SOURCES)
    return hashlib.sha256(content).hexdigest()[:16]


def read_results(folder: Path) -> dict[str, CellResult]:
    """Return the results of this code by cell, of each cell the one with the most studies."""
    file, digest = folder / "cells.jsonl", code_digest()
    results: dict[str, CellResult] = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            content = json.loads(line)
        except ValueError:  # the last line of an interrupted run
            continue
        if content.pop("code") != digest:
            continue
        result = CellResult(**content)
        before = results.get(result.cell)
        if before is None or before.studies < result.studies:
            results[result.cell] = result
    return results


def run_cells(cells: Iterable[Cell], studies: int, processes: int, folder: Path = FOLDER) -> dict[str, CellResult]:
    """Simulate the cells that do not have a result with that many studies, and return all results.

    Args:
        cells: Cells to simulate, in any order.
        studies: Studies of each cell.
        processes: Number of processes.
        folder: Folder of the results.
    """
    results = read_results(folder)
    missing = [cell for cell in cells if cell.name not in results or results[cell.name].studies < studies]
    folder.mkdir(parents=True, exist_ok=True)
    digest = code_digest()
    with (
        ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool,
        (folder / "cells.jsonl").open("a") as file,
    ):
        file.write("\n")  # after a line that an interruption cut off
        futures = [pool.submit(measure, cell, studies) for cell in sorted(missing, key=_size, reverse=True)]
        for future in as_completed(futures):
            result = future.result()
            file.write(f"{json.dumps({**result.to_json(), 'code': digest})}\n")
            file.flush()
            results[result.cell] = result
    return results


def _size(cell: Cell) -> int:
    """Return a number by which the cells that take longest come first."""
    return cell.arms * cell.n * (cell.m + 3_000 * (cell.search is not None))


HEADER = (
    "| arms | seeds | images | | studies | a false winner ¹ | all intervals cover | one 95 % interval covers "
    "| false equivalence at 1, 5 points | width | power |"
)


def table(cells: Sequence[Cell], results: Mapping[str, CellResult]) -> list[str]:
    """Return the rows of the Markdown table for the cells that have a result."""
    rows = [_row(cell, results[cell.name]) for cell in cells if cell.name in results]
    return [HEADER, "|" + "---|" * (HEADER.count("|") - 1), *rows]


def _row(cell: Cell, result: CellResult) -> str:
    total, upper = result.studies, limits(result.false_winners, result.studies)[1]
    columns = [
        str(cell.arms),
        str(cell.n),
        f"{cell.m:,}",
        cell.kind,
        f"{total:,}",
        f"{_percent(result.false_winners, total)} ({100 * upper:.1f})",
        _percent(result.all_covered, total),
        _percent(result.single_covered, result.single_total) if result.single_total else "",
        f"{_percent(result.false_equivalent, total)}, {_percent(result.false_equivalent_wide, total)}",
        f"{100 * result.mean_width:.1f}" if cell.arms == 2 else "",
        _percent(result.power, total) if cell.arms == 2 else "",
    ]
    return f"| {' | '.join(columns)} |"


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f}"
