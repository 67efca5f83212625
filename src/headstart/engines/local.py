"""The engine `local`: run one job after the other in this process."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from headstart.engines.engine import EngineSettings
from headstart.reporter import NullReporter, Reporter
from headstart.runs import execute, job_protocol
from headstart.signals import SignalGuard


class LocalEngine:
    """Run jobs in this process. The simplest engine, and the reference for the others."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def run(self, jobs: Sequence[str]) -> Generator[tuple[int, str]]:
        """Yield the answers in the order of the jobs.

        A signal that comes too late to stop one run stops the next before it starts.
        """
        with SignalGuard() as guard:
            for index, job in enumerate(jobs):
                if number := guard.pending():
                    yield index, job_protocol.interruption_answer(number)
                    return
                yield index, execute.answer_job(job, self._reporter)

    def close(self) -> None:
        """Do nothing: this engine holds no resources."""


def create(settings: EngineSettings) -> LocalEngine:
    """Return the engine that runs jobs in this process; progress is reported by the study alone."""
    return LocalEngine(NullReporter())
