"""The Ray engine passes the contract, and a study survives the loss of a node."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headstart.analysis.run_records import runs_in
from headstart.engines import contract
from headstart.engines.local import LocalEngine
from headstart.engines.ray import RayEngine
from headstart.errors import ResourceError, UsageError
from headstart.experiment import study
from headstart.reporter import NullReporter
from headstart.runs import job_protocol
from headstart.runs.job_protocol import RunRequest
from headstart.storage.journal import read_lines
from headstart.storage.schemas.metrics import StepLine
from tests.engines.test_contract import bits, length_of, own_cache, start_study
from tests.handmade import run_role
from tests.messages import fields_of
from tests.models.test_user_network import NETWORK, write

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """Start a cluster of one node with one CPU for this module."""
    from ray.cluster_utils import Cluster

    with own_cache(tmp_path_factory.mktemp("cache")), pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # the default lowers the priority of workers on a busy machine
        cluster = Cluster(
            initialize_head=True,
            connect=False,
            head_node_args={"num_cpus": 1, "include_dashboard": False},
        )
        yield cluster
        cluster.shutdown()


@pytest.fixture(scope="module")
def engine(cluster) -> Iterator[RayEngine]:
    engine = RayEngine(cluster.address, NullReporter())
    yield engine
    engine.close()
    assert not ray.is_initialized()


@pytest.mark.parametrize("check", contract.CHECKS + contract.WORKER_CHECKS, ids=lambda check: check.__name__)
def test_ray_passes_the_contract(check, engine: RayEngine, tmp_path: Path) -> None:
    check(engine, tmp_path)
    assert list(tmp_path.glob(".*")) == []  # no token or lock remains


def test_runs_return_from_a_node_without_access_to_the_study(cluster, engine: RayEngine, tmp_path: Path) -> None:
    remote = RayEngine(cluster.address, NullReporter(), shared=False)
    plan = contract.plan(50, 60)
    role = run_role("small")
    ((_, answer),) = remote.run([job_protocol.encode_job(tmp_path, [RunRequest(plan=plan, role=role)], until=1)])
    (folder,) = job_protocol.decode_answer(answer)
    (rung,) = runs_in(tmp_path)
    assert rung.folder == folder and len(rung.epochs) == 1 and not rung.done
    ((_, answer),) = remote.run([contract.job(tmp_path, plan)])  # it continues from the returned checkpoint
    assert job_protocol.decode_answer(answer) == [folder]
    (run,) = runs_in(tmp_path)
    steps = [line.step for line in read_lines(folder / "metrics.jsonl") if isinstance(line, StepLine)]
    assert run.done and steps == list(range(1, 61))
    assert (folder / "model" / "model.safetensors").is_file()
    remote.close()
    assert ray.is_initialized()  # it did not open the connection


def test_node_without_access_trains_the_code_of_the_job(cluster, engine: RayEngine, tmp_path: Path) -> None:
    remote = RayEngine(cluster.address, NullReporter(), shared=False)
    network = write(tmp_path / "lab", my=f"from blocks import x\n{NETWORK}", blocks="x = 1")
    plan = contract.plan(51, 3, network=network, image_size=16)
    job = contract.job(tmp_path / "runs", plan)
    for file in (tmp_path / "lab").iterdir():
        file.write_text("raise RuntimeError('not the code of the job')")
    ((_, answer),) = remote.run([job])
    (folder,) = job_protocol.decode_answer(answer)
    assert sorted(path.name for path in (folder / "model" / "code").iterdir()) == ["blocks.py", "my.py"]
    remote.close()


def test_missing_resources_and_missing_ray_are_errors(cluster, engine: RayEngine, monkeypatch) -> None:
    with pytest.raises(ResourceError) as error:
        RayEngine(cluster.address, NullReporter(), threads=64)
    assert fields_of(error.value.message) == {"count": 64} and "--threads" in error.value.hint
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UsageError) as missing:
        RayEngine("", NullReporter())
    assert "pip install ray" in missing.value.hint


@pytest.mark.slow
def test_study_survives_the_loss_of_a_node(cluster, engine: RayEngine, tmp_path: Path) -> None:
    length = length_of(tmp_path / "measured")
    node = cluster.add_node(num_cpus=1)
    with own_cache(tmp_path / "cache"):
        whole = start_study(tmp_path / "whole", budgets=length)
        study.run_study(whole, LocalEngine(NullReporter()), NullReporter())
    folder = start_study(tmp_path / "ray", budgets=length)
    active: dict[Path, int] = {}

    class LosingEngine:
        """Removes the second node when both have a run in progress."""

        def run(self, jobs):
            for index, answer in engine.run(jobs):
                yield index, answer
                deadline = time.monotonic() + 60
                while not active and time.monotonic() < deadline:
                    workers = contract.active_workers(folder)
                    if len(set(workers.values())) == 2:  # two processes, not one that has just started its next run
                        active.update(workers)
                        cluster.remove_node(node, allow_graceful=False)

        def close(self) -> None:
            pass

    study.run_study(folder, LosingEngine(), NullReporter())
    assert active and any(not Path(f"/proc/{pid}").exists() for pid in active.values())
    assert bits(folder) == bits(whole) and len(bits(folder)["runs"]) == 6
