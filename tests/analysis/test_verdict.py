"""The best learning rates of the rows of a grid, and the arms that the headline compares them with."""

import pytest

from headstart.analysis.verdict import comparators_of, grid_rows
from headstart.config.study_config import ArmVariant
from tests.handmade import arm_spec


@pytest.mark.parametrize(
    ("val", "best"),
    [
        ([0.5, 0.9, 0.6, 0.1, 0.2, 0.3], [("a", 0.01, None), ("b", 0.1, "high")]),
        ([0.5, 0.5, 0.5, 0.1, 0.2, 0.1], [("a", 0.01, None), ("b", 0.01, None)]),  # the first declared of equal rates
    ],
)
def test_best_learning_rate_at_the_end_of_its_row_is_flagged(val: list[float], best: list[tuple]) -> None:
    rates = ("0.01", "0.001", "0.1")
    variants = [ArmVariant(arm_spec(f"{row},lr={rate}")) for row in "ab" for rate in rates]
    by_name = dict(zip([f"{row},lr={rate}" for row in "ab" for rate in ("0.001", "0.01", "0.1")], val, strict=True))
    rows = [(row.variant.split(",")[0], row.lr, row.edge) for row in grid_rows(variants, by_name)]
    assert rows == best
    chosen, comparator = (
        max((variant.name for variant in variants), key=lambda name: by_name[name]),
        f"b,lr={best[1][1]}",
    )
    assert comparators_of(chosen, variants, by_name) == [comparator]


def test_comparator_in_a_single_row_of_learning_rates_is_the_second_best() -> None:
    variants = [ArmVariant(arm_spec(f"a,lr={rate}")) for rate in ("0.1", "0.01", "0.001")]
    val = {"a,lr=0.1": 0.3, "a,lr=0.01": 0.9, "a,lr=0.001": 0.8}
    assert comparators_of("a,lr=0.01", variants, val) == ["a,lr=0.001"]
    assert comparators_of("a", [ArmVariant(arm_spec("a")), ArmVariant(arm_spec("b"))], {"a": 1, "b": 0}) == []
