"""One job after the other, in this process."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from headstart.reporter import Reporter
from headstart.runs import execute as work
from headstart.runs import job_protocol
from headstart.signals import SignalGuard


class LocalEngine:
    """The simplest engine, and the measure of the others."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def run(self, jobs: Sequence[str]) -> Generator[tuple[int, str]]:
        """In the order of the jobs. A signal that comes too late for one run ends the next before it begins."""
        with SignalGuard() as guard:
            for index, job in enumerate(jobs):
                if number := guard.heard():
                    yield index, job_protocol.interrupted(number)
                    return
                yield index, work.work(job, self._reporter)

    def close(self) -> None:
        """Nothing is held."""
