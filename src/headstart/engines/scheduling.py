"""In which order jobs of unequal length begin, so that no lane stands idle for long while another works on the last."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import permutations

TAIL = 24  # so many jobs at the end are put in order; what comes before them has time to even out
MIN_TIME_SAVED_SHARE = 0.01  # of the time that all take: less is not worth leaving the order that was asked for


def schedule_jobs(seconds: Sequence[float], workers: int) -> list[int]:
    """The jobs in an order that ends soon, `lanes` of them at a time; `seconds` is how long each may take.

    List scheduling (Graham 1969), made better by moving one job, or exchanging two, as long as that gains something.
    The order stays as it is on one lane, and where all jobs take as long.
    """
    order = list(range(len(seconds)))
    if workers < 2 or len(set(seconds)) < 2:
        return order
    head, tail = order[:-TAIL], order[-TAIL:]
    busy = _run([0.0] * workers, [seconds[job] for job in head])
    best = max(_run(busy, [seconds[job] for job in tail]))
    while True:
        ends = [(max(_run(busy, [seconds[job] for job in moved])), moved) for moved in _neighbours(tail)]
        end, moved = min(ends, key=lambda found: found[0])
        if end > best * (1 - MIN_TIME_SAVED_SHARE):
            return head + tail
        best, tail = end, moved


def _neighbours(order: list[int]) -> list[list[int]]:
    """Every order that one move or one exchange makes of this one."""
    found = []
    for one, other in permutations(range(len(order)), 2):
        moved = order.copy()
        moved.insert(other, moved.pop(one))
        found.append(moved)
        if one < other:
            swapped = order.copy()
            swapped[one], swapped[other] = swapped[other], swapped[one]
            found.append(swapped)
    return found


def _run(busy: Sequence[float], seconds: Sequence[float]) -> list[float]:
    """Until when each lane is busy once these jobs are done, each begun by the lane that is free first."""
    workers = list(busy)
    heapq.heapify(workers)
    for length in seconds:
        heapq.heapreplace(workers, workers[0] + length)
    return workers
