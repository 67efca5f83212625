"""Messages to a worker process. A job and its answer are text, as for any engine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from headstart.storage.schemas.schema import Schema


class JobMessage(Schema):
    """Run a job."""

    kind: Literal["job"] = "job"
    job: str = Field(description="the job as text")


class StopMessage(Schema):
    """Stop the run in progress with a checkpoint."""

    kind: Literal["stop"] = "stop"
    signal_number: int = Field(description="number of the signal that asks for it")


WorkerMessage = JobMessage | StopMessage
WORKER_MESSAGE: TypeAdapter[WorkerMessage] = TypeAdapter(Annotated[WorkerMessage, Field(discriminator="kind")])
