"""The engine `processes`: run several jobs side by side, each in a worker process.

Worker processes are reused, since importing torch takes seconds. A worker receives messages from its parent and no
signals: a terminal sends its signals to all processes of a group, `kill` only to one, and a run must be asked to stop
exactly once.
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

from headstart.engines.engine import MAX_LOST_WORKERS, STOP_TIMEOUT_S, EngineSettings
from headstart.engines.scheduling import schedule_jobs
from headstart.engines.worker_protocol import JobMessage, StopMessage, WorkerMessage
from headstart.errors import InterruptedRunError, ResourceError
from headstart.i18n import Message, _, ngettext
from headstart.reporter import Reporter
from headstart.runs import job_protocol
from headstart.signals import SIGNALS, SignalGuard

CLOSE_TIMEOUT_S = 2  # time for a worker to end by itself before it is killed
ANSWER_POLL_S = 0.2  # interval at which a stop request is checked
MIN_POLL_S = 0.001
_WORKER_COMMAND = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from headstart.engines.worker import main; main()"
)


class WorkerProcess:
    """A worker process, as seen by its parent.

    Each answer is put into `answers` as (worker, text), and the end of the process as (worker, None).
    """

    def __init__(self, answers: SimpleQueue[tuple[WorkerProcess, str | None]]) -> None:
        self.index: int | None = None  # of the job in progress
        self._answers = answers
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # the child inherits the blocked signals
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and a constant command
                [sys.executable, "-P", "-c", _WORKER_COMMAND, json.dumps(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, message: WorkerMessage) -> None:
        """Send one message. The end of a dead worker is reported in `answers`, not here."""
        assert self._process.stdin is not None  # noqa: S101
        with suppress(OSError):
            self._process.stdin.write(message.model_dump_json().encode() + b"\n")
            self._process.stdin.flush()

    def close(self) -> Message:
        """End the process if it is running, and return a phrase that says how it ended."""
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101
        with suppress(OSError):
            self._process.stdin.close()
        try:
            code = self._process.wait(CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        if code < 0:
            return _("by {signal}", signal=signal.Signals(-code).name)
        return _("with exit code {code}", code=code)

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101
        for line in self._process.stdout:
            if line.endswith(b"\n"):  # a worker that dies may write an incomplete line
                self._answers.put((self, line.decode()))
        self._answers.put((self, None))


class ProcessEngine:
    """Run `count` jobs at a time, each in a worker process."""

    def __init__(self, count: int, reporter: Reporter) -> None:
        self.count = count
        self._reporter = reporter
        self._workers: list[WorkerProcess] = []
        self._answers: SimpleQueue[tuple[WorkerProcess, str | None]] = SimpleQueue()

    def run(self, jobs: Sequence[str]) -> Generator[tuple[int, str]]:
        """Start jobs in the order that ends first, and yield answers as runs end."""
        waiting = deque(schedule_jobs([job_protocol.estimated_seconds(job) for job in jobs], self.count))
        losses = Counter[int]()
        with SignalGuard() as guard:
            try:
                while waiting or any(worker.index is not None for worker in self._workers):
                    if (number := guard.pending()) is not None:
                        yield from self._answers_after_stop(number, waiting)
                        return
                    self._assign_jobs(jobs, waiting)
                    if (result := self._next_answer(ANSWER_POLL_S)) is None:
                        continue
                    worker, index, answer = result
                    if answer is not None:
                        yield index, answer
                        continue
                    losses[index] += 1
                    title, ending = job_protocol.job_title(jobs[index]), worker.close()
                    if losses[index] < MAX_LOST_WORKERS:
                        self._reporter.say(
                            _(
                                "The process of {job} ended {ending}; the run continues in another process.",
                                job=title,
                                ending=ending,
                            )
                        )
                        waiting.appendleft(index)
                    else:
                        yield index, job_protocol.error_answer(_loss(title, ending))
            finally:
                self._stop(signal.SIGTERM)

    def close(self) -> None:
        """End all workers. A run in progress keeps the state of its last checkpoint."""
        for worker in self._workers:
            worker.close()
        self._workers.clear()
        self._answers = SimpleQueue()

    def _assign_jobs(self, jobs: Sequence[str], waiting: deque[int]) -> None:
        """Give waiting jobs to idle workers, and start workers up to `count`."""
        while waiting:
            worker = next((worker for worker in self._workers if worker.index is None), None)
            if worker is None:
                if len(self._workers) == self.count:
                    return
                worker = WorkerProcess(self._answers)
                self._workers.append(worker)
            worker.index = waiting.popleft()
            worker.send(JobMessage(job=jobs[worker.index]))

    def _next_answer(self, timeout: float) -> tuple[WorkerProcess, int, str | None] | None:
        """Return the next worker that answered, the index of its job, and its answer.

        The answer is None if the worker died. Returns None if no worker with a job answers within `timeout` seconds.
        """
        try:
            worker, answer = self._answers.get(timeout=max(timeout, MIN_POLL_S))
        except Empty:
            return None
        index, worker.index = worker.index, None
        if answer is None:
            self._workers.remove(worker)
        if index is None:  # an idle worker died: no job is lost
            worker.close()
            return None
        return worker, index, answer

    def _answers_after_stop(self, number: signal.Signals, waiting: deque[int]) -> Generator[tuple[int, str]]:
        """Yield the answers that still come after a signal: finished runs, then one interrupted run."""
        interrupted = list(waiting)
        for index, answer in self._stop(number):
            if answer is None or job_protocol.is_interruption(answer):
                interrupted.append(index)
            else:
                yield index, answer
        if interrupted:
            yield interrupted[-1], job_protocol.interruption_answer(number)
        else:  # all runs finished, but the stop request is still pending
            raise InterruptedRunError(number, _("Continue with `headstart resume`."))

    def _stop(self, number: signal.Signals) -> list[tuple[int, str | None]]:
        """Ask the busy workers to stop, and return their answers.

        If a worker was busy, all workers end: a worker that was asked to stop must not start another run.
        """
        busy = [worker for worker in self._workers if worker.index is not None]
        for worker in busy:
            worker.send(StopMessage(signal_number=number))
        answers = list[tuple[int, str | None]]()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while any(worker.index is not None for worker in busy) and time.monotonic() < deadline:
            if (result := self._next_answer(deadline - time.monotonic())) is not None:
                worker, index, answer = result
                answers.append((index, answer))
                if answer is None:
                    worker.close()
        answers += [(worker.index, None) for worker in busy if worker.index is not None]
        if busy:
            self.close()
        return answers


def _loss(title: Message, ending: Message) -> ResourceError:
    """Return the error of a job whose workers were lost too often."""
    message = _(
        "The process of {job} ended {ending}, {number} times in a row.",
        job=title,
        ending=ending,
        number=MAX_LOST_WORKERS,
    )
    return ResourceError(message, _("Check that the memory suffices, then continue with `headstart resume`."))


def create(settings: EngineSettings) -> ProcessEngine:
    """Return the engine that runs jobs in worker processes, and report how many."""
    count, threads = settings.parallel_runs, settings.machine.threads
    settings.reporter.say(
        _(
            "{runs} at a time, each with {threads}.",
            runs=ngettext("{count:,} run", "{count:,} runs", count),
            threads=ngettext("{count:,} thread", "{count:,} threads", threads),
        )
    )
    return ProcessEngine(count, settings.reporter)
