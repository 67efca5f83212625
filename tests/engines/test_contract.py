"""The engines `local` and `processes` pass the contract; runs are packed and engines are selected correctly."""

import hashlib
import io
import json
import math
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import headstart
from headstart.analysis.run_records import runs_in
from headstart.config.run_config import RunConfig
from headstart.config.study_request import build_study_spec
from headstart.engines import contract, factory, registry, throughput
from headstart.engines.engine import Engine
from headstart.engines.local import LocalEngine
from headstart.engines.processes import ProcessEngine
from headstart.engines.registry import EngineChoice, EngineSpec, validate_engine_name
from headstart.engines.transfer import pack, unpack
from headstart.errors import DataError, ResourceError, UsageError
from headstart.experiment import study
from headstart.hardware import cpu
from headstart.i18n import verbatim
from headstart.reporter import NullReporter, Reporter
from headstart.runs import execute, job_protocol
from headstart.storage.locks import locked
from tests.experiment.test_study import TINY
from tests.files import read_json
from tests.handmade import write_run_files
from tests.messages import fields_of
from tests.short_runs import metrics

ARMS = ("scratch", "scratch@adam")
STUDY = {**TINY, "network": "timm:test_resnet", "search": "off", "lr": 0.01, "seeds": 3}
RUN_SECONDS = 3.0  # several times that until the first checkpoint of so small a network


def child_processes() -> set[int]:
    """Return the ids of the child processes of this process."""
    pids = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                pids.add(int(path.parent.name))
        except OSError:
            continue
    return pids


def start_study(parent: Path, **settings) -> Path:
    spec = build_study_spec("digits:0-3", ARMS, None, None, None, None, {**STUDY, **settings})
    return study.begin(spec, parent, NullReporter())


def bits(folder: Path) -> dict:
    """Return the results of a finished study that do not depend on the clock or on folder names."""
    runs = {}
    for run in runs_in(folder):
        assert run.hash not in runs, "two runs have the same plan"
        model = hashlib.sha256((run.folder / "model" / "model.safetensors").read_bytes()).hexdigest()
        runs[run.hash] = (run.role, model, metrics(run.folder))
    return {"runs": runs, "verdict": evaluated(read_json(folder / "verdict.json"))}


def evaluated(verdict: dict) -> dict:
    return {key: verdict[key] for key in ("contrasts", "selected", "winner", "n", "evaluation")} | {
        "arms": [{k: v for k, v in arm.items() if k in ("name", "val", "test")} for arm in verdict["arms"]]
    }


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """Use a separate cache, so that no finished run of another study is reused."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(folder))
        yield


def length_of(folder: Path) -> str:
    """Return the length, such as "300st", of runs of the study that train for RUN_SECONDS on this machine, alone."""
    settings = {name: STUDY[name] for name in ("network", "batch_size", "precision", "threads", "lr")}
    with own_cache(folder / "cache"):
        run = headstart.train("digits:0-3", **settings, epochs="60st", runs=folder, quiet=True)
    step_seconds = run.history.train_seconds.sum() / 60
    return f"{max(60, math.ceil(RUN_SECONDS / step_seconds))}st"


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessEngine]:
    """Return two workers for this module, whose runs are not reused from elsewhere."""
    with own_cache(tmp_path_factory.mktemp("cache")):
        engine = ProcessEngine(2, NullReporter())
        yield engine
        engine.close()


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_local_passes_the_contract(check, tmp_path: Path) -> None:
    check(LocalEngine(NullReporter()), tmp_path)
    assert list(tmp_path.glob(".*")) == []  # no lock remains


@pytest.mark.parametrize("check", contract.CHECKS + contract.WORKER_CHECKS, ids=lambda check: check.__name__)
def test_processes_passes_the_contract(check, workers: ProcessEngine, tmp_path: Path) -> None:
    check(workers, tmp_path)
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_contract_fails_for_a_faulty_engine(check, tmp_path: Path) -> None:
    class FaultyEngine:
        """Answers only the last job, twice, and ignores its plans."""

        def run(self, jobs):
            for _ in range(2):
                yield len(jobs) - 1, json.dumps({"folders": []})

        def close(self) -> None:
            pass

    with pytest.raises((AssertionError, ValueError, KeyError)):
        check(FaultyEngine(), tmp_path)


def test_one_process_at_a_time_runs_a_plan(tmp_path: Path, monkeypatch) -> None:
    plan = contract.plan(0)
    monkeypatch.setattr(execute, "RUN_LOCK_TIMEOUT_S", 0.2)
    with locked(tmp_path, f".{plan.hash[:16]}.lock"):
        answer = execute.answer_job(contract.job(tmp_path, plan), NullReporter())
    with pytest.raises(UsageError, match=rf"^{tmp_path} .*\b{os.getpid()}\b"):
        job_protocol.decode_answer(answer)
    assert list(runs_in(tmp_path)) == []


def test_packed_runs_are_unpacked_unchanged(tmp_path: Path) -> None:
    (run,) = job_protocol.decode_answer(
        execute.answer_job(contract.job(tmp_path / "a", contract.plan(0)), NullReporter())
    )
    (run / "lock").touch()
    archive = pack([run])
    placed = unpack(archive, tmp_path / "b")
    files = {p.relative_to(run): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != "lock"}
    copy = placed[run.name]
    assert {p.relative_to(copy): p.read_bytes() for p in copy.rglob("*") if p.is_file()} == files
    assert unpack(archive, tmp_path / "b") == placed  # the second time it is replaced, not duplicated
    write_run_files(copy, contract.plan(1))
    assert unpack(archive, tmp_path / "b")[run.name] != copy
    assert {p.name for p in (tmp_path / "b").iterdir()} == {run.name, f"{run.name}-2"}


@pytest.mark.parametrize(
    ("jobs", "speeds", "auto", "side_by_side"),
    [
        (9, {4: 100.0, 1: 25.0}, 1, 1),
        (9, {4: 100.0, 1: 20.0}, 4, 1),  # one run on all cores is clearly faster
        (2, {4: 100.0, 1: 25.0}, 4, 1),  # two jobs use two cores
        (1, {}, 4, 4),
    ],
)
def test_threads_follow_jobs_and_speeds(
    jobs: int, speeds: dict[int, float], auto: int, side_by_side: int, monkeypatch
) -> None:
    def step_seconds(plan: RunConfig, *_: object) -> float:
        return plan.recipe.batch_size / speeds[plan.machine.threads]

    monkeypatch.setattr("headstart.hardware.calibration.step_seconds", step_seconds)
    monkeypatch.setattr("headstart.hardware.cpu.usable_cores", lambda: 4)
    plan = contract.plan(0)
    assert throughput.threads_per_run(plan, jobs, NullReporter()) == auto
    assert throughput.threads_per_run(plan, jobs, NullReporter(), side_by_side=True) == side_by_side


def test_threads_of_a_network_that_cannot_use_bf16_are_measured() -> None:
    """The device of a draft is open; test_resnet at 16 px has a stride over a single pixel."""
    plan = contract.plan(0).changed(device="auto", precision="auto", image_size=16)
    assert throughput.threads_per_run(plan, 2, NullReporter()) in (1, cpu.usable_cores())


@pytest.mark.parametrize(("memory", "count"), [(None, 4), (10**12, 4), (5e9, 2), (10**6, 1)])
def test_number_of_processes_is_limited_by_the_memory(memory: int | None, count: int, monkeypatch) -> None:
    monkeypatch.setattr("headstart.hardware.cpu.usable_cores", lambda: 4)
    monkeypatch.setattr("headstart.hardware.devices.available_memory", lambda: memory)
    assert factory.parallel_runs("processes", contract.plan(0).machine) == count


def test_engine_depends_on_name_cores_and_threads(monkeypatch) -> None:
    monkeypatch.setattr("headstart.hardware.cpu.usable_cores", lambda: 4)
    monkeypatch.setattr("headstart.hardware.devices.available_memory", lambda: None)
    plan = contract.plan(0)

    def create(name: str, threads: int) -> Engine:
        with factory.open_engine(name, plan.changed(threads=threads), NullReporter()) as engine:
            return engine

    assert isinstance(create("auto", 4), LocalEngine) and isinstance(create("local", 1), LocalEngine)
    for name, threads, count in (("auto", 2, 2), ("auto", 1, 4), ("processes", 4, 1), ("processes", 3, 1)):
        engine = create(name, threads)
        assert isinstance(engine, ProcessEngine) and engine.count == count
    with pytest.raises(UsageError) as error:
        validate_engine_name("rey")
    assert fields_of(error.value.message) == {"name": "rey"}
    with pytest.raises(UsageError) as error:
        validate_engine_name("processes", "somewhere:6379")
    assert fields_of(error.value.message) == {"name": "processes"} and fields_of(error.value.hint) == {"choices": "ray"}


def test_shared_backbone_is_packed_once(tmp_path: Path) -> None:
    backbone = tmp_path / "backbone"
    backbone.write_bytes(b"x" * 100_000)
    runs = [tmp_path / "a" / name for name in ("one", "two")]
    for run in runs:
        (run / "model").mkdir(parents=True)
        (run / "plan.json").write_text(json.dumps({"hash": run.name}))
        os.link(backbone, run / "model" / "backbone.safetensors")
    archive = pack(runs)
    assert len(archive) < 150_000
    placed = unpack(archive, tmp_path / "b")
    paths = [placed[run.name] / "model" / "backbone.safetensors" for run in runs]
    assert all(path.read_bytes() == backbone.read_bytes() for path in paths)
    assert paths[0].stat().st_ino == paths[1].stat().st_ino != backbone.stat().st_ino


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.REGTYPE])
@pytest.mark.parametrize("outside", ["../../secret", "{root}/secret"], ids=["relative", "absolute"])
def test_names_and_links_of_an_archive_cannot_lead_out_of_it(kind: bytes, outside: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    path = outside.format(root=tmp_path)
    member = tarfile.TarInfo(path if kind == tarfile.REGTYPE else "run/stolen")
    member.type, member.linkname = kind, "" if kind == tarfile.REGTYPE else path
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("run/plan.json"))
        archive.addfile(member)
    with pytest.raises(DataError):
        unpack(buffer.getvalue(), tmp_path / "b")
    assert (tmp_path / "secret").read_text() == "s"
    assert list((tmp_path / "b").iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"secret", "b"}


def test_engine_of_other_machines_needs_only_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    row = EngineSpec(
        verbatim("in a queue"),
        "headstart.engines.local:create",
        on_this_machine=False,
        address=registry.AddressSpec(verbatim("host of the queue"), verbatim("Start the queue.")),
    )
    monkeypatch.setattr(registry, "ENGINES", {"queue": row, **dict(reversed(registry.ENGINES.items()))})
    monkeypatch.setattr(factory, "ENGINES", registry.ENGINES)
    assert registry.automatic_engine(parallel=True) == "processes"
    assert registry.automatic_engine(parallel=False) == "local"
    assert set(registry.address_choices()) == {"queue", "ray"}
    with pytest.raises(ResourceError) as error:
        registry.require_listener(EngineChoice("queue", "127.0.0.1:99999"))
    assert error.value.hint == "Start the queue."

    measured: list[bool] = []

    def threads_per_run(plan: RunConfig, jobs: int, reporter: Reporter, *, side_by_side: bool) -> int:
        measured.append(side_by_side)
        return 2

    monkeypatch.setattr(throughput, "threads_per_run", threads_per_run)
    spec = build_study_spec("digits:0-1", ARMS, None, None, None, None, {**STUDY, "threads": 0, "device": "cpu"})
    for name in ("queue", "ray", "auto", "processes"):
        assert factory.choose_threads(spec, name, NullReporter()).plan.machine.threads == 2
    assert measured == [False, False, False, True]
    assert factory.choose_threads(spec, "local", NullReporter()) == spec and len(measured) == 4
