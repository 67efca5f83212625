"""The interface of an engine.

An engine sees a job and its answer only as JSON text (see `runs.job_protocol` and `execute.answer_job`).
`engines/contract.py` contains the checks that every engine must pass.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from headstart.config.run_config import MachineConfig
from headstart.reporter import Reporter

MAX_LOST_WORKERS = 3  # lost workers per job, after which the job is answered with an error
STOP_TIMEOUT_S = 10.0  # time for a run to write its checkpoint after a stop request


@dataclass(frozen=True)
class EngineSettings:
    """Settings of a new engine.

    Args:
        machine: Device, precision and threads of each run.
        parallel_runs: Number of runs at a time on this machine.
        reporter: Receives messages.
        address: Address of a cluster; "" for none.
    """

    machine: MachineConfig
    parallel_runs: int
    reporter: Reporter
    address: str = ""


class Engine(Protocol):
    """Run jobs and yield their answers. A job whose worker was lost is run again."""

    def run(self, jobs: Sequence[str]) -> Generator[tuple[int, str]]:
        """Yield (index of the job, its answer) once per job, in any order.

        Closing the generator early stops the jobs in progress. After SIGINT or SIGTERM the engine waits for the
        checkpoints of the jobs in progress and yields the answers of those that finish. Its last answer is that of one
        interrupted job; the other jobs have no answer.

        Raises:
            InterruptedRunError: A signal arrived, but all jobs finished.
        """

    def close(self) -> None:
        """Release the resources of the engine."""
