"""The declared cells: the kinds of studies whose error rates are simulated, and the bars that they must keep.

They are declared before any of them is simulated. Two of forty places are left for declared reruns.
"""

from itertools import product

from tests.simulation.searches import Rule
from tests.simulation.studies import Cell

SEEDS, IMAGES, ARMS = (3, 5, 10), (100, 205, 1000), (2, 4, 10)
MAX_CELLS = 40
STUDIES = 10_000  # of each cell

CELLS = (
    *(Cell(n, m, arms) for arms, n, m in product(ARMS, SEEDS, IMAGES)),
    *(Cell(5, 205, unit_size=size, correlation=correlation) for size, correlation in product((5, 10), (0.5, 0.9))),
    *(Cell(n, m, search=rule) for rule in (Rule.PER_SEED, Rule.SHARED) for n, m in ((5, 205), (10, 1000))),
    Cell(8, 1000, interim=(3, 5, 8)),
    Cell(10, 1000, interim=(3, 5, 10)),
    Cell(8, 205, 4, interim=(3, 5, 8)),
)

BASELINE = Cell(5, 205)
BASELINE_WIDTH, BASELINE_POWER = 0.0758, 0.751  # of the decision before units and one family, on the same tables
MAX_WIDTH_RATIO, MAX_LOST_POWER = 1.10, 0.03

QUICK_CELLS = {  # those of the default tests, with their number of studies
    Cell(3, 1000): 1_500,
    Cell(5, 205, 4): 700,
    Cell(5, 205, unit_size=10, correlation=0.9): 1_500,
    Cell(5, 205, search=Rule.PER_SEED): 300,
}
