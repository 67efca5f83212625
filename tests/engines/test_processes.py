"""The engine `processes`: the same bits as `local`, nothing lost if a worker is killed, no process left at the end."""

import json
import multiprocessing
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import headstart
from headstart.cli.main import main
from headstart.config.study_request import build_study_spec
from headstart.engines import contract, factory
from headstart.engines.engine import MAX_LOST_WORKERS
from headstart.engines.local import LocalEngine
from headstart.engines.processes import ProcessEngine
from headstart.errors import InterruptedRunError, ResourceError
from headstart.experiment import study
from headstart.i18n import Message
from headstart.reporter import NullReporter
from headstart.runs import job_protocol
from tests.engines.test_contract import ARMS, STUDY, bits, child_processes, length_of, own_cache, start_study
from tests.files import read_json
from tests.messages import fields_of
from tests.short_runs import metrics

CONTEXT = multiprocessing.get_context("forkserver")  # one server imports torch, and each parent is a fork of it
CONTEXT.set_forkserver_preload(["headstart.runs.runner", "tests.engines.test_processes"])


def test_study_with_a_killed_worker_is_bit_identical_to_local(tmp_path: Path) -> None:
    length = length_of(tmp_path / "measured")
    workers, before = ProcessEngine(2, NullReporter()), child_processes()
    with own_cache(tmp_path / "cache"):
        whole = start_study(tmp_path / "whole", budgets=length)
        study.run_study(whole, LocalEngine(NullReporter()), NullReporter())
    folder = start_study(tmp_path / "killed", budgets=length)
    killed: list[int] = []

    class KillingEngine:
        """Kills the worker of a run in progress after the first answer at which there is one with a checkpoint."""

        def run(self, jobs):
            for index, answer in workers.run(jobs):
                yield index, answer
                if not killed and len(jobs) == 6:
                    contract.kill_worker(folder, killed, timeout_s=3.0)

        def close(self) -> None:
            pass

    study.run_study(folder, KillingEngine(), NullReporter())
    assert len(killed) == 1 and len(child_processes()) == len(before) + 2
    workers.close()
    assert child_processes() == before and list(folder.glob(".*")) == []
    assert bits(folder) == bits(whole) and len(bits(folder)["runs"]) == 6


def test_job_that_kills_every_worker_is_answered_with_an_error(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("headstart.engines.processes._WORKER_COMMAND", "import sys; sys.stdin.readline(); sys.exit(7)")
    messages: list[Message] = []
    reporter = NullReporter()
    reporter.say = messages.append  # type: ignore[method-assign]
    engine = ProcessEngine(1, reporter)
    ((index, answer),) = engine.run([contract.job(tmp_path, contract.plan(4))])
    engine.close()
    assert index == 0
    assert [fields_of(sentence)["code"] for sentence in messages] == (MAX_LOST_WORKERS - 1) * [7]
    assert all("small, seed 4" in sentence for sentence in messages)
    with pytest.raises(ResourceError, match=r"\bsmall\b") as error:
        job_protocol.decode_answer(answer)
    assert re.findall(r"\d+", error.value.message) == ["4", "7", str(MAX_LOST_WORKERS)]
    assert error.value.exit_code == 5


def _parent(folder: str, count: int, log: str) -> None:
    """Run jobs that take hours on `count` workers, and exit as the command line does."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 2)
    engine = ProcessEngine(count, NullReporter())
    try:
        for _, answer in engine.run([contract.job(Path(folder), contract.plan(seed, 100_000)) for seed in range(3)]):
            job_protocol.decode_answer(answer)
    except InterruptedRunError as error:
        engine.close()
        os._exit(error.exit_code)


def wait_for_workers(folder: Path, count: int, is_alive: Callable[[], bool]) -> list[int]:
    """Wait until `count` runs have a checkpoint, and return the processes of their workers."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and is_alive():
        if len(workers := contract.active_workers(folder)) == count:
            return list(workers.values())
        time.sleep(0.02)
    raise AssertionError("the runs have no checkpoint")


def have_ended(pids: list[int], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.02)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize(("signal_name", "count"), [("SIGTERM", 1), ("SIGINT", 2), ("SIGKILL", 1)])
def test_workers_end_with_their_parent(signal_name: str, count: int, tmp_path: Path) -> None:
    number, log = getattr(signal, signal_name), tmp_path / "log"
    process = CONTEXT.Process(target=_parent, args=(str(tmp_path / "runs"), count, str(log)))
    process.start()
    assert process.pid is not None
    pids = wait_for_workers(tmp_path / "runs", count, process.is_alive)
    for pid in [process.pid, *(pids if signal_name == "SIGINT" else [])]:  # a terminal signals all of them
        os.kill(pid, number)
    process.join(60)
    assert have_ended(pids, 20) and log.read_text() == ""
    assert process.exitcode == (-number if signal_name == "SIGKILL" else 128 + number)
    if signal_name != "SIGKILL":
        for run in (p.parent for p in (tmp_path / "runs").glob("*/plan.json")):  # each stopped with a checkpoint
            last, newest = metrics(run)[-1], max(path.name for path in (run / "checkpoints").glob("step-*"))
            assert last["kind"] == "stopped" and int(newest.split("-")[1]) == last["step"]


def test_threads_are_measured_once_and_written_to_the_study(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("headstart.hardware.cpu.usable_cores", lambda: 2)
    spec = build_study_spec("digits:0-1", ARMS, None, None, None, None, {**STUDY, "threads": 0, "device": "cpu"})
    with own_cache(tmp_path):
        resolved = factory.choose_threads(spec, "processes", NullReporter())
        assert resolved.plan.machine.threads == 1
        measurements = [read_json(path) for path in (tmp_path / "machine").iterdir()]
        assert sorted(measurement["key"]["machine"][3] for measurement in measurements) == [1, 2]
        monkeypatch.setattr("headstart.hardware.benchmark.step_seconds", None)  # the second call reads the cache
        assert factory.choose_threads(spec, "processes", NullReporter()) == resolved
    assert factory.choose_threads(spec, "local", NullReporter()) == spec


def test_signal_is_answered_with_one_interruption(tmp_path: Path) -> None:
    workers, before = ProcessEngine(1, NullReporter()), signal.getsignal(signal.SIGTERM)
    jobs = [contract.job(tmp_path, contract.plan(seed, 100_000)) for seed in (0, 1)]
    answers = workers.run([contract.job(tmp_path), *jobs])
    assert next(answers)[0] == 0
    os.kill(os.getpid(), signal.SIGTERM)
    ((_, answer),) = answers
    with pytest.raises(InterruptedRunError) as error:
        job_protocol.decode_answer(answer)
    assert error.value.exit_code == 143 and signal.getsignal(signal.SIGTERM) == before


def test_command_line_and_api_take_an_engine(tmp_path: Path, capsys) -> None:
    settings = {**STUDY, "seeds": 1, "budgets": None, "epochs": "2st"}
    study_run = headstart.compare("digits:0-1", arms=ARMS, runs=tmp_path, engine="processes", quiet=True, **settings)
    assert (study_run.folder / "verdict.json").is_file()
    before = {path: path.stat().st_mtime_ns for path in study_run.folder.rglob("result.json")}
    main(["resume", str(study_run.folder), "--engine", "local", "--json"])
    assert json.loads(capsys.readouterr().out)["folder"] == str(study_run.folder)
    assert {path: path.stat().st_mtime_ns for path in study_run.folder.rglob("result.json")} == before and len(
        before
    ) == 2
    with pytest.raises(SystemExit) as error:
        main(["compare", "digits:0-1", "--engine", "processes", "--address", "somewhere:6379"])
    assert error.value.code == 2 and "--address" in capsys.readouterr().err


def test_unreachable_cluster_is_an_error_before_anything_is_written(tmp_path: Path, capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "127.0.0.1:99999"):
        arguments = ["compare", "digits:0-1", "--engine", "ray", "--address", address, "--runs", str(tmp_path / "runs")]
        with pytest.raises(SystemExit) as error:
            main(arguments)
        cause = error.value.__context__
        assert error.value.code == 5 and isinstance(cause, ResourceError)
        assert fields_of(cause.message)["address"] == address and cause.message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
