"""Jobs of unequal length on several workers: the order compared with all others, and its invariants."""

import heapq
from itertools import permutations

from hypothesis import example, given
from hypothesis import strategies as st

from headstart.engines.scheduling import MAX_REORDERED_JOBS, MIN_TIME_SAVED_SHARE, schedule_jobs


def makespan(seconds: list[float], order, workers: int) -> float:
    """Return the time at which the last worker finishes, if each takes the next job when it is free."""
    free = [0.0] * workers
    for job in order:
        heapq.heappush(free, heapq.heappop(free) + seconds[job])
    return max(free)


@example([2.0, 2.0, 2.0, 6.0, 6.0], 3)
@given(st.lists(st.integers(1, 9).map(float), max_size=6), st.integers(2, 3))
def test_order_is_within_20_percent_of_the_optimum(seconds: list[float], workers: int) -> None:
    best = min((makespan(seconds, order, workers) for order in permutations(range(len(seconds)))), default=0.0)
    assert makespan(seconds, schedule_jobs(seconds, workers), workers) <= 1.2 * best


@given(st.lists(st.floats(0, 1e4), max_size=3 * MAX_REORDERED_JOBS), st.integers(1, 8))
def test_order_is_a_permutation_and_ends_no_later(seconds: list[float], workers: int) -> None:
    order = schedule_jobs(seconds, workers)
    assert sorted(order) == list(range(len(seconds)))
    assert makespan(seconds, order, workers) <= makespan(seconds, range(len(seconds)), workers) * (1 + 1e-9)
    assert order[: -MAX_REORDERED_JOBS or None] == list(range(len(order)))[: -MAX_REORDERED_JOBS or None]


def test_jobs_of_a_typical_study_leave_no_worker_idle() -> None:
    seconds = [152.0, 146.0, 4.0, 104.0, *[152.0, 146.0, 104.0] * 4]
    half = sum(seconds) / 2
    assert makespan(seconds, range(len(seconds)), 2) > 1.04 * half
    assert makespan(seconds, schedule_jobs(seconds, 2), 2) < (1 + MIN_TIME_SAVED_SHARE) * half


def test_one_worker_and_equal_jobs_keep_their_order() -> None:
    assert schedule_jobs([3.0, 1.0, 2.0], 1) == [0, 1, 2]
    assert schedule_jobs([2.0] * 5, 2) == [0, 1, 2, 3, 4]
    assert schedule_jobs([], 2) == []
