"""Jobs of unequal length on several lanes: the order against every other one, and what it must not do."""

import heapq
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from headstart.engines.scheduling import MIN_TIME_SAVED_SHARE, TAIL, schedule_jobs


def end(seconds: list[float], order, workers: int) -> float:
    """When the last of so many lanes is done, each taking the next job when it is free."""
    free = [0.0] * workers
    for job in order:
        heapq.heappush(free, heapq.heappop(free) + seconds[job])
    return max(free)


@given(st.lists(st.integers(1, 9).map(float), max_size=6), st.integers(2, 3))
def test_few_jobs_end_nearly_as_soon_as_in_the_best_of_all_orders(seconds: list[float], workers: int) -> None:
    best = min((end(seconds, order, workers) for order in permutations(range(len(seconds)))), default=0.0)
    assert end(seconds, schedule_jobs(seconds, workers), workers) <= 1.2 * best


@given(st.lists(st.floats(0, 1e4), max_size=3 * TAIL), st.integers(1, 8))
def test_an_order_has_each_job_once_and_ends_no_later(seconds: list[float], workers: int) -> None:
    order = schedule_jobs(seconds, workers)
    assert sorted(order) == list(range(len(seconds)))
    assert end(seconds, order, workers) <= end(seconds, range(len(seconds)), workers) * (1 + 1e-9)
    assert order[: -TAIL or None] == list(range(len(order)))[: -TAIL or None]


def test_a_comparison_of_whole_runs_and_runs_that_begin_with_the_head_leaves_no_lane_idle() -> None:
    seconds = [152.0, 146.0, 4.0, 104.0, *[152.0, 146.0, 104.0] * 4]
    half = sum(seconds) / 2
    assert end(seconds, range(len(seconds)), 2) > 1.04 * half
    assert end(seconds, schedule_jobs(seconds, 2), 2) < (1 + MIN_TIME_SAVED_SHARE) * half


def test_one_lane_and_equal_jobs_keep_their_order() -> None:
    assert schedule_jobs([3.0, 1.0, 2.0], 1) == [0, 1, 2]
    assert schedule_jobs([2.0] * 5, 2) == [0, 1, 2, 3, 4]
    assert schedule_jobs([], 2) == []
