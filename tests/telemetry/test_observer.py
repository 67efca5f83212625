"""Tests of the observers: measurements are correct, happen at the right steps, and change nothing."""

import io
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from tensorboard.summary.writer.record_writer import RecordWriter

from headstart.analysis.confusion import MAX_SHOWN_CLASSES, shown_classes
from headstart.artifacts import predictions
from headstart.config.run_config import RunConfig
from headstart.metrics.confusion_counts import ConfusionCounts
from headstart.models import structure
from headstart.storage.journal import Journal
from headstart.storage.schemas.metrics import (
    BeginLine,
    EndLine,
    EpochLine,
    Histogram,
    ImageLine,
    Line,
    SnapshotLine,
    StoppedLine,
    TimedLine,
)
from headstart.telemetry import tensorboard
from headstart.telemetry.cadence import probe_is_due, snapshot_is_due
from headstart.telemetry.confusion_image import confusion_picture
from headstart.telemetry.event_file import EventFile
from headstart.telemetry.observer import Observer
from headstart.telemetry.tensor_stats import BINS, TensorSnapshot, histogram
from headstart.training import loop, scoring
from headstart.training.state import State
from tests.handmade import counts_of, evaluation, snapshot_line, table_of, write_run_files
from tests.short_runs import prepared
from tests.tensorboard_server import CONFIGURATION_PLUGINS, points

FINITE = arrays.arrays(
    np.float32,
    arrays.array_shapes(max_dims=4, max_side=8),
    elements=st.one_of(
        st.floats(width=32, allow_nan=False, allow_infinity=False),
        st.floats(-1, 1, width=32),
        st.sampled_from([0.0, 1.0]),
    ),
)


def check_against_numpy(result: Histogram, values: np.ndarray) -> None:
    """Check numpy's edges, all n values, and the number of values below each edge.

    The bin of a value is computed in float32: a value within some ulps of an edge may be counted on its other side.
    """
    values = values.astype(np.float64).ravel()
    assert result.n == values.size == sum(result.counts)
    assert (result.low, result.high) == (values.min(), values.max())
    assert result.sum == pytest.approx(values.sum(), rel=1e-4, abs=1e-5 * np.abs(values).sum())
    assert result.sum_squares == pytest.approx(np.square(values).sum(), rel=1e-4)
    if result.low == result.high:
        assert result.counts == [values.size]
        return
    counts, edges = np.histogram(values, BINS, (result.low, result.high))
    assert len(result.counts) == len(counts)
    slack = 1e-6 * max(abs(result.low), abs(result.high), result.high - result.low)
    for edge, below in zip(edges[1:-1], np.cumsum(result.counts), strict=False):
        assert (values < edge - slack).sum() <= below <= (values < edge + slack).sum()


@given(FINITE)
@settings(deadline=None, max_examples=200)
def test_histogram_equals_numpy(values: np.ndarray) -> None:
    check_against_numpy(histogram(torch.from_numpy(values)), values)


def test_histogram_of_weights_differs_from_numpy_by_at_most_4_counts() -> None:
    values = np.random.default_rng(0).normal(0, 0.02, (64, 64, 3, 3)).astype(np.float32)
    result = histogram(torch.from_numpy(values).to(memory_format=torch.channels_last))
    check_against_numpy(result, values)
    counts, _ = np.histogram(values.astype(np.float64), BINS)
    assert np.abs(counts - result.counts).sum() <= 4


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 3e38])
def test_histogram_of_tiny_and_huge_values(scale: float) -> None:
    values = (np.array([-1, -0.5, 0, 0.25, 1]) * scale).astype(np.float32)
    check_against_numpy(histogram(torch.from_numpy(values)), values)


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5, 1e-38])
def test_histogram_of_equal_values(value: float) -> None:
    check_against_numpy(histogram(torch.full((3, 4), value)), np.full(12, value, np.float32))


def test_histogram_of_an_empty_tensor() -> None:
    assert histogram(torch.empty(0, 3)) == Histogram(low=0, high=0, n=0, sum=0, sum_squares=0, counts=[])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_histogram_counts_values_that_are_not_finite_separately(bad: float) -> None:
    result = histogram(torch.tensor([1.0, bad, 2.0, bad, 4.0]))
    assert result.not_finite == 2
    check_against_numpy(result, np.array([1.0, 2.0, 4.0]))
    empty = histogram(torch.full((4,), bad))
    assert empty.not_finite == 4 and empty.n == 0 and empty.counts == []


def test_histogram_of_bfloat16() -> None:
    values = torch.randn(500, generator=torch.Generator().manual_seed(0)).bfloat16()
    check_against_numpy(histogram(values), values.float().numpy())


def test_histogram_accepts_any_layout_and_does_not_change_the_tensor() -> None:
    tensor = torch.randn(4, 6, 3, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    copy = tensor.detach().clone()
    expected = histogram(tensor).counts
    assert torch.equal(tensor, copy)
    for view in (tensor.transpose(0, 3), tensor.to(memory_format=torch.channels_last), tensor.flatten()):
        assert histogram(view).counts == expected
    assert histogram(tensor[:, ::2]).n == tensor.numel() // 2  # not dense: copied


def small_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 5)
    )


def test_snapshot_equals_numpy() -> None:
    network, rate = small_network(), 0.1
    images, labels = torch.randn(6, 3, 8, 8), torch.arange(6) % 5
    optimizer = torch.optim.SGD(network.parameters(), rate)
    F.cross_entropy(network(images), labels).backward()
    layers = structure.layer_names(network)
    assert layers == ["0", "3"]
    before = {name: network.get_parameter(f"{name}.weight").detach().double().numpy().copy() for name in layers}
    grads = {name: network.get_parameter(f"{name}.weight").grad.double().numpy().copy() for name in layers}
    snapshot = TensorSnapshot(network, layers)
    snapshot.measure_gradients()
    optimizer.step()
    snapshot.measure_weights()
    line = snapshot.line(1, 1)
    for name in layers:
        norm = np.sqrt(np.square(grads[name]).sum())
        after = network.get_parameter(f"{name}.weight").detach().double().numpy()
        assert line.gradient_norm[name] == pytest.approx(norm, rel=1e-5)
        assert line.update_ratio[name] == pytest.approx(rate * norm / np.sqrt(np.square(before[name]).sum()), rel=1e-4)
        check_against_numpy(line.gradients[name], grads[name])
        check_against_numpy(line.weights[name], after)
        assert not np.array_equal(after, before[name])


def test_snapshot_of_frozen_layers_has_weights_and_no_gradients() -> None:
    network = small_network()
    network[0].requires_grad_(False)
    F.cross_entropy(network(torch.randn(2, 3, 8, 8)), torch.tensor([0, 1])).backward()
    snapshot = TensorSnapshot(network, ["0", "3"])
    snapshot.measure_gradients()
    snapshot.measure_weights()
    line = snapshot.line(1, 1)
    assert list(line.gradients) == list(line.gradient_norm) == list(line.update_ratio) == ["3"]
    assert list(line.weights) == ["0", "3"]


def test_gradient_that_is_not_finite_has_no_norm() -> None:
    network = small_network()
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, math.nan)
    snapshot = TensorSnapshot(network, ["0"])
    snapshot.measure_gradients()
    with torch.no_grad():
        network[0].weight.fill_(math.inf)
    snapshot.measure_weights()
    line = snapshot.line(1, 1)
    assert line.gradient_norm == {"0": None} and line.update_ratio == {"0": None}
    assert line.gradients["0"].not_finite == network[0].weight.numel()


@given(st.integers(1, 3000), st.integers(1, 400), st.data())
def test_snapshots_are_taken_at_powers_of_two_and_at_ends_of_epochs(
    total: int, per_epoch: int, data: st.DataObject
) -> None:
    due = [step for step in range(1, total + 1) if snapshot_is_due(step, per_epoch, total)]
    assert total in due and 1 in due
    assert set(range(per_epoch, total + 1, per_epoch)) <= set(due)
    log_spaced = [step for step in due if step % per_epoch and step != total]
    assert log_spaced == [2**k for k in range(12) if 2**k < min(per_epoch, total)]
    assert len(due) <= total // per_epoch + 1 + math.ceil(math.log2(per_epoch + 1))
    step = data.draw(st.integers(1, total))
    assert snapshot_is_due(step, per_epoch, total) == (step in due)  # a pure function without state


@given(st.integers(1, 400), st.integers(1, 300), st.integers(1, 20))
def test_probes_are_taken_at_ends_of_epochs_after_at_least_2000_images(per_epoch: int, batch: int, epochs: int) -> None:
    """Probes run at the ends of epochs, the last included, after at least 2,000 images: a probe costs 1 % of those."""
    total = per_epoch * epochs
    due = [step for step in range(1, total + 1) if probe_is_due(step, per_epoch, total, batch)]
    assert due[-1] == total and all(step % per_epoch == 0 for step in due)
    gaps = np.diff([0, *due[:-1]]) * batch
    assert all(2000 <= gap < 2000 + per_epoch * batch for gap in gaps)


def make_observer(setup) -> Observer:
    return Observer(setup, structure.layer_names(setup.network))


def train(setup, *, observe: bool) -> tuple[State, list[Line]]:
    torch.set_num_threads(setup.plan.machine.threads)
    state, observer, lines = loop.initial_state(setup.context), make_observer(setup), []
    for event in loop.train(setup.context, state):
        if observe:
            lines += observer.lines(event)
    return state, lines


SHORT = {"source": "digits:0-1", "network": "resnet20", "batch_size": 32, "epochs": "12st"}


@pytest.fixture(scope="module")
def run_lines() -> list[Line]:
    """The lines of a short run."""
    return train(prepared(**SHORT), observe=True)[1]


def test_observing_does_not_change_training() -> None:
    settings = {**SHORT, "optimizer": "adam", "tuning": "lp-ft", "head_epochs": "4st"}
    observed, lines = train(prepared(**settings), observe=True)
    unobserved, no_lines = train(prepared(**settings), observe=False)
    assert no_lines == [] and [line.step for line in lines if isinstance(line, SnapshotLine)] == [1, 2, 4, 8, 12]
    first, second = observed.network.state_dict(), unobserved.network.state_dict()
    assert first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
    slots, others = (s.optimizer.state_dict()["state"] for s in (observed, unobserved))
    assert slots.keys() == others.keys()
    assert all(torch.equal(slots[i][n], others[i][n]) for i in slots for n in slots[i])


def test_lines_agree_with_the_steps_and_epochs_of_the_run() -> None:
    setup = prepared(**SHORT, tuning="frozen")
    state, lines = train(setup, observe=True)
    kinds = [line.kind for line in lines]
    assert kinds.count("step") == 12 and kinds.count("epoch") == 2 and kinds.count("freeze_check") == 1
    snapshot = next(line for line in lines if isinstance(line, SnapshotLine))
    assert list(snapshot.weights) == structure.layer_names(state.network)
    assert list(snapshot.gradients) == list(snapshot.update_ratio) == ["fc"]
    epoch = next(line for line in lines if isinstance(line, EpochLine))
    assert epoch.confusion.images == epoch.val.n == len(setup.context.val)
    assert epoch.confusion.correct == round(epoch.val.accuracy * epoch.val.n)
    times = [line.time for line in lines if isinstance(line, TimedLine)]
    assert times == sorted(times)


def test_confusion_counts_true_by_predicted() -> None:
    logits = np.eye(3, dtype=np.float32)[[0, 1, 1, 2]]
    score = scoring.score(logits, np.array([0, 0, 1, 1]))
    assert table_of(score.counts) == [[1, 1, 0], [0, 1, 1], [0, 0, 0]] and score.accuracy == 0.5


# --- event files -------------------------------------------------------------------------------------------------


def run_folder(folder: Path, lines: list[Line]) -> Path:
    """Write the plan, the picture of training samples and the record of a run."""
    (folder / "artifacts").mkdir(parents=True)
    write_run_files(folder, RunConfig().changed(class_names=("zero", "one")))
    Image.new("RGB", (4, 3), (10, 20, 30)).save(folder / "artifacts" / "samples.png")
    with Journal(folder / "metrics.jsonl") as journal:
        for line in lines:
            journal.append(line)
    return folder


BEGIN = [BeginLine(time=1000.0), ImageLine(tag="samples/train", file="artifacts/samples.png")]
END = [EndLine(step=12, epoch=2, val=evaluation(0.75, 4), test=evaluation(0.7))]


def test_equal_lines_give_equal_points(tmp_path: Path, run_lines: list[Line]) -> None:
    folder = run_folder(tmp_path / "run", [*BEGIN, *run_lines, *END])
    with tensorboard.TensorBoard(folder, {"lr": 0.1, "flip": "on", "start": "scratch"}) as live:
        for line in [*BEGIN, *run_lines, *END]:
            live.write(line)
    first = points(folder)
    for _ in range(2):
        tensorboard.rebuild_event_file(folder, {"lr": 0.1, "flip": "on", "start": "scratch"}).close()
        assert points(folder) == first
    plain = [(tag, step) for tag, step, _, plugin, _ in first if plugin not in CONFIGURATION_PLUGINS]
    assert len(plain) == len(set(plain)) > 200
    times = {tag: time for tag, _, time, _, _ in first}
    assert times["samples/train"] == 1000.0  # the time of the event, not of the rebuild
    assert times["accuracy/test"] == times["accuracy/val"] == run_lines[-1].time
    assert {tag: content for tag, _, _, _, content in first}["accuracy/best"] == "0.75"


@given(st.lists(st.binary(max_size=5000), max_size=8))
def test_event_file_equals_the_one_of_tensorboards_writer(records: list[bytes]) -> None:
    expected = io.BytesIO()
    for data in records:
        RecordWriter(expected).write(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events"
        with EventFile(path) as file:
            for data in records:
                file.write(data)
        assert path.read_bytes() == expected.getvalue()


def test_first_lines_of_a_record_give_the_first_points(tmp_path: Path, run_lines: list[Line]) -> None:
    folder = run_folder(tmp_path / "run", [*BEGIN, *run_lines])
    tensorboard.rebuild_event_file(folder, {}).close()
    all_points = points(folder)
    tensorboard.rebuild_event_file(folder, {}, [*BEGIN, *run_lines][:9]).close()
    first_points = points(folder)
    assert first_points == all_points[: len(first_points)] and len(first_points) < len(all_points)


def test_histogram_buckets_match_the_counts(tmp_path: Path) -> None:
    values = torch.linspace(-3, 5, 1000)
    lines = [
        snapshot_line(step, weights={"w": histogram(tensor)}, gradient_norm={"w": None})
        for step, tensor in enumerate([values, torch.ones(7), torch.empty(0)])
    ]
    folder = run_folder(tmp_path / "run", lines)
    tensorboard.rebuild_event_file(folder, {}).close()
    buckets_by_step = [
        (step, np.array(eval(content))) for tag, step, _, _, content in points(folder) if tag == "weights/w"
    ]
    assert [step for step, _ in buckets_by_step] == [0, 1]  # an empty histogram has no point
    (_, buckets), (_, single) = buckets_by_step
    counts, edges = np.histogram(values.double().numpy(), BINS)
    assert buckets[:, 0] == pytest.approx(edges[:-1], abs=1e-6) and buckets[:, 1] == pytest.approx(edges[1:], abs=1e-6)
    assert np.abs(buckets[:, 2] - counts).max() <= 1
    assert single[:, 2].tolist() == [7.0] and single[0, 0] == 1 and single[0, 1] == pytest.approx(1, abs=1e-6)
    assert [content for tag, _, _, _, content in points(folder) if tag == "gradient_norm/w"] == ["nan"] * 3


def test_lines_of_other_kinds_are_ignored(tmp_path: Path) -> None:
    with tensorboard.rebuild_event_file(tmp_path, {"lr": 0.1}) as writer:
        writer.write(BeginLine(time=1.0))
        writer.write(StoppedLine(step=1, signal="SIGINT"))
    assert {plugin for _, _, _, plugin, _ in points(tmp_path)} == {"hparams", "custom_scalars"}


def test_empty_record_has_no_points(tmp_path: Path) -> None:
    tensorboard.rebuild_event_file(tmp_path, {"lr": 0.1}).close()
    assert {plugin for _, _, _, plugin, _ in points(tmp_path)} == {"hparams", "custom_scalars"}


# --- images ------------------------------------------------------------------------------------------------------


def cell_colors(picture: np.ndarray, classes: int, cell: int) -> np.ndarray:
    """Return the color in a corner of each cell [classes, classes, 3]; cells are located from the lower right."""
    margin = picture.shape[0] - 8 - classes * cell
    corners = margin + 2 + np.arange(classes) * cell
    return picture[np.ix_(corners, corners)]


@pytest.mark.parametrize("names", [(), ("cat", "dog", "a very long name of a class of things"), ("кот", "", "猫")])
def test_confusion_picture_shades_shares_of_rows(names: tuple[str, ...]) -> None:
    counts = np.array([[90, 0, 10], [0, 0, 0], [5, 0, 15]])
    picture = np.asarray(confusion_picture(counts_of(counts.tolist()), names).convert("RGB"))
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[0] == picture.shape[1]
    white, ink = np.array([255, 255, 255]), np.array([0, 114, 178])
    shares = np.array([[0.9, 0, 0.1], [0, 0, 0], [0.25, 0, 0.75]])
    expected = white + (ink - white) * shares[..., None]
    assert np.abs(cell_colors(picture, 3, 48) - expected).max() <= 255 / 40 / 2 + 0.5  # 40 steps of a share
    dark = (picture < 100).all(axis=2)
    assert dark[:, : picture.shape[1] - 8 - 3 * 48].any()  # names at the rows
    assert dark[-8 - 2 * 48 : -8 - 48].any()  # a row without images has zeros


@pytest.mark.parametrize("classes", [1, 2, 21, 22, 30, 31, 1000, 20_000])
def test_confusion_picture_of_any_size(classes: int) -> None:
    counts = ConfusionCounts.of_labels(range(classes), [0] * classes, classes)
    picture = confusion_picture(counts, [f"class {i}" for i in range(classes)])
    assert max(picture.size) <= 1100
    assert (picture.height > picture.width) == (classes > MAX_SHOWN_CLASSES)


def test_confusion_picture_of_many_classes_is_that_of_the_most_confused() -> None:
    """The cells are those of a matrix of these classes alone; a line below says how many are left out."""
    classes = MAX_SHOWN_CLASSES + 5
    labels = np.repeat(np.arange(classes), 10)
    predicted = labels.copy()
    predicted[50::10] = 0  # classes 5 and above are confused with class 0, which 1 to 4 are not
    counts = ConfusionCounts.of_labels(labels, predicted, classes)
    names = [str(label) for label in range(classes)]
    shown = shown_classes(counts)
    part = counts_of(counts.block(shown).tolist())
    whole = np.asarray(confusion_picture(counts, names).convert("RGB"))
    alone = np.asarray(confusion_picture(part, [names[label] for label in shown]).convert("RGB"))
    height, width = alone.shape[0] - 8, alone.shape[1] - 8
    assert np.array_equal(whole[:height, :width], alone[:height, :width])
    assert whole.shape[0] > alone.shape[0] and (whole[height + 1 :] < 100).any()


def test_samples_are_the_images_of_the_first_batch(tmp_path: Path) -> None:
    setup = prepared(image_size=24)
    assert predictions.write_samples(tmp_path, predictions.render_samples(setup.context)) == "artifacts/samples.jpg"
    images, _ = setup.context.batches.batch(0, 0)
    picture = np.asarray(Image.open(io.BytesIO((tmp_path / "artifacts/samples.jpg").read_bytes())))
    assert images.shape == (8, 3, 24, 24) and picture.shape == (
        50,
        8 * 50,
        3,
    )  # each image at twice its size, and a gap
    for index, image in enumerate(images):
        tile = picture[:48:2, index * 50 : index * 50 + 48 : 2]
        assert np.abs(tile.astype(int) - image.permute(1, 2, 0).numpy()).mean() < 4  # JPEG
