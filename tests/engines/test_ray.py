"""Ray keeps the contract too, and a study survives the loss of a node."""

import json
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
from headstart.storage.journal import read_lines
from tests.engines.test_contract import begun, bits, own_cache

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A cluster of one node with one CPU, of this module's own."""
    from ray.cluster_utils import Cluster

    with own_cache(tmp_path_factory.mktemp("cache")), pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # where others are busy too, ours must not stand last
        made = Cluster(
            initialize_head=True,
            connect=False,
            head_node_args={"num_cpus": 1, "include_dashboard": False},
        )
        yield made
        made.shutdown()


@pytest.fixture(scope="module")
def engine(cluster) -> Iterator[RayEngine]:
    made = RayEngine(cluster.address, NullReporter())
    yield made
    made.close()
    assert not ray.is_initialized()


@pytest.mark.parametrize("check", contract.CHECKS + contract.CHECKS_OF_WORKERS, ids=lambda check: check.__name__)
def test_ray_keeps_the_contract(check, engine: RayEngine, tmp_path: Path) -> None:
    check(engine, tmp_path)
    assert list(tmp_path.glob(".*")) == []  # no token and no lock is left


def test_runs_come_back_from_a_node_that_does_not_see_the_study(cluster, engine: RayEngine, tmp_path: Path) -> None:
    away = RayEngine(cluster.address, NullReporter(), shared=False)
    asked = contract.plan(50, 60)
    paused = json.loads(contract.job(tmp_path, asked)) | {"until": 1}
    ((_, answer),) = away.run([json.dumps(paused)])
    (folder,) = job_protocol.folders(answer)
    (rung,) = runs_in(tmp_path)
    assert rung.folder == folder and len(rung.epochs) == 1 and not rung.done
    ((_, answer),) = away.run([contract.job(tmp_path, asked)])  # it goes on from the checkpoint that came back
    assert job_protocol.folders(answer) == [folder]
    (run,) = runs_in(tmp_path)
    steps = [line["step"] for line in read_lines(folder / "metrics.jsonl") if line["kind"] == "step"]
    assert run.done and steps == list(range(1, 61))
    assert (folder / "model" / "model.safetensors").is_file()
    away.close()
    assert ray.is_initialized()  # the connection was another's


def test_what_the_cluster_cannot_do_is_told(cluster, engine: RayEngine, monkeypatch) -> None:
    with pytest.raises(ResourceError, match="64 CPUs"):
        RayEngine(cluster.address, NullReporter(), threads=64)
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UsageError, match="not installed") as missing:
        RayEngine("", NullReporter())
    assert "pip install 'headstart[ray]'" in missing.value.hint


@pytest.mark.slow
def test_a_study_survives_the_loss_of_a_node(cluster, engine: RayEngine, tmp_path: Path) -> None:
    node = cluster.add_node(num_cpus=1)
    with own_cache(tmp_path / "cache"):
        whole = begun(tmp_path / "whole", budgets="60st")
        study.run_study(whole, LocalEngine(NullReporter()), NullReporter())
    folder = begun(tmp_path / "ray", budgets="60st")
    before: dict[Path, int] = {}

    class Losing:
        """Takes the second node away when both are in the midst of a run."""

        def run(self, asked):
            for index, answer in engine.run(asked):
                yield index, answer
                until = time.monotonic() + 60
                while not before and time.monotonic() < until:
                    if len(set((found := contract.workers(folder)).values())) == 2:  # not one that has just gone on
                        before.update(found)
                        cluster.remove_node(node, allow_graceful=False)

        def close(self) -> None:
            pass

    study.run_study(folder, Losing(), NullReporter())
    assert before and any(not Path(f"/proc/{pid}").exists() for pid in before.values())
    assert bits(folder) == bits(whole) and len(bits(folder)["runs"]) == 6
