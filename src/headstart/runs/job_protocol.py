"""Jobs and their answers."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart import errors
from headstart.config.run_config import RunConfig
from headstart.errors import HeadstartError, InterruptedRunError

RunRequest = tuple[RunConfig, dict[str, Any]]  # a complete plan and what the run is there for


def text(parent: Path, asked: Sequence[RunRequest], *, until: int | None = None, seconds: float = 0.0) -> str:
    """A job as text: runs to be made in `parent`, each a complete plan and what it is there for.

    With `until` they pause after that epoch. `seconds` is how long the job may take, as far as that is known.
    """
    items = [{"plan": plan.model_dump(mode="json"), "about": about} for plan, about in asked]
    return json.dumps({"parent": str(parent.absolute()), "runs": items, "until": until, "seconds": seconds})


def failed(error: HeadstartError, trace: str = "") -> str:
    """The answer that carries an error, and where it came from in another process."""
    kind = type(error).__name__
    told = {"kind": kind, "what": error.message, "cure": error.hint, "code": error.exit_code, "trace": trace}
    return json.dumps({"error": told})


def interrupted(number: signal.Signals) -> str:
    """The answer of a job that was not begun, or not ended, because of a signal."""
    return failed(InterruptedRunError(number, "Go on with `headstart resume`."))


def stopped(answer: str) -> bool:
    """Whether the answer is that somebody asked the job to stop."""
    return dict(json.loads(answer).get("error", {})).get("kind") == InterruptedRunError.__name__


def seconds(text: str) -> float:
    """How long a job may take; 0 where nobody knows."""
    return float(json.loads(text)["seconds"])


def title(text: str) -> str:
    """What a job is about, for people."""
    runs = json.loads(text)["runs"]
    return (
        ", ".join(f"{run['about']['variant']} seed {run['plan']['seeding']['seed']}" for run in runs) or "an empty job"
    )


def folders(answer: str) -> list[Path]:
    """The run folders of an answer. Raises the error that it carries, as the class that it was."""
    content = json.loads(answer)
    if (told := content.get("error")) is None:
        return [Path(folder) for folder in content["folders"]]
    if told["kind"] == InterruptedRunError.__name__:
        raise InterruptedRunError(signal.Signals(told["code"] - 128), told["cure"])
    error: HeadstartError = getattr(errors, told["kind"], HeadstartError)(told["what"], told["cure"])
    if trace := told.get("trace"):
        error.add_note(f"In the process of the run:\n{trace}")
    raise error
