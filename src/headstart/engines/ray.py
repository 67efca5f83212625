"""Runs as tasks of a Ray cluster: each asks for the CPUs of its threads, and for a GPU where the plan has one.

Where a node sees the study's folder (one machine, a shared disk), the run works in it: if its worker or its node is
lost, the run goes on from its checkpoint elsewhere. Where it does not, the run's folder goes to the node and comes back
with the answer; a run whose node is lost is then begun again. Photos must lie under the same path on every node.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from headstart.analysis.run_records import runs_in
from headstart.engines import GRACE, LOST
from headstart.engines.transfer import pack, unpack
from headstart.errors import HeadstartError, InterruptedRunError, ResourceError, UsageError
from headstart.reporter import NullReporter, Reporter
from headstart.runs import execute as work
from headstart.runs import job_protocol
from headstart.signals import SignalGuard

Answer = tuple[str, bytes]  # the answer's text, and run folders that do not lie where the study is
_ELSEWHERE = json.dumps({"elsewhere": True})  # the node does not see the study's folder
_WEEK = 7 * 24 * 3600
_HINT = "Go on with `headstart resume`; `ray status` shows what the cluster has."


class RayEngine:
    """Runs all jobs at once, as the cluster has room for them."""

    def __init__(
        self, address: str, reporter: Reporter, *, threads: int = 1, gpus: int = 0, shared: bool = True
    ) -> None:
        """Connect to the cluster at `address`; without one, to the one that Ray finds or starts on this machine.

        Each task asks for `threads` CPUs and `gpus` GPUs. With `shared` off, no node is taken to see the study's
        folder. Raises UsageError where Ray is not installed, ResourceError where there is no such cluster or no node
        in it is large enough.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of ours goes over a network unasked
        try:
            import ray
        except ImportError:
            raise UsageError("Ray is not installed.", "Install it with `pip install 'headstart[ray]'`.") from None
        self._ray, self._reporter, self._shared = ray, reporter, shared
        self._own = not ray.is_initialized()
        if self._own:
            try:
                ours = signal.getsignal(signal.SIGTERM)
                ray.init(address=address or None, log_to_driver=False, configure_logging=False)
            except (OSError, ValueError, RuntimeError) as error:
                what = f"Ray cannot be reached at {address}" if address else "Ray cannot be started"
                reason = " ".join(str(error).split())
                raise ResourceError(f"{what} ({reason}).", "Start a cluster with `ray start --head`.") from None
            if ours is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, ours)  # Ray's own ends the process on the spot
        self._require(threads, gpus)
        self._task = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=LOST - 1)(_answer)

    def run(self, jobs: Sequence[str]) -> Generator[tuple[int, str]]:
        """In whatever order the cluster makes of them."""
        tokens = _Tokens(jobs, write=self._shared)
        running = {self._task.remote(job, tokens.of(job), None): index for index, job in enumerate(jobs)}
        with SignalGuard() as guard:
            try:
                while running:
                    if (number := guard.heard()) is not None:
                        yield from self._stopped(number, running, jobs)
                        return
                    for index, (text, parcel) in self._done(running, jobs, 0.2):
                        if text == _ELSEWHERE:
                            again = self._task.remote(jobs[index], tokens.of(jobs[index]), _outgoing(jobs[index]))
                            running[again] = index
                        else:
                            yield index, _arrived(jobs[index], text, parcel)
            finally:
                self._cancel(running)
                tokens.remove()

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._own and self._ray.is_initialized():
            self._ray.shutdown()

    def _require(self, threads: int, gpus: int) -> None:
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= threads and node.get("GPU", 0) >= gpus for node in nodes):
            self.close()
            what = f"No node of the cluster has {threads} CPUs{' and a GPU' if gpus else ''} for one run."
            raise ResourceError(what, "Add such a node, or begin the study with fewer --threads.")

    def _done(self, running: dict[Any, int], jobs: Sequence[str], seconds: float) -> Generator[tuple[int, Answer]]:
        """Take tasks that end within so many seconds out of `running`; errors of Ray become answers."""
        ready, _ = self._ray.wait(list(running), num_returns=len(running), timeout=seconds)
        for ref in ready:
            index = running.pop(ref)
            try:
                yield index, self._ray.get(ref)
            except self._ray.exceptions.TaskCancelledError:
                yield index, (job_protocol.interrupted(signal.SIGTERM), b"")
            except self._ray.exceptions.RayTaskError as error:
                reason = " ".join(str(error.cause).split())
                what = f"The task of {job_protocol.title(jobs[index])} failed ({type(error.cause).__name__}: {reason})."
                hint = "See whether every node has this version of headstart."
                yield index, (job_protocol.failed(HeadstartError(what, hint), str(error)), b"")
            except self._ray.exceptions.RayError as error:
                reason = str(error).strip().partition("\n")[0].rstrip(".")
                what = f"The worker of {job_protocol.title(jobs[index])} was lost {LOST} times ({reason})."
                yield index, (job_protocol.failed(ResourceError(what, _HINT)), b"")

    def _stopped(
        self, number: signal.Signals, running: dict[Any, int], jobs: Sequence[str]
    ) -> Generator[tuple[int, str]]:
        """What is still answered after a signal: runs that came to their end, then one that did not."""
        broken = -1
        for index, (text, parcel) in self._cancel(running, jobs):
            answer = text if text == _ELSEWHERE else _arrived(jobs[index], text, parcel)
            if answer == _ELSEWHERE or job_protocol.stopped(answer):
                broken = index
            else:
                yield index, answer
        if broken < 0 and running:
            broken = next(iter(running.values()))
        running.clear()
        if broken < 0:
            raise InterruptedRunError(number, "Go on with `headstart resume`.")
        yield broken, job_protocol.interrupted(number)

    def _cancel(self, running: dict[Any, int], jobs: Sequence[str] = ()) -> list[tuple[int, Answer]]:
        """Stop what is running as Ctrl-C does, and wait for checkpoints; returns what was answered meanwhile."""
        for ref in running:
            with suppress(self._ray.exceptions.RayError):
                self._ray.cancel(ref, force=False)
        found, until = list[tuple[int, Answer]](), time.monotonic() + GRACE
        while running and time.monotonic() < until:
            found += self._done(running, jobs or _Untold(), 0.5)
        return found


class _Untold(Sequence[str]):
    """Jobs that nobody asks for the names of any more."""

    def __getitem__(self, index: Any) -> Any:
        return json.dumps({"runs": []})

    def __len__(self) -> int:
        return 0


class _Tokens:
    """A file in each folder that jobs write to, by which a node knows that it sees the same folder."""

    def __init__(self, jobs: Sequence[str], *, write: bool) -> None:
        self._name = f".ray-{secrets.token_hex(8)}"
        self._written = set[Path]()
        for parent in {Path(json.loads(job)["parent"]) for job in jobs}:
            if write:
                parent.mkdir(parents=True, exist_ok=True)
                (parent / self._name).touch()
                self._written.add(parent / self._name)

    def of(self, job: str) -> str:
        """The path of the token of a job's folder."""
        return str(Path(json.loads(job)["parent"]) / self._name)

    def remove(self) -> None:
        for path in self._written:
            path.unlink(missing_ok=True)


def _answer(job: str, token: str, parcel: bytes | None) -> Answer:
    """On a node: carry the job out in the study's folder if it is seen here, else in a folder of the node's own.

    `parcel` holds the runs of the job that were begun already; None where the study's folder is hoped to be seen.
    """
    if not json.loads(job)["runs"] or Path(token).exists():
        return work.work_apart(job, NullReporter()), b""
    if parcel is None:
        return _ELSEWHERE, b""
    from headstart.storage.cache import cache_root

    content = json.loads(job)
    hashes = sorted(_hashes(content))
    name = hashlib.sha256(json.dumps([token, *hashes]).encode()).hexdigest()[:32]
    away = cache_root() / "away"
    for left in away.glob("*"):
        if time.time() - left.stat().st_mtime > _WEEK:
            shutil.rmtree(left, ignore_errors=True)
    parent = away / name  # the same for a worker that takes over on this node: it goes on from the checkpoint
    if not parent.exists():
        unpack(parcel, parent)
    answer = work.work_apart(json.dumps({**content, "parent": str(parent)}), NullReporter())
    found = pack([run.folder for run in runs_in(parent)])
    shutil.rmtree(parent, ignore_errors=True)
    return answer, found


def _hashes(content: dict[str, Any]) -> set[str]:
    """The hashes of a job's plans."""
    from headstart.config.run_config import RunConfig

    return {RunConfig.model_validate(item["plan"]).hash for item in content["runs"]}


def _outgoing(job: str) -> bytes:
    """The runs of a job that were begun already, for a node that does not see them."""
    content = json.loads(job)
    wanted, parent = _hashes(content), Path(content["parent"])
    return pack([run.folder for run in runs_in(parent) if run.hash in wanted])


def _arrived(job: str, answer: str, parcel: bytes) -> str:
    """The answer of a node, with the run folders that it sent laid where the study is."""
    if not parcel:
        return answer
    parent, content = Path(json.loads(job)["parent"]), json.loads(answer)
    placed = unpack(parcel, parent)
    if "folders" in content:
        content["folders"] = [str(placed[Path(folder).name]) for folder in content["folders"]]
    return json.dumps(content)
