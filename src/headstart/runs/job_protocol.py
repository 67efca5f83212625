"""Jobs and their answers, as text for engines."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from headstart import errors
from headstart.config.run_config import RunConfig
from headstart.errors import HeadstartError, InterruptedRunError
from headstart.i18n import Message, _, join, verbatim
from headstart.storage.schemas.schema import Schema
from headstart.storage.schemas.study import RunRole


class RunRequest(Schema):
    """Request for one run."""

    plan: RunConfig = Field(description="complete plan")
    role: RunRole = Field(description="role of the run in its study")


class Job(Schema):
    """Runs to be made in a folder."""

    parent: Path = Field(description="folder of the run folders")
    runs: list[RunRequest]
    until: int | None = Field(None, description="epoch after which the runs pause")
    estimated_seconds: float = Field(0.0, description="estimated duration; 0 if unknown")


class ErrorAnswer(Schema):
    """An error of a job."""

    kind: str = Field(description="name of the class")
    message: str
    hint: str
    exit_code: int
    trace: str = Field("", description="traceback in another process")


class Answer(Schema):
    """Answer of a job: the run folders in order, or an error."""

    folders: list[Path] = Field(default_factory=list)
    error: ErrorAnswer | None = None


def encode_job(parent: Path, requests: Sequence[RunRequest], *, until: int | None = None, seconds: float = 0.0) -> str:
    """Return a job as text.

    Args:
        parent: The folder of the runs.
        requests: The runs.
        until: Epoch after which the runs pause.
        seconds: Estimated duration of the job; 0 if unknown.
    """
    job = Job(parent=parent.absolute(), runs=list(requests), until=until, estimated_seconds=seconds)
    return job.model_dump_json()


def decode_job(text: str) -> Job:
    """Return the job that `encode_job` wrote."""
    return Job.model_validate_json(text)


def error_answer(error: HeadstartError, trace: str = "") -> str:
    """Return the answer that carries an error, and its traceback in another process."""
    content = ErrorAnswer(
        kind=type(error).__name__, message=error.message, hint=error.hint, exit_code=error.exit_code, trace=trace
    )
    return Answer(error=content).model_dump_json()


def interruption_answer(number: signal.Signals) -> str:
    """Return the answer of a job that was not started, or not finished, because of a signal."""
    return error_answer(InterruptedRunError(number, _("Continue with `headstart resume`.")))


def is_interruption(text: str) -> bool:
    """Return whether the answer says that the job was stopped by a signal."""
    error = Answer.model_validate_json(text).error
    return error is not None and error.kind == InterruptedRunError.__name__


def estimated_seconds(text: str) -> float:
    """Return the estimated duration of a job; 0 if unknown."""
    return decode_job(text).estimated_seconds


def job_title(text: str) -> Message:
    """Return a title of a job for messages."""
    runs = decode_job(text).runs
    if not runs:
        return _("an empty job")
    titles = (_("{arm} seed {seed}", arm=run.role.variant, seed=run.plan.seeding.seed) for run in runs)
    return join(titles, ", ")


def decode_answer(text: str) -> list[Path]:
    """Return the run folders of an answer.

    Raises:
        HeadstartError: The error that the answer carries, as its original class.
    """
    answer = Answer.model_validate_json(text)
    if answer.error is None:
        return answer.folders
    content = answer.error
    if content.kind == InterruptedRunError.__name__:
        raise InterruptedRunError(signal.Signals(content.exit_code - 128), verbatim(content.hint))
    kind: type[HeadstartError] = getattr(errors, content.kind, HeadstartError)
    error = kind(verbatim(content.message), verbatim(content.hint))
    if content.trace:
        error.add_note(f"In the process of the run:\n{content.trace}")
    raise error
