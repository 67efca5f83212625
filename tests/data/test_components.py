"""Connected components equal those of a search by hand, in order of appearance."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headstart.data.components import components, same_name, same_number

pairs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12)


def by_hand(count: int, edges: list[tuple[int, int]]) -> list[int]:
    """Return component numbers by joining labels until nothing changes, then number them by appearance."""
    label = list(range(count))
    for _ in range(count):
        for a, b in edges:
            label[a] = label[b] = min(label[a], label[b])
    numbers: dict[int, int] = {}
    return [numbers.setdefault(value, len(numbers)) for value in label]


@given(pairs, pairs)
def test_components_are_those_of_a_search_by_hand(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    edges = [tuple(np.array(part, np.int64).reshape(-1, 2).T) for part in (first, second)]
    assert components(10, edges).tolist() == by_hand(10, first + second)


@given(st.lists(st.sampled_from(["", "a", "b", "c"]), max_size=12))
def test_equal_names_and_numbers_are_connected(names: list[str]) -> None:
    n = len(names)
    edges = [(i, k) for i in range(n) for k in range(i) if names[i] and names[i] == names[k]]
    assert components(n, [same_name(names)]).tolist() == by_hand(n, edges)
    numbers = np.array([100 + i if not name else ord(name) for i, name in enumerate(names)], np.int64)
    assert components(n, [same_number(numbers)]).tolist() == by_hand(n, edges)
