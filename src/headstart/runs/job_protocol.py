"""Jobs and their answers, as text for engines."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from headstart.analysis.wording import role_words
from headstart.config.run_config import RunConfig
from headstart.errors import (
    DataError,
    DifferentVerdictError,
    DivergedError,
    HeadstartError,
    InterruptedRunError,
    MissingWeightsError,
    ModelFileError,
    NoWinnerError,
    ResourceError,
    UsageError,
)
from headstart.i18n import Message, _, ngettext, verbatim
from headstart.models import user_code
from headstart.models.user_code import UserCode
from headstart.storage.schemas.schema import Schema, VersionedSchema
from headstart.storage.schemas.study import RunRole

# Errors that are made from a message and a hint; the other classes of `errors` take a value of their own too.
_PLAIN_ERRORS = (
    HeadstartError,
    UsageError,
    DataError,
    DivergedError,
    NoWinnerError,
    DifferentVerdictError,
    ResourceError,
    ModelFileError,
)
_HINT = _("Use the same version of headstart and the same plugins in all processes and on all machines.")


class RunRequest(Schema):
    """Request for one run."""

    plan: RunConfig = Field(description="complete plan")
    role: RunRole = Field(description="role of the run in its study")


class NetworkCode(Schema):
    """Source files of a user's own network, for a process that may not see them, or sees others."""

    network: str = Field(description="the network, as plans name it")
    main: str = Field(description="name of the file that defines it")
    files: dict[str, str] = Field(description="text of each file, by path in the folder of the main file")

    @classmethod
    def of(cls, network: str) -> NetworkCode:
        """Return the code of a network."""
        code = user_code.code_of(network)
        return cls(network=network, main=code.main, files=dict(code.files))


class Job(VersionedSchema):
    """Runs to be made in a folder."""

    parent: Path = Field(description="folder of the run folders")
    runs: list[RunRequest] = Field(description="requested runs")
    until: int | None = Field(None, description="epoch after which the runs pause")
    estimated_seconds: float = Field(0.0, description="estimated duration; 0 if unknown")
    code: list[NetworkCode] = Field(default_factory=list, description="code of the users' own networks in the plans")

    def codes(self) -> dict[str, UserCode]:
        """Return the code of each network of users."""
        return {code.network: UserCode(code.main, code.files, Path(code.network).parent) for code in self.code}


class ErrorAnswer(Schema):
    """An error of a job."""

    kind: str = Field(description="name of the class")
    message: str = Field(description="what is wrong")
    hint: str = Field(description="what to do")
    instructions: str | None = Field(None, description="of MissingWeightsError: how to download the weights by hand")
    signal_number: int | None = Field(None, description="of InterruptedRunError: number of the signal")
    trace: str = Field("", description="traceback in another process")

    @classmethod
    def of(cls, error: HeadstartError, trace: str = "") -> ErrorAnswer:
        """Return the answer that carries an error.

        The kind of a class that is not defined in `errors` is that of its nearest base class there.
        """
        return cls(
            kind=next(base.__name__ for base in type(error).__mro__ if base.__module__ == HeadstartError.__module__),
            message=error.message,
            hint=error.hint,
            instructions=error.instructions if isinstance(error, MissingWeightsError) else None,
            signal_number=error.exit_code - 128 if isinstance(error, InterruptedRunError) else None,
            trace=trace,
        )

    def error(self) -> HeadstartError:
        """Return the error, with its traceback in another process as a note."""
        message, hint = verbatim(self.message), verbatim(self.hint)
        error: HeadstartError
        if self.signal_number is not None:
            error = InterruptedRunError(signal.Signals(self.signal_number), hint)
        elif self.instructions is not None:
            error = MissingWeightsError(message, hint, verbatim(self.instructions))
        else:
            error = next((kind for kind in _PLAIN_ERRORS if kind.__name__ == self.kind), HeadstartError)(message, hint)
        if self.trace:
            error.add_note(f"In the process of the run:\n{self.trace}")
        return error


class Answer(VersionedSchema):
    """Answer of a job: the run folders in order, or an error."""

    folders: list[Path] = Field(default_factory=list, description="run folders in the order of the requests")
    error: ErrorAnswer | None = Field(None, description="the error of the job")


def encode_job(parent: Path, requests: Sequence[RunRequest], *, until: int | None = None, seconds: float = 0.0) -> str:
    """Return a job as text.

    Args:
        parent: The folder of the runs.
        requests: The runs.
        until: Epoch after which the runs pause.
        seconds: Estimated duration of the job; 0 if unknown.
    """
    networks = dict.fromkeys(request.plan.network.network for request in requests)
    code = [NetworkCode.of(network) for network in networks if user_code.is_user_network(network)]
    job = Job(parent=parent.absolute(), runs=list(requests), until=until, estimated_seconds=seconds, code=code)
    return job.model_dump_json()


def decode_job(text: str) -> Job:
    """Return the job that `encode_job` wrote.

    Raises:
        DataError: The job is from another version of headstart, or needs a plugin that is not loaded.
    """
    return Job.parse(text, _("The job"), _HINT)


def error_answer(error: HeadstartError, trace: str = "") -> str:
    """Return the answer that carries an error, and its traceback in another process."""
    return Answer(error=ErrorAnswer.of(error, trace)).model_dump_json()


def interruption_answer(number: signal.Signals) -> str:
    """Return the answer of a job that was not started, or not finished, because of a signal."""
    return error_answer(InterruptedRunError(number, _("Continue with `headstart resume`.")))


def is_interruption(text: str) -> bool:
    """Return whether the answer says that the job was stopped by a signal."""
    error = parse_answer(text).error
    return error is not None and error.signal_number is not None


def estimated_seconds(text: str) -> float:
    """Return the estimated duration of a job; 0 if unknown."""
    return decode_job(text).estimated_seconds


def job_title(text: str) -> Message:
    """Return a title of a job for messages."""
    runs = decode_job(text).runs
    if not runs:
        return _("an empty job")
    first = _("{arm}, seed {seed}", arm=role_words(runs[0].role), seed=runs[0].plan.seeding.seed)
    if len(runs) == 1:
        return first
    return ngettext("{first}, and {count:,} more run", "{first}, and {count:,} more runs", len(runs) - 1, first=first)


def parse_answer(text: str) -> Answer:
    """Return an answer. Raises DataError if it is from another version of headstart."""
    return Answer.parse(text, _("The answer of the job"), _HINT)


def decode_answer(text: str) -> list[Path]:
    """Return the run folders of an answer.

    Raises:
        HeadstartError: The error that the answer carries, as its original class.
        DataError: The answer is from another version of headstart.
    """
    answer = parse_answer(text)
    if answer.error is not None:
        raise answer.error.error()
    return answer.folders
