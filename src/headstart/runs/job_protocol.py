"""Encode and decode jobs and their answers."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart import errors
from headstart.config.run_config import RunConfig
from headstart.errors import HeadstartError, InterruptedRunError

RunRequest = tuple[RunConfig, dict[str, Any]]  # a complete plan and the role of the run in its study


def encode_job(parent: Path, requests: Sequence[RunRequest], *, until: int | None = None, seconds: float = 0.0) -> str:
    """Return a job as text.

    Args:
        parent: The folder of the runs.
        requests: Each run's complete plan and role.
        until: Epoch after which the runs pause.
        seconds: Estimated duration of the job; 0 if unknown.
    """
    items = [{"plan": plan.model_dump(mode="json"), "role": role} for plan, role in requests]
    return json.dumps({"parent": str(parent.absolute()), "runs": items, "until": until, "seconds": seconds})


def error_answer(error: HeadstartError, trace: str = "") -> str:
    """Return the answer that carries an error, and its traceback in another process."""
    kind = type(error).__name__
    content = {"kind": kind, "message": error.message, "hint": error.hint, "code": error.exit_code, "trace": trace}
    return json.dumps({"error": content})


def interruption_answer(number: signal.Signals) -> str:
    """Return the answer of a job that was not started, or not finished, because of a signal."""
    return error_answer(InterruptedRunError(number, "Continue with `headstart resume`."))


def is_interruption(answer: str) -> bool:
    """Return whether the answer says that the job was stopped by a signal."""
    return dict(json.loads(answer).get("error", {})).get("kind") == InterruptedRunError.__name__


def seconds(text: str) -> float:
    """Return the estimated duration of a job; 0 if unknown."""
    return float(json.loads(text)["seconds"])


def job_title(text: str) -> str:
    """Return a title of a job for messages."""
    runs = json.loads(text)["runs"]
    return (
        ", ".join(f"{run['role']['variant']} seed {run['plan']['seeding']['seed']}" for run in runs) or "an empty job"
    )


def decode_answer(answer: str) -> list[Path]:
    """Return the run folders of an answer.

    Raises:
        HeadstartError: The error that the answer carries, as its original class.
    """
    content = json.loads(answer)
    if (fields := content.get("error")) is None:
        return [Path(folder) for folder in content["folders"]]
    if fields["kind"] == InterruptedRunError.__name__:
        raise InterruptedRunError(signal.Signals(fields["code"] - 128), fields["hint"])
    error: HeadstartError = getattr(errors, fields["kind"], HeadstartError)(fields["message"], fields["hint"])
    if trace := fields.get("trace"):
        error.add_note(f"In the process of the run:\n{trace}")
    raise error
