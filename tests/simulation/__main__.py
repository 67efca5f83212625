"""Simulate the declared cells and print the table of docs/protocol.md, or compare the rules of the search.

    python -m tests.simulation --studies 10000 --processes 2
    python -m tests.simulation --regret --studies 2000

An interrupted run is resumed by the same command.
"""

import argparse
import os
from pathlib import Path

from tests.simulation.cells import CELLS, STUDIES
from tests.simulation.measures import excesses
from tests.simulation.regret import regret_table
from tests.simulation.results import FOLDER, run_cells, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=STUDIES, help="studies of each cell (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one for each core")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of the results (default: %(default)s)")
    parser.add_argument("--only", default="", help="simulate the cells whose name contains this text")
    parser.add_argument("--regret", action="store_true", help="compare the rules of the search")
    options = parser.parse_args()
    if options.regret:
        print("\n".join(regret_table(options.studies)))
        return
    cells = [cell for cell in CELLS if options.only in cell.name]
    results = run_cells(cells, options.studies, options.processes, options.folder)
    print("\n".join(table(CELLS, results)))
    for cell in CELLS:
        if cell.name in results:
            result = results[cell.name]
            print(
                f"{cell.name}: {1_000 * result.seconds / result.studies:.1f} s per 1,000 studies",
                *excesses(cell, result),
            )


if __name__ == "__main__":
    main()
