"""Lanes: the bits of `here`, nothing lost where a process is killed, and no process left in the end."""

import json
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import headstart
from headstart.cli.main import main
from headstart.config.study_request import build_study_spec
from headstart.engines import LOST, contract, factory, throughput
from headstart.engines.local import LocalEngine
from headstart.engines.processes import ProcessEngine
from headstart.errors import InterruptedRunError, ResourceError
from headstart.experiment import study
from headstart.reporter import NullReporter
from headstart.runs import job_protocol
from headstart.storage.files import read_json
from tests.engines.test_contract import ARMS, STUDY, begun, bits, children, own_cache
from tests.short_runs import metrics

CONTEXT = multiprocessing.get_context("forkserver")  # one warm server imports torch, each parent is a fork of it
CONTEXT.set_forkserver_preload(["headstart.runs.runner", "tests.engines.test_processes"])


def test_a_study_with_a_killed_lane_has_the_bits_of_here(tmp_path: Path) -> None:
    workers, at_first = ProcessEngine(2, NullReporter()), children()
    with own_cache(tmp_path / "cache"):
        whole = begun(tmp_path / "whole", budgets="30st")
        study.run_study(whole, LocalEngine(NullReporter()), NullReporter())
    folder = begun(tmp_path / "killed", budgets="30st")
    killed: list[int] = []

    class Reaper:
        """Kills the lane of a run in progress when the first answer is in."""

        def run(self, asked):
            for index, answer in workers.run(asked):
                yield index, answer
                if not killed and len(asked) == 6:
                    contract.kill_a_worker(folder, killed)

        def close(self) -> None:
            pass

    study.run_study(folder, Reaper(), NullReporter())
    assert len(killed) == 1 and len(children()) == len(at_first) + 2
    workers.close()
    assert children() == at_first and list(folder.glob(".*")) == []
    assert bits(folder) == bits(whole) and len(bits(folder)["runs"]) == 6


def test_a_job_that_kills_every_worker_is_answered_with_an_error(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("headstart.engines.processes._WORKER_COMMAND", "import sys; sys.stdin.readline(); sys.exit(7)")
    said: list[str] = []
    reporter = NullReporter()
    reporter.say = said.append  # type: ignore[method-assign]
    engine = ProcessEngine(1, reporter)
    ((index, answer),) = engine.run([contract.job(tmp_path, contract.plan(4))])
    engine.close()
    assert index == 0 and len(said) == LOST - 1
    with pytest.raises(ResourceError, match="small seed 4 ended with exit code 7") as lost:
        job_protocol.folders(answer)
    assert lost.value.exit_code == 5


def _parent(folder: str, count: int, log: str) -> None:
    """A process that has `count` lanes at work on runs that would take hours, and ends as the command line does."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 2)
    engine = ProcessEngine(count, NullReporter())
    try:
        for _, answer in engine.run([contract.job(Path(folder), contract.plan(seed, 100_000)) for seed in range(3)]):
            job_protocol.folders(answer)
    except InterruptedRunError as stop:
        engine.close()
        os._exit(stop.exit_code)


def at_work(folder: Path, count: int, alive: Callable[[], bool]) -> list[int]:
    """The processes of so many runs that have a checkpoint."""
    until = time.monotonic() + 200
    while time.monotonic() < until and alive():
        if len(found := contract.workers(folder)) == count:
            return list(found.values())
        time.sleep(0.02)
    raise AssertionError("the runs came to no checkpoint")


def gone(pids: list[int], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.02)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize(("how", "count"), [("SIGTERM", 1), ("SIGINT", 2), ("SIGKILL", 1)])
def test_lanes_end_with_their_parent(how: str, count: int, tmp_path: Path) -> None:
    number, log = getattr(signal, how), tmp_path / "log"
    process = CONTEXT.Process(target=_parent, args=(str(tmp_path / "runs"), count, str(log)))
    process.start()
    assert process.pid is not None
    pids = at_work(tmp_path / "runs", count, process.is_alive)
    for pid in [process.pid, *(pids if how == "SIGINT" else [])]:  # a terminal tells all of them
        os.kill(pid, number)
    process.join(60)
    assert gone(pids, 20) and log.read_text() == ""
    assert process.exitcode == (-number if how == "SIGKILL" else 128 + number)
    if how != "SIGKILL":
        for run in (p.parent for p in (tmp_path / "runs").glob("*/plan.json")):  # each stopped at a checkpoint
            last, newest = metrics(run)[-1], max(path.name for path in (run / "checkpoints").glob("step-*"))
            assert last["kind"] == "stopped" and int(newest.split("-")[1]) == last["step"]


def test_the_measurement_is_made_once_and_its_threads_stand_in_the_study(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(throughput, "WINDOW", 0.05)
    monkeypatch.setattr("headstart.hardware.devices.usable_cores", lambda: 2)
    wanted = build_study_spec("digits:0-1", ARMS, None, None, None, None, {**STUDY, "threads": 0, "device": "cpu"})
    before = children()
    with own_cache(tmp_path):
        found = factory.resolve_engine(wanted, "processes", NullReporter())
        assert found.plan.machine.threads == 1 and children() == before
        (kept,) = (tmp_path / "machine").glob("lanes-*.json")
        rates = read_json(kept)["rates"]
        assert set(rates) == {"1", "2"} and min(rates.values()) > 0
        monkeypatch.setattr(throughput, "measured", None)  # asked again, it is read
        assert factory.resolve_engine(wanted, "processes", NullReporter()) == found
    assert factory.resolve_engine(wanted, "local", NullReporter()) == wanted


def test_stopped_lanes_say_so_once(tmp_path: Path) -> None:
    workers, before = ProcessEngine(1, NullReporter()), signal.getsignal(signal.SIGTERM)
    asked = [contract.job(tmp_path, contract.plan(seed, 100_000)) for seed in (0, 1)]
    answers = workers.run([contract.job(tmp_path), *asked])
    assert next(answers)[0] == 0
    os.kill(os.getpid(), signal.SIGTERM)
    ((_, answer),) = answers
    with pytest.raises(InterruptedRunError) as stop:
        job_protocol.folders(answer)
    assert stop.value.exit_code == 143 and signal.getsignal(signal.SIGTERM) == before


def test_the_doors_take_an_engine(tmp_path: Path, capsys) -> None:
    settings = {**STUDY, "seeds": 1, "budgets": None, "epochs": "2st"}
    done = headstart.compare("digits:0-1", arms=ARMS, runs=tmp_path, engine="processes", quiet=True, **settings)
    assert (done.folder / "verdict.json").is_file()
    before = {path: path.stat().st_mtime_ns for path in done.folder.rglob("result.json")}
    main(["resume", str(done.folder), "--engine", "local", "--json"])
    assert json.loads(capsys.readouterr().out)["folder"] == str(done.folder)
    assert {path: path.stat().st_mtime_ns for path in done.folder.rglob("result.json")} == before and len(before) == 2
    with pytest.raises(SystemExit) as left:
        main(["compare", "digits:0-1", "--engine", "processes", "--address", "somewhere:6379"])
    assert left.value.code == 2 and "Ray cluster" in capsys.readouterr().err


def test_a_cluster_that_is_not_there_is_told_before_anything_is_made(tmp_path: Path, capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "127.0.0.1:99999"):
        asked = ["compare", "digits:0-1", "--engine", "ray", "--address", address, "--runs", str(tmp_path / "runs")]
        with pytest.raises(SystemExit) as stop:
            main(asked)
        assert stop.value.code == 5 and f"Nothing listens at {address}" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
