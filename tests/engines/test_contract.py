"""Every engine keeps the contract, and the same bits come out of all; nothing is lost when a process is killed."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headstart.analysis.run_records import runs_in
from headstart.config.study_request import build_study_spec
from headstart.engines import Engine, checked, contract, factory, throughput
from headstart.engines.local import LocalEngine
from headstart.engines.processes import ProcessEngine
from headstart.engines.transfer import pack, unpack
from headstart.errors import UsageError
from headstart.experiment import study
from headstart.reporter import NullReporter
from headstart.runs import execute, job_protocol
from headstart.storage.files import read_json
from headstart.storage.locks import locked
from tests.experiment.test_study import TINY
from tests.short_runs import metrics

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
    wanted = build_study_spec("digits:0-3", ARMS, None, None, None, None, {**STUDY, **settings})
    return study.begin(wanted, parent, NullReporter())


def bits(folder: Path) -> dict:
    """What a finished study leaves, less what the clock and the folders' names decide."""
    runs = {}
    for run in runs_in(folder):
        assert run.hash not in runs, "a run was made twice"
        model = hashlib.sha256((run.folder / "model" / "model.safetensors").read_bytes()).hexdigest()
        runs[run.hash] = (run.about, model, metrics(run.folder))
    return {"runs": runs, "verdict": judged(read_json(folder / "verdict.json"))}


def judged(verdict: dict) -> dict:
    return {key: verdict[key] for key in ("contrasts", "chosen", "winner", "n", "evaluation")} | {
        "arms": [{k: v for k, v in arm.items() if k in ("name", "val", "test")} for arm in verdict["arms"]]
    }


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """A cache of its own, so that no finished run is taken over from another study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(folder))
        yield


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessEngine]:
    """Two lanes, kept warm for the module, whose runs are not taken over from elsewhere."""
    with own_cache(tmp_path_factory.mktemp("cache")):
        engine = ProcessEngine(2, NullReporter())
        yield engine
        engine.close()


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_here_keeps_the_contract(check, tmp_path: Path) -> None:
    check(LocalEngine(NullReporter()), tmp_path)
    assert list(tmp_path.glob(".*")) == []  # no lock is left


@pytest.mark.parametrize("check", contract.CHECKS + contract.CHECKS_OF_WORKERS, ids=lambda check: check.__name__)
def test_lanes_keep_the_contract(check, workers: ProcessEngine, tmp_path: Path) -> None:
    check(workers, tmp_path)
    assert list(tmp_path.glob(".*")) == []


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


def test_one_process_at_a_time_does_a_plan(tmp_path: Path, monkeypatch) -> None:
    asked = contract.plan(0)
    monkeypatch.setattr(execute, "PATIENCE", 0.2)
    with locked(tmp_path, f".{asked.hash[:16]}.lock"):
        answer = execute.work(contract.job(tmp_path, asked), NullReporter())
    with pytest.raises(UsageError, match=f"in use by process {os.getpid()}"):
        job_protocol.folders(answer)
    assert list(runs_in(tmp_path)) == []


def test_runs_travel_as_bytes(tmp_path: Path) -> None:
    (run,) = job_protocol.folders(execute.work(contract.job(tmp_path / "a", contract.plan(0)), NullReporter()))
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
    assert throughput.candidates(cores) == counts


@pytest.mark.parametrize(
    ("rates", "auto", "processes"),
    [({4: 100.0, 2: 110.0, 1: 90.0}, 2, 2), ({4: 100.0, 2: 99.0}, 4, 2), ({4: 100.0}, 4, 4), ({}, 4, 4)],
)
def test_threads_follow_the_measured_rates(rates, auto: int, workers: int, monkeypatch) -> None:
    monkeypatch.setattr(throughput, "_rates", lambda *_: rates)
    monkeypatch.setattr("headstart.hardware.devices.usable_cores", lambda: 4)
    plan = contract.plan(0)
    assert throughput.threads_per_run(plan, NullReporter()) == auto
    assert throughput.threads_per_run(plan, NullReporter(), side_by_side=True) == workers


def test_the_engine_follows_from_name_cores_and_threads(monkeypatch) -> None:
    monkeypatch.setattr("headstart.hardware.devices.usable_cores", lambda: 4)
    plan = contract.plan(0)

    def made(name: str, threads: int) -> Engine:
        with factory.opened(name, plan.changed("machine", threads=threads), NullReporter()) as engine:
            return engine

    assert isinstance(made("auto", 4), LocalEngine) and isinstance(made("local", 1), LocalEngine)
    for name, threads, count in (("auto", 2, 2), ("auto", 1, 4), ("processes", 4, 1), ("processes", 3, 1)):
        engine = made(name, threads)
        assert isinstance(engine, ProcessEngine) and engine.count == count
    with pytest.raises(UsageError, match="no engine 'rey'"):
        checked("rey")
    with pytest.raises(UsageError, match="Ray cluster"):
        checked("processes", "somewhere:6379")


def test_a_trunk_that_runs_share_travels_once(tmp_path: Path) -> None:
    backbone = tmp_path / "backbone"
    backbone.write_bytes(b"x" * 100_000)
    runs = [tmp_path / "a" / name for name in ("one", "two")]
    for run in runs:
        (run / "model").mkdir(parents=True)
        (run / "plan.json").write_text(json.dumps({"hash": run.name}))
        os.link(backbone, run / "model" / "backbone.safetensors")
    parcel = pack(runs)
    assert len(parcel) < 110_000
    placed = unpack(parcel, tmp_path / "b")
    found = [placed[run.name] / "model" / "backbone.safetensors" for run in runs]
    assert all(path.read_bytes() == backbone.read_bytes() for path in found)
    assert found[0].stat().st_ino == found[1].stat().st_ino != backbone.stat().st_ino


def test_links_of_a_parcel_cannot_lead_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("run/plan.json", json.dumps({"hash": "h"}))
        archive.writestr("links.json", json.dumps({"run/stolen": "../../secret", "../../planted": "run/plan.json"}))
    unpack(buffer.getvalue(), tmp_path / "b")
    assert [path.name for path in (tmp_path / "b" / "run").iterdir()] == ["plan.json"]
    assert not (tmp_path / "planted").exists()
