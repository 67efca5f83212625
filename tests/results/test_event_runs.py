"""Read event files that plain `SummaryWriter` code wrote, against the logged values and TensorBoard's own reader."""

import base64
import json
import math
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.util.tensor_util import make_tensor_proto
from torch.utils.tensorboard import SummaryWriter

from headstart.cli.main import main
from headstart.errors import DataError, UsageError
from headstart.i18n import verbatim
from headstart.report.logged_run import ACCURACY, LOSS, TEST, TRAIN, UNNAMED, VAL, LoggedQuantity, LoggedRun, Point
from headstart.results.event_runs import read_event_runs
from headstart.results.event_values import equal_bins
from headstart.results.pages import write_report
from headstart.results.tag_rules import Layer, Rate, match_curve, match_layer, parse_tag_rules
from headstart.telemetry.event_file import EventFile, EventFileError, read_records
from tests.pages import assert_is_closed
from tests.trained import SETTINGS, train

EPOCHS, STEPS = 6, 5  # of the exercise below, and steps per epoch
VAL_ACCURACY = LoggedQuantity(ACCURACY, VAL)


def write_exercise(folder: Path, seed: int) -> dict[str, list[float]]:
    """Log a run as the exercise does: the rate at each step, histograms of conv1, loss and accuracy by epoch."""
    generator = torch.Generator().manual_seed(seed)
    logged: dict[str, list[float]] = {}

    def log(tag: str, value: float, step: int) -> None:
        writer.add_scalar(tag, value, step)
        logged.setdefault(tag, []).append(value)

    with SummaryWriter(str(folder)) as writer:
        for epoch in range(EPOCHS):
            for step in range(STEPS):
                log("Learning rate", 0.05 * 0.9 ** (epoch * STEPS + step), epoch * STEPS + step)
            for index, tag in enumerate(["Loss/train", "Loss/val", "Accuracy/train", "Accuracy/val"]):
                log(tag, 0.6 * float(torch.rand((), generator=generator)) + 0.1 * index, epoch)
            writer.add_histogram("conv1.weight", torch.randn(64, 3, 7, 7, generator=generator), epoch)
            writer.add_histogram("conv1.weight.grad", torch.randn(64, 3, 7, 7, generator=generator) * 1e-3, epoch)
    return logged


@pytest.fixture(scope="module")
def exercise(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, list[float]]]]:
    """Nine runs of six hosts, with their logged values."""
    folder = tmp_path_factory.mktemp("exercise")
    hosts = ["pc1", "pc2", "gpu-03", "mac.local", "ws_07", "n2"]
    return folder, [
        write_exercise(folder / f"Oct{20 + number}_14-44-0{number}_{hosts[number % 6]}", number) for number in range(9)
    ]


def test_runs_of_several_hosts(exercise: tuple[Path, list[dict[str, list[float]]]]) -> None:
    folder, logged = exercise
    runs = read_event_runs(folder)
    assert [run.name for run in runs[:2]] == ["pc1, Oct 20 14:44", "pc2, Oct 21 14:44"]
    assert len({run.name for run in runs}) == len(runs) == 9
    for run, values in zip(runs, logged, strict=True):
        for tag, quantity in {
            "Loss/train": LoggedQuantity(LOSS, TRAIN),
            "Loss/val": LoggedQuantity(LOSS, VAL),
            "Accuracy/train": LoggedQuantity(ACCURACY, TRAIN),
            "Accuracy/val": VAL_ACCURACY,
        }.items():
            np.testing.assert_allclose([point.value for point in run.curves[quantity]], values[tag], rtol=1e-6)
            assert [epoch for epoch, _value in run.by_epoch(quantity)] == list(range(1, EPOCHS + 1))
        np.testing.assert_allclose([point.value for point in run.rates[""]], values["Learning rate"], rtol=1e-6)
        assert [line.step for line in run.snapshots] == list(range(EPOCHS))
        assert all(list(line.weights) == list(line.gradients) == ["conv1"] for line in run.snapshots)
        assert not run.other_tags and not run.notes


def test_scalars_equal_those_of_tensorboard(exercise: tuple[Path, list[dict[str, list[float]]]]) -> None:
    """TensorBoard's own reader gives the same steps, times and values."""
    folder, _logged = exercise
    for run in read_event_runs(folder):
        accumulator = EventAccumulator(str(run.folder), size_guidance={"scalars": 0})
        accumulator.Reload()
        expected = [(e.step, e.wall_time - run.started, e.value) for e in accumulator.Scalars("Accuracy/val")]
        assert [tuple(point) for point in run.curves[VAL_ACCURACY]] == expected


def test_histograms_equal_the_logged_tensors(tmp_path: Path) -> None:
    """In 64 equal bins the cumulative counts differ from NumPy's by less than a stored bin."""
    values = torch.randn(9408, generator=torch.Generator().manual_seed(0))
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_histogram("fc.weight", values, 3)
        writer.add_histogram("constant", torch.full((7,), 0.25), 3)
    (run,) = read_event_runs(tmp_path)
    drawn = run.snapshots[0].weights["fc"]
    assert (drawn.low, drawn.high, drawn.n) == (float(values.min()), float(values.max()), sum(drawn.counts))
    edges = np.linspace(drawn.low, drawn.high, len(drawn.counts) + 1)
    expected = np.searchsorted(np.sort(values.numpy()), edges)
    stored = max(np.histogram(values.numpy(), bins=1.1 ** np.arange(-100, 20))[0])  # of the widest bin near 1
    assert np.abs(np.concatenate([[0], np.cumsum(drawn.counts)]) - expected).max() < stored
    constant = run.snapshots[0].weights["constant"]
    assert (constant.low, constant.high, constant.counts) == (0.25, 0.25, [7])


@pytest.mark.parametrize("bins", [64, 128, 640])
def test_equal_bins_keep_counts_of_finer_bins(bins: int) -> None:
    """Bins that divide the new ones are added up exactly."""
    counts = np.random.default_rng(bins).integers(0, 100, bins).astype(float)
    drawn = equal_bins(counts, np.linspace(-1.0, 3.0, bins + 1), -1.0, 3.0)
    assert drawn.counts == counts.reshape(64, -1).sum(1).astype(int).tolist()
    assert drawn.n == counts.sum()


def test_folders_of_one_run(tmp_path: Path) -> None:
    """`add_scalars`, `add_hparams` and Keras write into subfolders of a run."""
    with SummaryWriter(str(tmp_path / "a")) as writer:
        for epoch in range(3):
            writer.add_scalars("Acc", {"train": 0.5 + epoch / 10, "val": 0.4 + epoch / 10}, epoch)
            writer.add_scalar("Loss/val", 1.0 - epoch / 10, epoch)
        writer.add_hparams({"lr": 0.01, "opt": "adam"}, {"hparam/accuracy": 0.6})
    for split, first in (("train", 0.3), ("validation", 0.2)):
        with SummaryWriter(str(tmp_path / "keras" / split)) as writer:
            writer.add_scalar("epoch_accuracy", first, 0)
            writer.add_scalar("epoch_accuracy", first + 0.1, 1)
    first, second = read_event_runs(tmp_path)
    assert {quantity: [round(p.value, 4) for p in points] for quantity, points in first.curves.items()} == {
        LoggedQuantity(LOSS, VAL): [1.0, 0.9, 0.8],
        LoggedQuantity(ACCURACY, TRAIN): [0.5, 0.6, 0.7],
        VAL_ACCURACY: [0.4, 0.5, 0.6],
    }
    assert first.settings == {"lr": "0.01", "opt": "adam"}
    assert {quantity: [round(p.value, 4) for p in points] for quantity, points in second.curves.items()} == {
        LoggedQuantity(ACCURACY, TRAIN): [0.3, 0.4],
        VAL_ACCURACY: [0.2, 0.3],
    }
    assert [run.name for run in (first, second)] == ["a", "keras"]


def test_two_trainings_of_keras_in_one_folder(tmp_path: Path) -> None:
    for values in ([0.1, 0.2], [0.3, 0.4]):
        for split, offset in (("train", 0.0), ("validation", 0.5)):
            log_scalars(tmp_path / "k" / split, {step: value + offset for step, value in enumerate(values)},
                        tag="epoch_accuracy")  # fmt: skip
    first, second = read_event_runs(tmp_path)
    assert [round(point.value, 4) for point in first.curves[VAL_ACCURACY]] == [0.6, 0.7]
    assert [round(point.value, 4) for point in second.curves[LoggedQuantity(ACCURACY, TRAIN)]] == [0.3, 0.4]


def test_runs_that_have_the_name_of_a_split(tmp_path: Path) -> None:
    for name, value in (("test", 0.25), ("dev", 0.5)):
        log_scalars(tmp_path / name, {0: value})
    log_scalars(tmp_path / "other" / "train", {0: 0.75}, tag="accuracy")
    runs = {run.name: run for run in read_event_runs(tmp_path)}
    assert {name: steps_and_values(runs[name]) for name in ("test", "dev")} == {"test": {0: 0.25}, "dev": {0: 0.5}}
    assert set(runs) == {"test", "dev", "other/train"}


def test_records_that_are_no_events(tmp_path: Path) -> None:
    with EventFile(tmp_path / "events.out.tfevents.1.host") as file:
        file.write(b"\xff\xff no event")
        summary = Summary(value=[Summary.Value(tag="val_acc", simple_value=0.5)])
        file.write(Event(wall_time=1.7e12, step=1, summary=summary).SerializeToString())
    (run,) = read_event_runs(tmp_path)
    assert steps_and_values(run) == {1: 0.5}
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert ">50.0<" in text and assert_is_closed(text).scripts


def log_scalars(folder: Path, values: dict[int, float], tag: str = "val/acc", **options: int) -> None:
    """Write one event file with a scalar for each step."""
    writer = SummaryWriter(str(folder), filename_suffix=f".{random.random()}", **options)
    for step, value in values.items():
        writer.add_scalar(tag, value, step)
    writer.close()


def steps_and_values(run: LoggedRun) -> dict[int, float]:
    return {point.step: round(point.value, 4) for point in run.curves[VAL_ACCURACY]}


def test_file_that_starts_again_is_another_run(tmp_path: Path) -> None:
    log_scalars(tmp_path / "r", {0: 0.1, 1: 0.2})
    log_scalars(tmp_path / "r", {0: 0.3, 1: 0.4})
    first, second = read_event_runs(tmp_path)
    assert steps_and_values(first) == {0: 0.1, 1: 0.2}
    assert steps_and_values(second) == {0: 0.3, 1: 0.4}
    assert (first.name, second.name) == ("r (1)", "r (2)")


def test_continued_files_replace_later_steps(tmp_path: Path) -> None:
    log_scalars(tmp_path / "r", {0: 0.1, 1: 0.2, 2: 0.3})
    log_scalars(tmp_path / "r", {2: 0.5, 3: 0.6})
    log_scalars(tmp_path / "p", {0: 0.1, 1: 0.2, 2: 0.3})
    log_scalars(tmp_path / "p", {3: 0.6}, purge_step=2)
    continued, purged = read_event_runs(tmp_path)
    assert steps_and_values(continued) == {0: 0.1, 1: 0.2, 2: 0.5, 3: 0.6}
    assert steps_and_values(purged) == {0: 0.1, 1: 0.2, 3: 0.6}


def test_files_of_two_writers_are_one_run(tmp_path: Path) -> None:
    log_scalars(tmp_path, {0: 0.1, 1: 0.2})
    log_scalars(tmp_path, {0: 1.1, 1: 1.2}, tag="train/loss")
    (run,) = read_event_runs(tmp_path)
    assert set(run.curves) == {VAL_ACCURACY, LoggedQuantity(LOSS, TRAIN)}
    assert run.name == tmp_path.name


def test_values_that_are_not_finite_and_steps_that_repeat(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for value in (0.1, 0.2, 0.3):
            writer.add_scalar("val/acc", value)  # without a step
        for step, value in enumerate((2.0, math.nan, math.inf, 1.0)):
            writer.add_scalar("train/loss", value, step)
        for step, value in ((0, 9.0), (1, 8.0), (0, 3.0), (1, 2.0)):
            writer.add_scalar("val/loss", value, step)
    (run,) = read_event_runs(tmp_path)
    assert steps_and_values(run) == {0: 0.1, 1: 0.2, 2: 0.3}
    assert [(p.step, p.value) for p in run.curves[LoggedQuantity(LOSS, TRAIN)]] == [(0, 2.0), (3, 1.0)]
    assert [(p.step, p.value) for p in run.curves[LoggedQuantity(LOSS, VAL)]] == [(0, 3.0), (1, 2.0)]
    assert len(run.notes) == 2


@pytest.mark.parametrize("cut", [1, 4, 9, 30])
def test_incomplete_file_is_read_up_to_its_end(tmp_path: Path, cut: int) -> None:
    log_scalars(tmp_path, {0: 0.1, 1: 0.2, 2: 0.3})
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-cut])
    (run,) = read_event_runs(tmp_path)
    assert steps_and_values(run) == {0: 0.1, 1: 0.2}
    assert len(run.notes) == 1


def test_changed_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "events"
    with EventFile(path) as file:
        for number in range(3):
            file.write(bytes([number]) * 10)
    whole = path.read_bytes()
    assert list(read_records(path)) == [bytes([number]) * 10 for number in range(3)]
    for position in range(26, 52):  # of the second record
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        read = []
        with pytest.raises(EventFileError) as error:
            read.extend(read_records(path))
        assert error.value.position == 26


def test_values_as_tensors(tmp_path: Path) -> None:
    """TensorFlow 2 stores scalars and histograms as tensors."""

    def value(tag: str, plugin: str, content: object) -> Summary.Value:
        metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin))
        return Summary.Value(tag=tag, tensor=make_tensor_proto(content), metadata=metadata)

    with EventFile(tmp_path / "events.out.tfevents.1.host") as file:
        for step in range(2):
            bins = np.stack([np.arange(4.0), np.arange(1.0, 5.0), np.full(4, 16.0)], axis=1)
            values = [value("val_acc", "scalars", np.float32(0.5 + step / 4)), value("fc/kernel", "histograms", bins)]
            file.write(Event(wall_time=5.0 + step, step=step, summary=Summary(value=values)).SerializeToString())
    (run,) = read_event_runs(tmp_path)
    assert run.curves[VAL_ACCURACY] == [Point(0, 0.0, 0.5), Point(1, 1.0, 0.75)]
    assert run.snapshots[1].weights["fc.kernel"].counts == [1] * 64


def test_accuracies_in_per_cent(tmp_path: Path) -> None:
    log_scalars(tmp_path, {0: 0.9, 1: 61.5})
    (run,) = read_event_runs(tmp_path)
    assert steps_and_values(run) == {0: 0.009, 1: 0.615}


def test_units_of_a_run_may_differ(tmp_path: Path) -> None:
    log_scalars(tmp_path, {0: 81.0})
    log_scalars(tmp_path, {0: 0.875}, tag="train/acc")
    (run,) = read_event_runs(tmp_path)
    values = {quantity.split: round(points[0].value, 4) for quantity, points in run.curves.items()}
    assert values == {VAL: 0.81, TRAIN: 0.875}


def logged(curves: dict[LoggedQuantity, list[tuple[int, float]]]) -> LoggedRun:
    return LoggedRun(
        verbatim("r"), Path("r"), curves={key: [Point(s, 0.0, v) for s, v in points] for key, points in curves.items()}
    )


@pytest.mark.parametrize(
    ("evaluations", "expected"),
    [
        ([0, 1, 2], [1, 2, 3]),
        ([1, 2, 3], [1, 2, 3]),
        ([5, 6, 7], [5, 6, 7]),
        ([47, 94, 141], [1, 2, 3]),
        ([0, 100, 200], [0, 1, 2]),
        ([47], [1]),
    ],
)
def test_epochs_of_evaluations(evaluations: list[int], expected: list[float]) -> None:
    run = logged({VAL_ACCURACY: [(step, 0.5) for step in evaluations]})
    assert [epoch for epoch, _value in run.by_epoch(VAL_ACCURACY)] == expected


def test_curve_of_steps_ends_with_the_epochs() -> None:
    """A training loss at every step is stretched over the epochs, whether val counts epochs or steps."""
    loss = LoggedQuantity(LOSS, TRAIN)
    losses = [(step, 1.0) for step in range(100)]
    by_epoch = logged({VAL_ACCURACY: [(step, 0.5) for step in range(10)], loss: losses}).by_epoch(loss)
    assert by_epoch[0] == (0.1, 1.0)
    assert by_epoch[-1] == (10.0, 1.0)
    at_epoch_ends = [(step, 1.0) for step in range(500, 3000, 500)]
    by_end = logged({VAL_ACCURACY: [(step, 0.5) for step in range(1, 6)], loss: at_epoch_ends}).by_epoch(loss)
    assert [round(epoch, 1) for epoch, _value in by_end] == [1, 2, 3, 4, 5]
    by_step = logged({VAL_ACCURACY: [(10 * step, 0.5) for step in range(1, 11)], loss: losses}).by_epoch(loss)
    assert by_step[5] == (0.5, 1.0)
    assert by_step[-1] == (9.9, 1.0)


@pytest.mark.parametrize(
    ("tag", "quantity"),
    [
        ("Loss/train", LoggedQuantity(LOSS, TRAIN)),
        ("train_loss", LoggedQuantity(LOSS, TRAIN)),
        ("trainLoss", LoggedQuantity(LOSS, TRAIN)),
        ("Train Acc@1", LoggedQuantity(ACCURACY, TRAIN)),
        ("val/accuracy_top1", VAL_ACCURACY),
        ("Top-1 Acc/val", VAL_ACCURACY),
        ("Accuracy/Validation", VAL_ACCURACY),
        ("测试准确率", LoggedQuantity(ACCURACY, TEST)),
        ("epoch_loss", LoggedQuantity(LOSS, UNNAMED)),
        ("Learning rate", Rate("")),
        ("lr-SGD/pg1", Rate("sgd pg1")),
        ("train/learning_rate", Rate("")),
        ("eval/accuracy", VAL_ACCURACY),
        ("metrics/accuracy_top1", LoggedQuantity(ACCURACY, UNNAMED)),
        ("val/top5", None),
        ("Best Acc", None),
        ("loser", None),
    ],
)
def test_meaning_of_a_tag(tag: str, quantity: LoggedQuantity | Rate | None) -> None:
    match = match_curve(tag, {})
    assert (match.meaning if match else None) == quantity


@pytest.mark.parametrize(
    ("tag", "kind", "layer"),
    [
        ("conv1.weight", "weights", "conv1"),
        ("weights/conv1", "weights", "conv1"),
        ("conv1", "weights", "conv1"),
        ("layer1.0.conv1.weight", "weights", "layer1.0.conv1"),
        ("conv1.weight.grad", "gradients", "conv1"),
        ("conv1.weight_grad", "gradients", "conv1"),
        ("grad_conv1.weight", "gradients", "conv1"),
        ("Gradients/conv1.weight", "gradients", "conv1"),
        ("conv1.bias", "weights", "conv1.bias"),
        ("grad/fc.bias", "gradients", "fc.bias"),
    ],
)
def test_layer_of_a_tag(tag: str, kind: str, layer: str) -> None:
    assert match_layer(tag) == Layer(kind, layer)  # type: ignore[arg-type]


@pytest.mark.parametrize("title", ["Training vs. Validation Loss", "train_val_loss", "Loss"])
def test_series_of_add_scalars_name_the_split(title: str, tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalars(title, {"train": 0.5, "val": 0.75}, 1)
    (run,) = read_event_runs(tmp_path)
    assert {quantity: points[0].value for quantity, points in run.curves.items()} == {
        LoggedQuantity(LOSS, TRAIN): 0.5,
        LoggedQuantity(LOSS, VAL): 0.75,
    }


def test_tags_that_fit_equally_well_are_not_read(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for name in ("class0", "class1"):
            writer.add_scalar(f"Accuracy/val_{name}", 0.5, 1)
        writer.add_scalar("Loss/val", 1.0, 1)
    (run,) = read_event_runs(tmp_path)
    assert list(run.curves) == [LoggedQuantity(LOSS, VAL)]
    assert run.other_tags == ["Accuracy/val_class0", "Accuracy/val_class1"]
    assert len(run.notes) == 1


def test_one_test_value_does_not_change_the_epochs(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for epoch in range(5):
            writer.add_scalar("Accuracy/val", 0.5, epoch)
        writer.add_scalar("Accuracy/test", 0.65, 5)
    (run,) = read_event_runs(tmp_path)
    assert [epoch for epoch, _value in run.by_epoch(VAL_ACCURACY)] == [1, 2, 3, 4, 5]


def test_equal_folder_names(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        log_scalars(tmp_path / parent / "Oct20_14-44-12_pc1", {0: 0.5})
    log_scalars(tmp_path / "Oct20_14-44-13_pc2", {0: 0.5})
    log_scalars(tmp_path / "Oct20_14-44-14_pc2", {0: 0.5})
    assert {run.name for run in read_event_runs(tmp_path)} == {
        "a/Oct20_14-44-12_pc1",
        "b/Oct20_14-44-12_pc1",
        "pc2, Oct 20 14:44:13",
        "pc2, Oct 20 14:44:14",
    }


def test_layers_in_the_order_of_the_file_and_constant_ones(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for name in ("conv1", "bn1", "layer2", "layer10", "fc"):
            writer.add_histogram(f"{name}.weight", torch.ones(8) if name == "bn1" else torch.arange(8.0), 1)
    (data,) = re.findall(r'<script id="snapshots" type="application/json">(.*?)</script>',
                         write_report(tmp_path).read_text(encoding="utf-8"))  # fmt: skip
    ((run),) = json.loads(data)
    assert list(run["weights"]) == ["conv1", "bn1", "layer2", "layer10", "fc"]
    constant = run["weights"]["bn1"]
    heights = np.frombuffer(base64.b64decode(constant["rows"]), np.uint8)
    assert constant["low"] < 1 < constant["high"]
    assert np.count_nonzero(heights) == 1 and heights.max() == 255


def test_train_loss_without_another_loss_is_drawn(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for epoch in range(3):
            writer.add_scalar("Loss/train", 1.25, epoch)
            writer.add_scalar("Accuracy/val", 0.5, epoch)
    text = write_report(tmp_path).read_text(encoding="utf-8")
    (section,) = re.findall(r'<section id="splits".*?</section>', text, re.DOTALL)
    assert ">1.25<" in section


def test_rule_for_a_tag_that_no_run_has(tmp_path: Path) -> None:
    log_scalars(tmp_path, {0: 0.25}, tag="holdout/hits")
    with pytest.raises(UsageError) as error:
        write_report(tmp_path, ["val accuracy=holdout/hist"])
    assert "holdout/hits" in error.value.hint


def test_event_files_without_values_and_other_commands(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1.host").write_bytes(b"random bytes" * 9)
    with pytest.raises(DataError, match="no scalars"):
        write_report(tmp_path)
    with pytest.raises(DataError, match="is a file"):
        write_report(tmp_path / "events.out.tfevents.1.host")


def test_epoch_tags_are_preferred_to_step_tags(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(4):
            writer.add_scalar("train/loss_step", 9.0, step)
        writer.add_scalar("train/loss", 1.0, 0)
    (run,) = read_event_runs(tmp_path)
    assert [point.value for point in run.curves[LoggedQuantity(LOSS, TRAIN)]] == [1.0]
    assert run.other_tags == ["train/loss_step"]


def test_rules_of_the_user(tmp_path: Path) -> None:
    log_scalars(tmp_path, {0: 0.25}, tag="holdout/hits")
    log_scalars(tmp_path, {0: 0.75}, tag="alpha/eta")
    (run,) = read_event_runs(tmp_path, parse_tag_rules(["val accuracy = holdout/*", "learning rate=alpha/eta"]))
    assert run.curves[VAL_ACCURACY][0].value == 0.25
    assert run.rates[""][0].value == 0.75
    (without,) = read_event_runs(tmp_path)
    assert without.other_tags == ["alpha/eta", "holdout/hits"]
    assert not without.curves


@pytest.mark.parametrize("rule", ["val accuracy", "val=x", "=x", "val accuracy="])
def test_unknown_rule(rule: str) -> None:
    with pytest.raises(UsageError):
        parse_tag_rules([rule])


def test_page_of_logged_runs(
    exercise: tuple[Path, list[dict[str, list[float]]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The page has curves, both splits, rates, histograms and sources, and the values of the files."""
    folder, values = exercise
    main(["report", str(folder)])
    text = Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8")
    assert re.findall(r'<section id="(\w+)"', text) == ["curves", "splits", "rates", "histograms", "how"]
    for run in values:
        assert f">{100 * run['Accuracy/val'][-1]:.1f}<" in text
    (data,) = re.findall(r'<script id="snapshots" type="application/json">(.*?)</script>', text)
    histograms = json.loads(data)
    assert [run["weights"]["conv1"]["steps"] for run in histograms] == [list(range(EPOCHS))] * len(values)


def test_own_runs_beside_logged_ones(tmp_path: Path) -> None:
    own = train(tmp_path, **SETTINGS)
    log_scalars(tmp_path / "other", {0: 0.9, 1: 0.95})
    assert [run.folder.name for run in read_event_runs(tmp_path)] == ["other"]
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert re.findall(r'<section id="(\w+)"', text) == ["curves", "splits", "rates", "histograms", "health", "how"]
    assert own.name in text and "other" in text


def test_folder_without_event_files(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1.host").touch()
    assert read_event_runs(tmp_path) == []
    with pytest.raises(DataError):
        write_report(tmp_path)
