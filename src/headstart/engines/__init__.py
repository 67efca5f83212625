"""Where jobs run. An engine knows a job only as JSON text, and its answer only as JSON text (see `jobs.work`).

`contract.py` holds what every engine must do, as checks to run on one of your own.
"""

from __future__ import annotations

import socket
from collections.abc import Generator, Sequence
from typing import Protocol

from headstart.errors import ResourceError, UsageError

NAMES = ("auto", "local", "processes", "ray")
LOST = 3  # times that a job's worker may be lost before the job is answered with an error
CONNECT_TIMEOUT_S = 5.0  # seconds that an address has to answer
GRACE = 10.0  # seconds that a run has for its checkpoint when it is asked to stop


class Engine(Protocol):
    """Runs jobs and yields (index of the job, its answer) as they end; a job whose worker was lost is run again."""

    def run(self, jobs: Sequence[str]) -> Generator[tuple[int, str]]:
        """Yield each job's answer once, in any order; closed before the end, it stops what is running.

        Asked to stop by SIGINT or SIGTERM, it waits for checkpoints, and its last answer is an InterruptedRunError.
        """

    def close(self) -> None:
        """Give back what the engine holds."""


def checked(name: str, address: str = "") -> str:
    """The name of an engine. Raises UsageError for one that there is not, or an address that it has no use for."""
    if name not in NAMES:
        raise UsageError(f"There is no engine {name!r}.", f"Choose one of {', '.join(NAMES)}.")
    if address and name != "ray":
        raise UsageError("An address is that of a Ray cluster.", "Add --engine ray, or leave --address out.")
    return name


def require_listener(address: str) -> None:
    """Raise ResourceError where nothing listens at `host:port` or `ray://host:port`: Ray itself waits for minutes.

    Other addresses ("", `auto`) are Ray's to find.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError, ValueError) as error:
        raise ResourceError(
            f"Nothing listens at {address} ({error}).", "Start a cluster with `ray start --head`, or check the address."
        ) from None
