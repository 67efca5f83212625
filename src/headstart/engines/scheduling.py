"""Order jobs of unequal length so that no worker is idle for long while another works on the last job."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import permutations

MAX_REORDERED_JOBS = 24  # at the end of the order; the jobs before them have time to even out
MIN_TIME_SAVED_SHARE = 0.01  # of the total time; a smaller gain does not justify leaving the requested order


def schedule_jobs(seconds: Sequence[float], workers: int) -> list[int]:
    """Return an order of the jobs that ends early.

    List scheduling (Graham 1969) from the requested order and from longest first, each improved by moving one job or
    exchanging two as long as the end comes earlier. The requested order is preferred. It is unchanged with one worker,
    and if all jobs take the same time.

    Args:
        seconds: Estimated duration of each job.
        workers: Number of jobs that run at a time.

    Returns:
        The indices of the jobs in the order in which they should start.
    """
    order = list(range(len(seconds)))
    if workers < 2 or len(set(seconds)) < 2:
        return order
    head, tail = order[:-MAX_REORDERED_JOBS], order[-MAX_REORDERED_JOBS:]
    busy = _finish_times([0.0] * workers, [seconds[job] for job in head])
    end, requested = _improve(tail, busy, seconds)
    longest_first_end, longest_first = _improve(sorted(tail, key=lambda job: -seconds[job]), busy, seconds)
    return head + (longest_first if longest_first_end < end * (1 - MIN_TIME_SAVED_SHARE) else requested)


def _improve(order: list[int], busy: Sequence[float], seconds: Sequence[float]) -> tuple[float, list[int]]:
    """Return the end and the order of the jobs after moves and exchanges, as long as they end clearly earlier."""
    best = max(_finish_times(busy, [seconds[job] for job in order]))
    while True:
        candidates = [(max(_finish_times(busy, [seconds[job] for job in jobs])), jobs) for jobs in _neighbors(order)]
        end, candidate = min(candidates, key=lambda pair: pair[0])
        if end > best * (1 - MIN_TIME_SAVED_SHARE):
            return best, order
        best, order = end, candidate


def _neighbors(order: list[int]) -> list[list[int]]:
    """Return every order that is one move or one exchange away."""
    orders = []
    for source, target in permutations(range(len(order)), 2):
        moved = order.copy()
        moved.insert(target, moved.pop(source))
        orders.append(moved)
        if source < target:
            swapped = order.copy()
            swapped[source], swapped[target] = swapped[target], swapped[source]
            orders.append(swapped)
    return orders


def _finish_times(busy: Sequence[float], seconds: Sequence[float]) -> list[float]:
    """Return the time until which each worker is busy.

    Args:
        busy: Time until which each worker is busy before these jobs.
        seconds: Durations of the jobs, each started by the worker that is free first.
    """
    workers = list(busy)
    heapq.heapify(workers)
    for length in seconds:
        heapq.heapreplace(workers, workers[0] + length)
    return workers
