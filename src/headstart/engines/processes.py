"""As many processes as the machine runs faster with, side by side; each is kept, since importing torch takes seconds.

A lane hears its parent's messages and no signals: those of a terminal reach all processes of a group, those of `kill`
only one, and a run must be asked to stop exactly once.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from headstart.engines import GRACE, LOST
from headstart.engines.scheduling import schedule_jobs
from headstart.errors import InterruptedRunError, ResourceError
from headstart.reporter import Reporter
from headstart.runs import job_protocol
from headstart.signals import SIGNALS, SignalGuard

_WORKER_COMMAND = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from headstart.engines.worker import main; main()"
)


class WorkerProcess:
    """A worker process as its parent has it. What it answers comes into `answers` as (lane, text), its end as None."""

    def __init__(self, answers: SimpleQueue[tuple[WorkerProcess, str | None]]) -> None:
        self.index: int | None = None  # of the job that it works on
        self._answers = answers
        if hasattr(signal, "pthread_sigmask"):  # the child inherits what is blocked, from its first moment on
            before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own words
                [sys.executable, "-P", "-c", _WORKER_COMMAND, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        finally:
            if hasattr(signal, "pthread_sigmask"):
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, message: dict[str, Any]) -> None:
        """One message; a lane that is dead says so through `answers`."""
        assert self._process.stdin is not None  # noqa: S101
        with suppress(OSError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def close(self) -> str:
        """End the process if it still is; returns how it ended, in words."""
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101
        with suppress(OSError):
            self._process.stdin.close()
        try:
            code = self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101
        for line in self._process.stdout:
            if line.endswith(b"\n"):  # a lane that dies may leave half a line
                self._answers.put((self, line.decode()))
        self._answers.put((self, None))


class ProcessEngine:
    """Runs `count` jobs at a time, each in a process of its own."""

    def __init__(self, count: int, reporter: Reporter) -> None:
        self.count = count
        self._reporter = reporter
        self._workers: list[WorkerProcess] = []
        self._answers: SimpleQueue[tuple[WorkerProcess, str | None]] = SimpleQueue()

    def run(self, jobs: Sequence[str]) -> Generator[tuple[int, str]]:
        """So many at a time, in the order that ends soonest; answers come as runs end."""
        waiting, lost = deque(schedule_jobs([job_protocol.seconds(job) for job in jobs], self.count)), Counter[int]()
        with SignalGuard() as guard:
            try:
                while waiting or any(worker.index is not None for worker in self._workers):
                    if (number := guard.heard()) is not None:
                        yield from self._stopped(number, waiting)
                        return
                    self._hand_out(jobs, waiting)
                    if (found := self._next(0.2)) is None:
                        continue
                    worker, index, answer = found
                    if answer is not None:
                        yield index, answer
                        continue
                    lost[index] += 1
                    how = f"The process of {job_protocol.title(jobs[index])} ended {worker.close()}"
                    if lost[index] < LOST:
                        self._reporter.say(f"{how}; the run goes on in another.")
                        waiting.appendleft(index)
                    else:
                        hint = "See whether the memory is enough, then go on with `headstart resume`."
                        yield index, job_protocol.failed(ResourceError(f"{how}, {LOST} times in a row.", hint))
            finally:
                self._stop(signal.SIGTERM)

    def close(self) -> None:
        """End all lanes; a run in progress is left as it was when it was last written."""
        for worker in self._workers:
            worker.close()
        self._workers.clear()
        self._answers = SimpleQueue()

    def _hand_out(self, jobs: Sequence[str], waiting: deque[int]) -> None:
        while waiting:
            worker = next((worker for worker in self._workers if worker.index is None), None)
            if worker is None:
                if len(self._workers) == self.count:
                    return
                worker = WorkerProcess(self._answers)
                self._workers.append(worker)
            worker.index = waiting.popleft()
            worker.send({"job": jobs[worker.index]})

    def _next(self, seconds: float) -> tuple[WorkerProcess, int, str | None] | None:
        """What the next lane to speak has to say of which job; None for its death. None where nobody speaks in time."""
        try:
            worker, answer = self._answers.get(timeout=max(seconds, 0.001))
        except Empty:
            return None
        index, worker.index = worker.index, None
        if answer is None:
            self._workers.remove(worker)
        if index is None:  # an idle lane died: nothing is lost
            worker.close()
            return None
        return worker, index, answer

    def _stopped(self, number: signal.Signals, waiting: deque[int]) -> Generator[tuple[int, str]]:
        """What is still answered after a signal: runs that came to their end, then one that did not."""
        broken = list(waiting)
        for index, answer in self._stop(number):
            if answer is None or job_protocol.stopped(answer):
                broken.append(index)
            else:
                yield index, answer
        if broken:
            yield broken[-1], job_protocol.interrupted(number)
        else:  # all came to their end, and yet the wish stands
            raise InterruptedRunError(number, "Go on with `headstart resume`.")

    def _stop(self, number: signal.Signals) -> list[tuple[int, str | None]]:
        """Ask the busy lanes to stop, and end all lanes if one was busy: what was asked to stop starts nothing more."""
        busy = [worker for worker in self._workers if worker.index is not None]
        for worker in busy:
            worker.send({"stop": int(number)})
        found, until = list[tuple[int, str | None]](), time.monotonic() + GRACE
        while any(worker.index is not None for worker in busy) and time.monotonic() < until:
            if (answered := self._next(until - time.monotonic())) is not None:
                worker, index, answer = answered
                found.append((index, answer))
                if answer is None:
                    worker.close()
        found += [(worker.index, None) for worker in busy if worker.index is not None]
        if busy:
            self.close()
        return found
