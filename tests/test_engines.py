"""Every engine keeps the contract, and the same bits come out of all; nothing is lost when a process is killed."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headstart import jobs, study
from headstart.api import declared
from headstart.engines import LOST, Engine, choice, contract, pace
from headstart.engines.here import Here
from headstart.engines.lanes import Lanes
from headstart.engines.parcel import pack, unpack
from headstart.errors import InterruptedRunError, ResourceError, UsageError
from headstart.record import locked, read_json
from headstart.verdict.gather import runs_in
from headstart.voice import Silent

from .conftest import environment_for_processes
from .runs import finish, metrics
from .test_study import TINY

ARMS = ("scratch", "scratch@adam")
STUDY = {**TINY, "network": "timm:test_resnet", "search": "off", "lr": 0.01, "seeds": 3}


def children() -> set[int]:
    """Processes whose parent this one is."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


def begun(parent: Path, **settings) -> Path:
    wanted = declared("digits:0-3", ARMS, None, None, None, None, {**STUDY, **settings})
    return study.begin(wanted, parent, Silent())


def bits(folder: Path) -> dict:
    """What a finished study leaves, less what the clock and the folders' names decide."""
    runs = {}
    for run in runs_in(folder):
        assert run.hash not in runs, "a run was made twice"
        model = hashlib.sha256((run.folder / "model" / "model.safetensors").read_bytes()).hexdigest()
        runs[run.hash] = (run.about, model, metrics(run.folder))
    return {"runs": runs, "verdict": judged(read_json(folder / "verdict.json"))}


def judged(verdict: dict) -> dict:
    return {key: verdict[key] for key in ("contrasts", "winner", "n", "judge")} | {
        "arms": [{k: v for k, v in arm.items() if k in ("name", "val", "test")} for arm in verdict["arms"]]
    }


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """A cache of its own, so that no finished run is taken over from another study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(folder))
        yield


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lanes]:
    """Two lanes, kept warm for the module, whose runs are not taken over from elsewhere."""
    with own_cache(tmp_path_factory.mktemp("cache")):
        engine = Lanes(2, Silent())
        yield engine
        engine.close()


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_here_keeps_the_contract(check, tmp_path: Path) -> None:
    check(Here(Silent()), tmp_path)


@pytest.mark.parametrize("check", contract.CHECKS + contract.CHECKS_OF_WORKERS, ids=lambda check: check.__name__)
def test_lanes_keep_the_contract(check, lanes: Lanes, tmp_path: Path) -> None:
    check(lanes, tmp_path)


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_the_contract_finds_an_engine_that_breaks_it(check, tmp_path: Path) -> None:
    class Forgetful:
        """Answers the last job twice, the others not, and never looks at a plan."""

        def run(self, asked):
            for _ in range(2):
                yield len(asked) - 1, json.dumps({"folders": []})

        def close(self) -> None:
            pass

    with pytest.raises((AssertionError, ValueError, KeyError)):
        check(Forgetful(), tmp_path)


def test_lanes_give_the_bits_of_here_and_leave_no_process(tmp_path: Path) -> None:
    before, found = children(), []
    for name, make in (("here", lambda: Here(Silent())), ("lanes", lambda: Lanes(2, Silent()))):
        with own_cache(tmp_path / f"cache-{name}"):
            folder, engine = begun(tmp_path / name), make()
            study.carry_out(folder, engine, Silent())
            engine.close()
            found.append(bits(folder))
            assert list(folder.glob(".*.lock")) == []
    assert found[0] == found[1] and len(found[0]["runs"]) == 6
    assert children() == before


def test_a_killed_lane_loses_nothing_and_doubles_nothing(lanes: Lanes, tmp_path: Path) -> None:
    with own_cache(tmp_path / "cache"):
        whole = begun(tmp_path / "whole", budgets="30st")
        study.carry_out(whole, Here(Silent()), Silent())
    folder, before = begun(tmp_path / "killed", budgets="30st"), children()
    killed: list[int] = []

    class Reaper:
        """Kills the lane of a run in progress when the first answer is in."""

        def run(self, asked):
            for index, answer in lanes.run(asked):
                yield index, answer
                if not killed and len(asked) == 6:
                    contract._kill_the_worker(folder, killed)

        def close(self) -> None:
            pass

    study.carry_out(folder, Reaper(), Silent())
    assert len(killed) == 1 and killed[0] not in children() and len(children()) <= len(before) + 2
    assert bits(folder) == bits(whole)


def test_a_job_that_kills_every_worker_is_answered_with_an_error(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("headstart.engines.lanes._LANE", "import sys; sys.stdin.readline(); sys.exit(7)")
    said: list[str] = []
    voice = Silent()
    voice.say = said.append  # type: ignore[method-assign]
    engine = Lanes(1, voice)
    ((index, answer),) = engine.run([contract.job(tmp_path, contract.plan(4))])
    engine.close()
    assert index == 0 and len(said) == LOST - 1
    with pytest.raises(ResourceError, match="small seed 4 ended with exit code 7") as lost:
        jobs.folders(answer)
    assert lost.value.exit_code == 5


PARENT = """
import sys
from pathlib import Path
from headstart.cli import main
from headstart.engines import contract
from headstart.engines.lanes import Lanes
from headstart.errors import InterruptedRunError
from headstart.voice import Silent
from headstart import jobs
folder = Path(sys.argv[1])
engine = Lanes(2, Silent())
try:
    for _, answer in engine.run([contract.job(folder, contract.plan(seed, 100_000)) for seed in (0, 1, 2)]):
        jobs.folders(answer)
except InterruptedRunError as stop:
    engine.close()
    sys.exit(stop.exit_code)
"""


def at_work(folder: Path, process: subprocess.Popen[str]) -> list[int]:
    """The lanes of two runs that have a checkpoint."""
    until = time.monotonic() + 100
    while time.monotonic() < until:
        busy = [p.parent for p in folder.glob("*/lock") if any((p.parent / "checkpoints").glob("step-*/MANIFEST.json"))]
        if len(busy) == 2:
            return [int((run / "lock").read_text().split()[1]) for run in busy]
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("no two runs came to a checkpoint")


def gone(pids: list[int], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until and any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.02)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT to all", "SIGKILL"])
def test_lanes_end_with_their_parent(how: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment_for_processes(),
        start_new_session=True,
    )
    pids = at_work(tmp_path, process)
    if how == "SIGINT to all":  # as a terminal does
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(getattr(signal, how.split()[0]))
    code, _, err = finish(process, 60)
    assert gone(pids, 10) and err == ""
    if how == "SIGKILL":
        assert code == -signal.SIGKILL
        return
    assert code == 128 + getattr(signal, how.split()[0])
    ended = [metrics(run)[-1] for run in sorted(p.parent for p in tmp_path.glob("*/plan.json"))]
    assert [line["kind"] for line in ended] == ["stopped", "stopped"]
    for run in (p.parent for p in tmp_path.glob("*/plan.json")):  # each stopped at a checkpoint
        newest = max((run / "checkpoints").glob("step-*")).name
        assert int(newest.split("-")[1]) == metrics(run)[-1]["step"]


def test_one_process_at_a_time_does_a_plan(tmp_path: Path, monkeypatch) -> None:
    asked = contract.plan(0)
    monkeypatch.setattr(jobs, "PATIENCE", 0.2)
    with locked(tmp_path, f".{asked.hash[:16]}.lock"):
        answer = jobs.work(contract.job(tmp_path, asked), Silent())
    with pytest.raises(UsageError, match=f"in use by process {os.getpid()}"):
        jobs.folders(answer)
    assert list(runs_in(tmp_path)) == []


def test_runs_travel_as_bytes(tmp_path: Path) -> None:
    (run,) = jobs.folders(jobs.work(contract.job(tmp_path / "a", contract.plan(0)), Silent()))
    (run / "lock").touch()
    parcel = pack([run])
    placed = unpack(parcel, tmp_path / "b")
    files = {p.relative_to(run): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != "lock"}
    there = placed[run.name]
    assert {p.relative_to(there): p.read_bytes() for p in there.rglob("*") if p.is_file()} == files
    assert unpack(parcel, tmp_path / "b") == placed  # once more: replaced, not doubled
    (there / "plan.json").write_text(json.dumps({"hash": "another"}))
    assert unpack(parcel, tmp_path / "b")[run.name] != there
    assert {p.name for p in (tmp_path / "b").iterdir()} == {run.name, f"{run.name}-2"}


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [2, 1]), (6, [6, 3, 1]), (8, [8, 4, 2, 1])])
def test_each_candidate_makes_about_twice_as_many_lanes(cores: int, counts: list[int]) -> None:
    assert pace.candidates(cores) == counts


@pytest.mark.parametrize(
    ("rates", "auto", "lanes"),
    [({4: 100.0, 2: 110.0, 1: 90.0}, 2, 2), ({4: 100.0, 2: 101.0}, 4, 2), ({4: 100.0}, 4, 4), ({}, 4, 4)],
)
def test_threads_follow_the_measured_rates(rates, auto: int, lanes: int, monkeypatch) -> None:
    monkeypatch.setattr(pace, "_rates", lambda *_: rates)
    monkeypatch.setattr("headstart.parts.precision.usable_cores", lambda: 4)
    plan = contract.plan(0)
    assert pace.threads_per_run(plan, Silent()) == auto
    assert pace.threads_per_run(plan, Silent(), side_by_side=True) == lanes


def test_the_measurement_is_made_once_and_its_threads_stand_in_the_study(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pace, "WINDOW", 0.05)
    monkeypatch.setattr("headstart.parts.precision.usable_cores", lambda: 2)
    wanted = declared("digits:0-1", ARMS, None, None, None, None, {**STUDY, "threads": 0, "device": "cpu"})
    before = children()
    with own_cache(tmp_path):
        found = choice.settled(wanted, "lanes", Silent())
        assert found.plan.machine.threads == 1 and children() == before
        (kept,) = (tmp_path / "machine").glob("lanes-*.json")
        rates = read_json(kept)["rates"]
        assert set(rates) == {"1", "2"} and min(rates.values()) > 0
        monkeypatch.setattr(pace, "measured", None)  # asked again, it is read
        assert choice.settled(wanted, "lanes", Silent()) == found
    assert choice.settled(wanted, "here", Silent()) == wanted


def test_the_engine_follows_from_name_cores_and_threads(monkeypatch) -> None:
    monkeypatch.setattr("headstart.parts.precision.usable_cores", lambda: 4)
    plan = contract.plan(0)

    def made(name: str, threads: int) -> Engine:
        with choice.opened(name, plan.changed("machine", threads=threads), Silent()) as engine:
            return engine

    assert isinstance(made("auto", 4), Here) and isinstance(made("here", 1), Here)
    for name, threads, count in (("auto", 2, 2), ("auto", 1, 4), ("lanes", 4, 1), ("lanes", 3, 1)):
        engine = made(name, threads)
        assert isinstance(engine, Lanes) and engine.count == count
    with pytest.raises(UsageError, match="no engine 'rey'"):
        choice.checked("rey")
    with pytest.raises(UsageError, match="Ray cluster"):
        choice.checked("lanes", "somewhere:6379")


def test_a_stopped_engine_says_so_once(lanes: Lanes, tmp_path: Path) -> None:
    asked = [contract.job(tmp_path, contract.plan(seed, 100_000)) for seed in (0, 1)]
    answers = lanes.run([contract.job(tmp_path), *asked])
    assert next(answers)[0] == 0
    os.kill(os.getpid(), signal.SIGTERM)
    ((_, answer),) = answers
    with pytest.raises(InterruptedRunError) as stop:
        jobs.folders(answer)
    assert stop.value.exit_code == 143 and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
