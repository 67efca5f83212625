"""A study says once that its runs are much slower than measured, or that one run on all cores would be faster."""

import dataclasses
from pathlib import Path

import pytest

from headstart.analysis.run_records import RunRecord
from headstart.config.run_config import RunConfig
from headstart.engines import contract
from headstart.experiment.speed_check import SpeedCheck
from headstart.hardware import calibration
from headstart.storage.journal import Journal
from headstart.storage.schemas.metrics import Speed
from tests.handmade import epoch_line
from tests.messages import fields_of

CORES = 4


@pytest.fixture(autouse=True)
def _measured_speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """One run with 1 thread trains 40 images/s alone, with 4 threads 100."""

    def known_step_seconds(plan: RunConfig) -> float | None:
        speed = {1: 40.0, CORES: 100.0}.get(plan.machine.threads)
        return plan.recipe.batch_size / speed if speed else None

    monkeypatch.setattr(calibration, "known_step_seconds", known_step_seconds)
    monkeypatch.setattr("headstart.hardware.cpu.usable_cores", lambda: CORES)
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))


def record(folder: Path, speeds: list[float], seconds: float = 2.0, **settings: str | float) -> RunRecord:
    """Return a run whose epochs train with these speeds in images/s, each for some seconds."""
    folder.mkdir()
    with Journal(folder / "metrics.jsonl") as journal:
        for epoch, speed in enumerate(speeds, 1):
            measured = Speed(images_per_second=speed, mfu=0.1, train_seconds=seconds, val_seconds=0.5)
            journal.append(epoch_line(3 * epoch, epoch, speed=measured))
    return RunRecord(folder, contract.plan(0, **settings), "hash")


@pytest.mark.parametrize(
    ("threads", "runs", "speed", "fields"),
    [
        (1, 4, 19.0, {"count": 4, "speed": 76.0, "measured": 100.0, "cores": CORES}),
        (4, 1, 49.0, {"speed": 49.0, "measured": 100.0}),
        (1, 3, 25.0, {"count": 3, "speed": 75.0, "measured": 100.0, "cores": CORES}),
        (2, 2, 1.0, {"count": 2, "speed": 2.0, "measured": 100.0, "cores": CORES}),  # not measured alone
        (1, 4, 25.0, {}),  # together as fast as one run on all cores
        (4, 1, 60.0, {}),
        (3, 1, 1.0, {}),  # not measured
        (1, 0, 1.0, {}),  # on other machines
    ],
)
def test_slow_runs_are_reported_once(
    threads: int, runs: int, speed: float, fields: dict[str, object], tmp_path: Path
) -> None:
    """The first epoch is slower."""
    check = SpeedCheck(runs)
    first, second, third = (record(tmp_path / str(number), [speed / 10, speed], threads=threads) for number in range(3))
    assert not check.message(first)
    message = check.message(second)
    assert fields_of(message) == fields and bool(message) == bool(fields)
    assert not check.message(third) or not fields


@pytest.mark.parametrize(("seconds", "settings"), [(1.0, {}), (2.0, {"tuning": "frozen"})], ids=["short", "heads"])
def test_short_runs_and_heads_are_not_compared(seconds: float, settings: dict[str, str], tmp_path: Path) -> None:
    check = SpeedCheck(4)
    runs = [record(tmp_path / str(number), [1.0, 1.0], seconds, threads=1, **settings) for number in range(5)]
    assert not any(check.message(run) for run in runs)


def test_other_programs_are_named_if_the_machine_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (5.0, 5.0, 5.0))
    check = SpeedCheck(4)
    runs = [record(tmp_path / str(number), [19.0, 19.0], threads=1) for number in range(3)]
    assert [fields_of(check.message(run)) for run in runs] == [{}, {"speed": 19.0, "measured": 40.0}, {}]


@pytest.mark.parametrize("settings", [{"network": "resnet20"}, {"device": "cuda"}], ids=["networks", "gpu"])
def test_runs_of_other_networks_and_on_a_gpu_are_not_mixed(settings: dict[str, str], tmp_path: Path) -> None:
    check = SpeedCheck(1)
    for number in range(2):
        run = record(tmp_path / str(number), [1.0, 1.0], threads=1)
        run = dataclasses.replace(run, plan=run.plan.changed(**settings if number else {}))
        assert not check.message(run)
