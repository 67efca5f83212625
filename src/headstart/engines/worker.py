"""A lane's own process: it reads messages from its parent, one JSON a line, and answers each job with one line.

`{"job": text}` is carried out, `{"pace": …}` is timed, `{"stop": 15}` asks the run in progress to end with a
checkpoint. The process ends when the pipe does: with its parent, however that ended.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from queue import SimpleQueue
from typing import IO, Any

from headstart import signals
from headstart.reporter import NullReporter


def main() -> None:
    """Live until the parent closes the pipe."""
    messages, answers = _pipes()
    waiting: SimpleQueue[dict[str, Any]] = SimpleQueue()
    threading.Thread(target=_listen, args=(messages, waiting), daemon=True).start()
    threading.Thread(target=_watch_parent, daemon=True).start()
    from headstart.runs import execute  # brings torch: three seconds in which a closed pipe must be heard

    while True:
        message = waiting.get()
        if "pace" in message:
            from headstart.engines import throughput

            answer = throughput.work(message["pace"])
        else:
            answer = execute.work_apart(message["job"], NullReporter())
        answers.write(answer.encode() + b"\n")
        answers.flush()


def _pipes() -> tuple[IO[bytes], IO[bytes]]:
    """The two pipes, apart from stdin and stdout: what a library prints there must not look like an answer."""
    messages, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return messages, answers


def _listen(messages: IO[bytes], waiting: SimpleQueue[dict[str, Any]]) -> None:
    for line in messages:
        message = json.loads(line)
        if "stop" in message:
            signals.request_stop(signal.Signals(message["stop"]))
        else:
            waiting.put(message)
    os._exit(0)  # in the midst of a run, too: what is on the disk is whole at any moment


def _watch_parent() -> None:
    """Where a fork of the parent holds the pipe open, its end is seen by who the parent is."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)
