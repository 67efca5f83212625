"""The engine `ray`: run jobs as tasks of a Ray cluster.

Each task requests one CPU per thread, and a GPU if the plan needs one. If a node has access to the study's folder (same
machine or shared disk), the run uses it directly: after the loss of its worker or node, the run continues from its
checkpoint on another. If a node has no access, the run's folder is sent to the node and returned with the answer; after
the loss of the node the run starts again. The images must be at the same path on every node.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from headstart.analysis.run_records import runs_in
from headstart.config.plan_file import PLAN_FILE
from headstart.engines.engine import MAX_LOST_WORKERS, STOP_TIMEOUT_S, EngineSettings
from headstart.engines.transfer import pack, unpack
from headstart.errors import HeadstartError, InterruptedRunError, ResourceError, UsageError
from headstart.i18n import _, ngettext
from headstart.reporter import NullReporter, Reporter
from headstart.runs import execute, job_protocol
from headstart.runs.job_protocol import Answer, decode_job, parse_answer
from headstart.signals import SignalGuard
from headstart.storage import contained

if TYPE_CHECKING:
    from ray import ObjectRef

TASK_POLL_S = 0.2  # interval at which a stop request is checked
CANCEL_POLL_S = 0.5
COPY_MAX_AGE_S = 7 * 24 * 3600  # age at which a node deletes run folders that were not returned

_HINT = _("Continue with `headstart resume`; `ray status` shows the nodes of the cluster.")


@dataclass(frozen=True)
class TaskAnswer:
    """Answer of a task.

    Args:
        text: The answer of the job.
        archive: Packed run folders of a node without access to the study's folder.
    """

    text: str
    archive: bytes = b""


@dataclass(frozen=True)
class NoAccess:
    """The job was not run: its node has no access to the study's folder, and was not sent the runs."""


TaskResult = TaskAnswer | NoAccess


class _Resources(BaseModel):
    """Resources of a node, as Ray names them."""

    cpus: float = Field(0, alias="CPU")
    gpus: float = Field(0, alias="GPU")


class _Node(BaseModel):
    """A node of the cluster; Ray gives more fields than these."""

    alive: bool = Field(alias="Alive")
    resources: _Resources = Field(_Resources(), alias="Resources")


class RayEngine:
    """Submit all jobs at once; the cluster runs as many as its resources allow."""

    def __init__(
        self, address: str, reporter: Reporter, *, threads: int = 1, gpus: int = 0, shared: bool = True
    ) -> None:
        """Connect to a cluster.

        Args:
            address: Address of the cluster; empty for the one that Ray finds or starts on this machine.
            reporter: Receives messages.
            threads: CPUs per task.
            gpus: GPUs per task.
            shared: Whether nodes may have access to the study's folder.

        Raises:
            UsageError: Ray is not installed.
            ResourceError: The cluster cannot be reached, or none of its nodes is large enough.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry without consent
        try:
            import ray
        except ImportError:
            raise UsageError(_("Ray is not installed."), _("Install it with `pip install ray`.")) from None
        self._ray, self._reporter, self._shared = ray, reporter, shared
        self._is_owner = not ray.is_initialized()
        if self._is_owner:
            try:
                handler = signal.getsignal(signal.SIGTERM)
                ray.init(address=address or None, log_to_driver=False, configure_logging=False)
            except (OSError, ValueError, RuntimeError) as error:
                reason = " ".join(str(error).split())
                message = (
                    _("Ray cannot be reached at {address} ({reason}).", address=address, reason=reason)
                    if address
                    else _("Ray cannot be started ({reason}).", reason=reason)
                )
                raise ResourceError(message, _("Start a cluster with `ray start --head`.")) from None
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # Ray's handler ends the process immediately
        self._require_node(threads, gpus)
        self._task = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=MAX_LOST_WORKERS - 1)(_answer)

    def run(self, jobs: Sequence[str]) -> Generator[tuple[int, str]]:
        """Yield answers in the order in which the cluster ends the tasks."""
        tokens = _Tokens(jobs, write=self._shared)
        running = {self._task.remote(job, tokens.path(job), None): index for index, job in enumerate(jobs)}
        with SignalGuard() as guard:
            try:
                while running:
                    if (number := guard.pending()) is not None:
                        yield from self._answers_after_stop(number, running, jobs)
                        return
                    for index, result in self._finished_tasks(running, jobs, TASK_POLL_S):
                        job = jobs[index]
                        if isinstance(result, NoAccess):
                            running[self._task.remote(job, tokens.path(job), _pack_started_runs(job))] = index
                        else:
                            yield index, _unpack_answer(job, result)
            finally:
                self._cancel(running, jobs)
                tokens.remove()

    def close(self) -> None:
        """Disconnect from the cluster, and shut it down if it was started here."""
        if self._is_owner and self._ray.is_initialized():
            self._ray.shutdown()

    def _require_node(self, threads: int, gpus: int) -> None:
        """Raise ResourceError if no node has the resources of one task."""
        nodes = [_Node.model_validate(node) for node in self._ray.nodes()]
        if not any(n.alive and n.resources.cpus >= threads and n.resources.gpus >= gpus for n in nodes):
            self.close()
            message = (
                ngettext(
                    "No node of the cluster has {count} CPU and a GPU for one run.",
                    "No node of the cluster has {count} CPUs and a GPU for one run.",
                    threads,
                )
                if gpus
                else ngettext(
                    "No node of the cluster has {count} CPU for one run.",
                    "No node of the cluster has {count} CPUs for one run.",
                    threads,
                )
            )
            raise ResourceError(message, _("Add such a node, or start the study with fewer --threads."))

    def _finished_tasks(
        self, running: dict[ObjectRef[TaskResult], int], jobs: Sequence[str], timeout: float
    ) -> Generator[tuple[int, TaskResult]]:
        """Remove tasks that end within `timeout` seconds from `running`, and yield their answers.

        Errors of Ray become answers.
        """
        ready, _unused = self._ray.wait(list(running), num_returns=len(running), timeout=timeout)
        for ref in ready:
            index = running.pop(ref)
            try:
                yield index, self._ray.get(ref)
            except self._ray.exceptions.TaskCancelledError:
                yield index, TaskAnswer(job_protocol.interruption_answer(signal.SIGTERM))
            except self._ray.exceptions.RayTaskError as error:
                reason = " ".join(str(error.cause).split())
                kind, title = type(error.cause).__name__, job_protocol.job_title(jobs[index])
                hint = _("Check that every node has this version of headstart.")
                failure = HeadstartError(
                    _("The task of {job} failed ({kind}: {reason}).", job=title, kind=kind, reason=reason), hint
                )
                yield index, TaskAnswer(job_protocol.error_answer(failure, str(error)))
            except self._ray.exceptions.RayError as error:
                reason = str(error).strip().partition("\n")[0].rstrip(".")
                title = job_protocol.job_title(jobs[index])
                loss = ResourceError(
                    _(
                        "The worker of {job} was lost {number} times ({reason}).",
                        job=title,
                        number=MAX_LOST_WORKERS,
                        reason=reason,
                    ),
                    _HINT,
                )
                yield index, TaskAnswer(job_protocol.error_answer(loss))

    def _answers_after_stop(
        self, number: signal.Signals, running: dict[ObjectRef[TaskResult], int], jobs: Sequence[str]
    ) -> Generator[tuple[int, str]]:
        """Yield the answers that still come after a signal: finished runs, then one interrupted run."""
        interrupted = -1
        for index, result in self._cancel(running, jobs):
            answer = None if isinstance(result, NoAccess) else _unpack_answer(jobs[index], result)
            if answer is None or job_protocol.is_interruption(answer):
                interrupted = index
            else:
                yield index, answer
        if interrupted < 0 and running:
            interrupted = next(iter(running.values()))
        running.clear()
        if interrupted < 0:
            raise InterruptedRunError(number, _("Continue with `headstart resume`."))
        yield interrupted, job_protocol.interruption_answer(number)

    def _cancel(self, running: dict[ObjectRef[TaskResult], int], jobs: Sequence[str]) -> list[tuple[int, TaskResult]]:
        """Stop the running tasks as Ctrl-C does, wait for checkpoints, and return the answers that come meanwhile."""
        for ref in running:
            with suppress(self._ray.exceptions.RayError):
                self._ray.cancel(ref, force=False)
        answers, deadline = list[tuple[int, TaskResult]](), time.monotonic() + STOP_TIMEOUT_S
        while running and time.monotonic() < deadline:
            answers += self._finished_tasks(running, jobs, CANCEL_POLL_S)
        return answers


class _Tokens:
    """A file in each folder that jobs write to: a node that finds it has access to the folder."""

    def __init__(self, jobs: Sequence[str], *, write: bool) -> None:
        self._name = f".ray-{secrets.token_hex(8)}"
        self._written = set[Path]()
        for parent in {decode_job(job).parent for job in jobs}:
            if write:
                parent.mkdir(parents=True, exist_ok=True)
                contained.write(parent, self._name, b"")
                self._written.add(parent)

    def path(self, job: str) -> str:
        """Return the path of the token of a job's folder."""
        return str(decode_job(job).parent / self._name)

    def remove(self) -> None:
        """Delete all token files."""
        for parent in self._written:
            contained.remove(parent, self._name)


def _answer(job: str, token: str, archive: bytes | None) -> TaskResult:
    """Run a job on a node, in the study's folder if the node has access to it, else in a folder of the node.

    The job is not decoded here: another version of headstart or a missing plugin must be an answer.

    Args:
        job: The job as text.
        token: Path of the file that shows whether the node has access to the study's folder.
        archive: The packed runs of the job that were started earlier; None at the first attempt, which expects access.
    """
    if Path(token).exists():
        return TaskAnswer(execute.answer_job_in_worker(job, NullReporter()))
    if archive is None:
        return NoAccess()
    from headstart.storage import contained
    from headstart.storage.cache import cache_root, make_cache_folder

    root, copies = cache_root(), "ray-runs"
    make_cache_folder(root, copies)
    for copy in contained.entries(root, copies):
        if time.time() - copy.modified > COPY_MAX_AGE_S:
            contained.remove_folder(root, f"{copies}/{copy.name}")
    # the same folder if another worker of this node retries: it continues from the checkpoint
    name = f"{copies}/{hashlib.sha256(f'{token} {job}'.encode()).hexdigest()[:32]}"
    parent = root / name
    if not contained.is_folder(root, name):
        unpack(archive, parent)
    answer = execute.answer_job_in_worker(job, NullReporter(), parent=parent)
    runs = pack([plan.parent for plan in sorted(parent.glob(f"*/{PLAN_FILE}"))])
    contained.remove_folder(root, name)
    return TaskAnswer(answer, runs)


def _pack_started_runs(job: str) -> bytes:
    """Pack the runs of a job that were started earlier, for a node without access to them."""
    content = decode_job(job)
    hashes = {request.plan.hash for request in content.runs}
    return pack([run.folder for run in runs_in(content.parent) if run.hash in hashes])


def _unpack_answer(job: str, result: TaskAnswer) -> str:
    """Unpack the run folders of a node into the study's folder, and return the answer with their new paths."""
    if not result.archive:
        return result.text
    placed = unpack(result.archive, decode_job(job).parent)
    answer = parse_answer(result.text)
    folders = [placed[folder.name] for folder in answer.folders]
    return Answer(folders=folders, error=answer.error).model_dump_json()


def create(settings: EngineSettings) -> RayEngine:
    """Return the engine that runs jobs on a Ray cluster."""
    gpus = int(settings.machine.device.startswith("cuda"))
    return RayEngine(settings.address, settings.reporter, threads=settings.machine.threads, gpus=gpus)
