"""The program of a worker process: read messages from the parent and answer each job.

Messages (`worker_protocol.WorkerMessage`) and answers are JSON, one per line. The process ends when the pipe closes,
and so with its parent, however the parent ended.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from queue import SimpleQueue
from typing import IO

from headstart import signals
from headstart.engines.worker_protocol import WORKER_MESSAGE, JobMessage, StopMessage
from headstart.hardware.garbage import collect_rarely
from headstart.reporter import NullReporter

PARENT_POLL_S = 1


def main() -> None:
    """Answer jobs until the parent closes the pipe."""
    collect_rarely()
    messages, answers = _open_pipes()
    queue: SimpleQueue[JobMessage] = SimpleQueue()
    threading.Thread(target=_read_messages, args=(messages, queue), daemon=True).start()
    threading.Thread(target=_watch_parent, daemon=True).start()
    # imports torch: the threads above must notice a closed pipe during these three seconds
    from headstart.runs import execute

    while True:
        answer = execute.answer_job_in_worker(queue.get().job, NullReporter())
        answers.write(answer.encode() + b"\n")
        answers.flush()


def _open_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Return the pipes for messages and answers, on descriptors other than stdin and stdout.

    Output that a library prints must not be mistaken for an answer.
    """
    messages, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return messages, answers


def _read_messages(messages: IO[bytes], queue: SimpleQueue[JobMessage]) -> None:
    for line in messages:
        message = WORKER_MESSAGE.validate_json(line)
        if isinstance(message, StopMessage):
            signals.request_stop(signal.Signals(message.signal_number))
        else:
            queue.put(message)
    os._exit(0)  # also during a run: the files on disk are consistent at any time


def _watch_parent() -> None:
    """End the process when the parent has ended, even if a fork of the parent still holds the pipe open."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_S)
    os._exit(0)
