"""Where jobs run. An engine knows a job only as JSON text, and its answer only as JSON text (see `jobs.work`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol


class Engine(Protocol):
    """Runs jobs and yields (index of the job, its answer) as they end; a job whose worker was lost is run again."""

    def run(self, jobs: Sequence[str]) -> Iterator[tuple[int, str]]:
        """Yield each job's answer once, in any order."""

    def close(self) -> None:
        """Give back what the engine holds."""
