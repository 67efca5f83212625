"""Messages to a worker process, and its answers to measurements. A job and its answer are text, as for any engine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from headstart.config.run_config import NetworkConfig
from headstart.storage.schemas.schema import Schema


class JobMessage(Schema):
    """Run a job."""

    kind: Literal["job"] = "job"
    job: str = Field(description="the job as text")


class TimingRequest(Schema):
    """Time training steps. At least one step is made; with 0 seconds it is a warm-up."""

    kind: Literal["timing"] = "timing"
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


class StopMessage(Schema):
    """Stop the run in progress with a checkpoint."""

    kind: Literal["stop"] = "stop"
    signal_number: int = Field(description="number of the signal that asks for it")


WorkRequest = JobMessage | TimingRequest  # what a worker answers
WorkerMessage = WorkRequest | StopMessage
WORKER_MESSAGE: TypeAdapter[WorkerMessage] = TypeAdapter(Annotated[WorkerMessage, Field(discriminator="kind")])


class TimingAnswer(Schema):
    """Measured speed."""

    rate: float | None = Field(description="steps per second; null if a step failed")
