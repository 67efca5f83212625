"""Map a function over items in threads, with results in order and a bounded queue."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, wait
from typing import TypeVar

from headstart.errors import InterruptedRunError
from headstart.i18n import _
from headstart.signals import SignalGuard

POLL_S = 0.2  # between looks for a signal while a call takes long
Item = TypeVar("Item")
Result = TypeVar("Result")
_INTERRUPTS = (KeyboardInterrupt, InterruptedRunError)


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Generator[Result]:
    """Yield `function` of each item, in the order of the items.

    The function runs in `threads` threads, at most 8 items per thread ahead. Its exceptions are raised in the caller.
    To stop early, close the iterator (`contextlib.closing`); the calls in progress are waited for. After a
    KeyboardInterrupt they are not: one large image takes seconds.

    Raises:
        InterruptedRunError: A `SignalGuard` around the caller has deferred a signal, as that of an engine does while a
            job decodes its images, or a stop was requested. The calls in progress are not waited for.
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
        is_interrupted = isinstance(error, _INTERRUPTS) or isinstance(error.__context__, _INTERRUPTS)
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

    Raises:
        InterruptedRunError: A guard around the caller has received a signal.
    """
    guard = SignalGuard()  # not entered: it reports what the guards around the caller have received
    while (number := guard.pending()) is None:
        if future.done():
            return future.result()
        wait([future], POLL_S)
    raise InterruptedRunError(number, _("Continue with `headstart resume`."))


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
