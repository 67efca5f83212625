"""The machine is measured once for each network and batch shape."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headstart.analysis.run_records import read_run
from headstart.config.run_config import ResolvedFacts
from headstart.errors import UsageError
from headstart.hardware import benchmark, calibration, precision
from headstart.i18n import Message
from headstart.reporter import NullReporter
from headstart.runs import runner
from headstart.storage.cache import cache_root
from tests.messages import fields_of
from tests.short_runs import prepared
from tests.training.test_setup import RecordingReporter, prepare


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return the batch shapes that are measured from now on."""
    shapes: list[tuple[int, ...]] = []
    step_seconds = benchmark.step_seconds

    def recorded(network: nn.Module, shape: tuple[int, ...], *more: Any) -> dict[str, float]:
        shapes.append(shape)
        return step_seconds(network, shape, *more)

    monkeypatch.setattr(benchmark, "step_seconds", recorded)
    return shapes


def remarks(reporter: RecordingReporter) -> list[Message]:
    """Return the messages on measurements: that the machine is measured, and before that why it is measured again."""
    return [sentence for sentence in reporter.sentences if sentence.values.keys() <= {"count"}]


def test_machine_is_measured_once_for_each_network_and_shape(measured: list[tuple[int, ...]]) -> None:
    folder = cache_root() / "machine"
    prepare(batch_size=6, precision="auto")
    measured.clear()
    files = {p: p.read_bytes() for p in folder.iterdir()}
    training_setup, reporter = prepare(batch_size=6, precision="auto")
    assert {p: p.read_bytes() for p in folder.iterdir()} == files
    assert remarks(reporter) == measured == []
    measurements = [json.loads(content) for content in files.values()]
    seconds = next(m["seconds"] for m in measurements if m["key"]["network"][-1] == [6, 3, 16, 16])
    assert training_setup.plan.machine.precision == min(seconds, key=seconds.get)
    assert len(remarks(prepare(batch_size=7, precision="auto")[1])) == 1
    assert measured == [(7, 3, 16, 16)]


def test_measurement_of_a_busy_machine_is_repeated(monkeypatch, measured: list[tuple[int, ...]]) -> None:
    """A cached peak of a tenth of the real one was measured on a busy machine; a process checks only once."""
    prepare(batch_size=9, precision="fp32")
    path = next(p for p in (cache_root() / "machine").iterdir() if _shape(p) == [9, 3, 16, 16])
    content = json.loads(path.read_text())
    busy = {p: value / 10 for p, value in content["peak"].items()}
    path.write_text(json.dumps({**content, "peak": busy}))
    measured.clear()
    assert remarks(prepare(batch_size=9, precision="fp32")[1]) == measured == []
    monkeypatch.setattr(calibration, "_trusted", set())  # as in another process
    training_setup, reporter = prepare(batch_size=9, precision="fp32")
    assert len(remarks(reporter)) == 2 and measured == [(9, 3, 16, 16)]
    assert training_setup.peak.flops_per_second > 2 * busy["fp32"]
    monkeypatch.setattr(calibration, "_trusted", set())
    monkeypatch.setattr(calibration, "BUSY_SPEED_RATIO", 1e9)  # the machine of these tests may be busy too
    path.write_text(json.dumps({**content, "peak": busy}))
    training_setup, reporter = prepare(batch_size=9, precision="fp32")
    assert remarks(reporter) == [] and len(measured) == 1
    stored = json.loads(path.read_text())["peak"]["fp32"]
    assert training_setup.peak.flops_per_second == stored > 2 * busy["fp32"]


@pytest.mark.parametrize("length", ["1ep", "3st"])
def test_faster_run_corrects_the_duration_of_a_step_that_was_measured_on_a_busy_machine(
    length: str, tmp_path: Path
) -> None:
    plan = prepare(batch_size=13, precision="fp32", epochs=length)[0].plan
    known = calibration.known_step_seconds(plan)
    assert known is not None
    (path,) = [p for p in (cache_root() / "machine").glob("*.json") if 13 in _shape(p)]
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "seconds": {**content["seconds"], "fp32": 1000.0}}))
    folder = runner.run_new(plan.with_facts(ResolvedFacts()), tmp_path, NullReporter())
    (line,) = read_run(folder).epochs
    corrected = calibration.known_step_seconds(plan)
    assert corrected == pytest.approx(13 / line.speed.images_per_second)
    assert corrected == pytest.approx(line.speed.train_seconds / line.step)
    calibration.record_step_seconds(plan, 2 * corrected)  # a slower run says nothing
    assert calibration.known_step_seconds(plan) == corrected
    assert json.loads(path.read_text())["peak"] == content["peak"]
    other = plan.changed(batch_size=14)
    calibration.record_step_seconds(other, 1e-9)
    assert calibration.known_step_seconds(other) is None


def _shape(path: Path) -> list[int]:
    return json.loads(path.read_text())["key"]["network"][-1]


@pytest.mark.parametrize("precision_", ["auto", "bf16", "fp32"])
@pytest.mark.parametrize("multiplies", [True, False])
def test_steps_are_measured_only_where_they_decide_the_precision(
    precision_: str, multiplies: bool, monkeypatch: pytest.MonkeyPatch, measured: list[tuple[int, ...]]
) -> None:
    monkeypatch.setattr(calibration, "multiplies_bf16", lambda: multiplies)
    shape = {"auto": 17, "bf16": 18, "fp32": 19}[precision_] + 3 * multiplies
    settings = {"network": "resnet18", "image_size": 64, "stem": "imagenet", "batch_size": shape}
    run, _ = prepare(**settings, precision=precision_)
    is_known = multiplies and precision_ != "fp32"
    assert measured == ([] if is_known else [(shape, 3, 64, 64)])
    assert run.peak.flops_per_second > 0
    if is_known:
        assert run.plan.machine.precision == "bf16"
        assert calibration.known_step_seconds(run.plan) is None  # for the forecast of a study it is measured
        again, _ = prepare(**settings, precision=precision_)
        assert again.plan == run.plan and again.peak.flops_per_second >= run.peak.flops_per_second
    elif precision_ != "auto":
        assert run.plan.machine.precision == precision_


def test_fp32_is_selected_where_bf16_leaves_part_of_a_kernel_unset() -> None:
    """test_resnet at 16 px has a 3x3 kernel with stride 2 on one pixel; eight of its parts cover padding only."""
    training_setup, _ = prepare(network="timm:test_resnet", stem="imagenet", precision="auto")
    assert training_setup.plan.machine.precision == "fp32"
    ours = prepared(precision="bf16").network
    assert precision.find_single_pixel_stride(ours, 16) == ""
    assert precision.find_single_pixel_stride(training_setup.network, 16).startswith("layer4")


@pytest.mark.parametrize("damage", ["", "[1]", "{", '{"seconds": {"fp32": 1}}', '{"seconds": "fast", "peak": {}}'])
def test_damaged_measurement_is_repeated(damage: str, measured: list[tuple[int, ...]]) -> None:
    prepare(batch_size=5, precision="auto")
    measured.clear()
    for path in (cache_root() / "machine").iterdir():
        content = json.loads(path.read_text())
        if content["key"]["network"][-1] == [5, 3, 16, 16]:
            path.write_text(damage)
    assert len(remarks(prepare(batch_size=5, precision="auto")[1])) == 1
    assert remarks(prepare(batch_size=5, precision="auto")[1]) == []
    assert measured == [(5, 3, 16, 16)]


def test_precision_that_the_device_does_not_support_is_left_out(
    monkeypatch: pytest.MonkeyPatch, measured: list[tuple[int, ...]]
) -> None:
    step, peak, peaks = benchmark.training_step, benchmark.matmul_peak, []

    def training_step(network: nn.Module, batch: Tensor, name: str) -> None:
        if name == "bf16":
            raise RuntimeError("no kernel for bf16")
        step(network, batch, name)

    def matmul_peak(device: torch.device, name: str, times: int = 5) -> float:
        peaks.append(name)
        return peak(device, name, times)

    monkeypatch.setattr(benchmark, "training_step", training_step)
    monkeypatch.setattr(benchmark, "matmul_peak", matmul_peak)
    training_setup, reporter = prepare(batch_size=11, precision="auto")
    assert training_setup.plan.machine.precision == "fp32" and set(peaks) == {"fp32"}
    (selected,) = (fields for fields in map(fields_of, reporter.sentences) if "precision" in fields)
    assert re.fullmatch(r"fp32 \d+", str(selected.pop("rates")))
    assert selected == {"count": 1, "precision": "fp32", "device": "cpu"}
    assert remarks(prepare(batch_size=11, precision="auto")[1]) == [] and measured == [(11, 3, 16, 16)]
    with pytest.raises(UsageError) as error:
        prepare(batch_size=11, precision="bf16")
    assert fields_of(error.value.message) == {"device": "cpu", "precision": "bf16"}


class _Slow(nn.Module):
    """A network whose forward pass takes `seconds` for each image by its own clock, with the sizes of its batches."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.head, self.batches = seconds, nn.Linear(3, 2), []
        self.time = 0.0

    def __deepcopy__(self, memo: dict) -> "_Slow":
        return self  # the measurement copies the network

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        self.time += self.seconds * len(images)
        return self.head(images.mean((2, 3)))


@pytest.mark.parametrize(
    ("seconds", "limit", "batches"),
    [
        (0.02, 2.0, [2, 2, 8, 8, *4 * [16]]),
        (0.02, 0.5, [2, 2, *4 * [8]]),  # the whole batch would take too long
        (0.02, 0.3, [2, 2, 2, 2]),
        (0.1, 0.1, [2, 2, 2]),  # stopped by the clock
    ],
)
def test_measurement_is_bounded_by_a_smaller_batch(
    seconds: float, limit: float, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = _Slow(seconds)
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: network.time)
    measured = benchmark.step_seconds(network, (16, 3, 4, 4), torch.device("cpu"), ["fp32"], limit)
    assert network.batches == batches
    assert measured["fp32"] == pytest.approx(16 * seconds)


def test_utilization_is_never_above_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training faster than the peak shows a peak that was measured too low, so that it is measured again."""
    again = [4e9, 1e9]
    monkeypatch.setattr(benchmark, "matmul_peak", lambda *_: again.pop(0))
    peak = calibration.MatmulPeak(1e9, torch.device("cpu"), "fp32")
    assert peak.utilization(5e8) == 0.5 and len(again) == 2
    assert peak.utilization(2e9) == 0.5 and len(again) == 1  # of the new peak, 4e9
    assert peak.utilization(8e9) == 1.0 and peak.flops_per_second == 8e9


def test_known_speed_is_that_of_the_cache() -> None:
    plan = prepare(batch_size=13, precision="auto")[0].plan
    stored = [json.loads(path.read_text()) for path in (cache_root() / "machine").iterdir()]
    (seconds,) = (content["seconds"] for content in stored if content["key"]["network"][-1] == [13, 3, 16, 16])
    assert calibration.known_step_seconds(plan) == seconds[plan.machine.precision]
    assert calibration.known_step_seconds(plan.changed(precision="auto")) == min(seconds.values())
    assert calibration.known_step_seconds(plan.changed(threads=7)) is None
