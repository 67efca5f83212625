"""One job after the other, in this process."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from headstart.reporter import Voice
from headstart.runs import execute as work
from headstart.runs import job_protocol
from headstart.signals import Wish


class Here:
    """The simplest engine, and the measure of the others."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice

    def run(self, jobs: Sequence[str]) -> Generator[tuple[int, str]]:
        """In the order of the jobs. A signal that comes too late for one run ends the next before it begins."""
        with Wish() as wish:
            for index, job in enumerate(jobs):
                if number := wish.heard():
                    yield index, job_protocol.interrupted(number)
                    return
                yield index, work.work(job, self._voice)

    def close(self) -> None:
        """Nothing is held."""
