"""Messages to a worker process, and its answers to measurements. A job and its answer are text, as for any engine."""

from __future__ import annotations

from pydantic import Field

from headstart.config.run_config import NetworkConfig
from headstart.storage.schemas.schema import Schema


class TimingRequest(Schema):
    """Request to time training steps. At least one step is made; with 0 seconds it is a warm-up."""

    network: NetworkConfig
    precision: str
    shape: list[int] = Field(description="of a batch: images, channels, height, width")
    threads: int
    seconds: float = Field(description="duration of the measurement")

    def warm_up(self) -> TimingRequest:
        """Return the request for one step without a measurement."""
        return TimingRequest(
            network=self.network, precision=self.precision, shape=self.shape, threads=self.threads, seconds=0.0
        )


class TimingAnswer(Schema):
    """Measured speed."""

    rate: float | None = Field(description="steps per second; null if a step failed")


class WorkerMessage(Schema):
    """Message to a worker process; one of the fields is set."""

    job: str | None = Field(None, description="job to run, as text")
    timing: TimingRequest | None = Field(None, description="measurement to make")
    stop: int | None = Field(None, description="number of the signal that stops the run in progress")
