"""Map a function over items in threads, with results in order and a bounded queue."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Generator[Result]:
    """Yield `function` of each item, in the order of the items.

    The function runs in `threads` threads, at most 8 items per thread ahead. Its exceptions are raised in the caller.
    To stop early, close the iterator (`contextlib.closing`); the calls in progress are waited for. After a
    KeyboardInterrupt they are not: one large image takes seconds.
    """
    work: queue.SimpleQueue[tuple[Future[Result], Item] | None] = queue.SimpleQueue()
    # The threads of concurrent.futures are joined at the end of the process.
    pool = [threading.Thread(target=_work, args=(function, work), daemon=True) for _number in range(threads)]
    for thread in pool:
        thread.start()
    waiting: deque[Future[Result]] = deque()
    is_interrupted = False
    try:
        for item in items:
            waiting.append(Future())
            work.put((waiting[-1], item))
            if len(waiting) >= 8 * threads:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    except BaseException as error:  # the iterator is closed while the caller handles its own exception
        is_interrupted = isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt)
        raise
    finally:
        for future in waiting:
            future.cancel()
        for _thread in pool:
            work.put(None)
        if not is_interrupted:
            for thread in pool:
                thread.join()


def _result(future: Future[Result]) -> Result:
    """Return the result of a future, and wait for it in short steps, so that signals are handled.

    A signal that arrives just before the system call that waits does not interrupt the wait.
    """
    while not future.done():
        wait([future], timeout=0.5)
    return future.result()


def _work(function: Callable[[Item], Result], work: queue.SimpleQueue[tuple[Future[Result], Item] | None]) -> None:
    """Call the function with each item of a queue, until None."""
    while (task := work.get()) is not None:
        future, item = task
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(function(item))
        except BaseException as error:
            future.set_exception(error)
        del task, future, item  # else they stay in memory until the next item
