"""The observers: what they count is right, they look when they should, and they change nothing."""

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

from headstart.artifacts import predictions
from headstart.models import structure
from headstart.storage.files import write_json
from headstart.storage.journal import Journal
from headstart.telemetry import tensorboard
from headstart.telemetry.cadence import is_due, probe_is_due
from headstart.telemetry.confusion_image import confusion_picture
from headstart.telemetry.event_file import EventFile
from headstart.telemetry.observer import Observer
from headstart.telemetry.tensor_stats import BINS, TensorSnapshot, histogram
from headstart.training import loop, scoring
from headstart.training.scoring import confusion
from headstart.training.state import State
from tests.boards import CONFIGURATION, points
from tests.short_runs import prepared

FINITE = arrays.arrays(
    np.float32,
    arrays.array_shapes(max_dims=4, max_side=8),
    elements=st.one_of(
        st.floats(width=32, allow_nan=False, allow_infinity=False),
        st.floats(-1, 1, width=32),
        st.sampled_from([0.0, 1.0]),
    ),
)


def check_against_numpy(found: dict, values: np.ndarray) -> None:
    """numpy's edges, all n values, and each edge crossed by as many values as numpy says.

    The place of a value is computed in float32: one within some ulps of an edge may fall on its other side.
    """
    values = values.astype(np.float64).ravel()
    assert found["n"] == values.size == sum(found["counts"])
    assert (found["low"], found["high"]) == (values.min(), values.max())
    assert found["sum"] == pytest.approx(values.sum(), rel=1e-4, abs=1e-5 * np.abs(values).sum())
    assert found["sum_squares"] == pytest.approx(np.square(values).sum(), rel=1e-4)
    if found["low"] == found["high"]:
        assert found["counts"] == [values.size]
        return
    counts, edges = np.histogram(values, BINS, (found["low"], found["high"]))
    assert len(found["counts"]) == len(counts)
    slack = 1e-6 * max(abs(found["low"]), abs(found["high"]), found["high"] - found["low"])
    for edge, below in zip(edges[1:-1], np.cumsum(found["counts"]), strict=False):
        assert (values < edge - slack).sum() <= below <= (values < edge + slack).sum()


@given(FINITE)
@settings(deadline=None, max_examples=200)
def test_a_histogram_is_numpys(values: np.ndarray) -> None:
    check_against_numpy(histogram(torch.from_numpy(values)), values)


def test_a_histogram_of_real_weights_is_numpys_to_the_count() -> None:
    values = np.random.default_rng(0).normal(0, 0.02, (64, 64, 3, 3)).astype(np.float32)
    found = histogram(torch.from_numpy(values).to(memory_format=torch.channels_last))
    check_against_numpy(found, values)
    counts, _ = np.histogram(values.astype(np.float64), BINS)
    assert np.abs(counts - found["counts"]).sum() <= 4


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 3e38])
def test_vanished_and_exploded_values_are_counted_too(scale: float) -> None:
    values = (np.array([-1, -0.5, 0, 0.25, 1]) * scale).astype(np.float32)
    check_against_numpy(histogram(torch.from_numpy(values)), values)


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5, 1e-38])
def test_a_histogram_of_equal_values(value: float) -> None:
    check_against_numpy(histogram(torch.full((3, 4), value)), np.full(12, value, np.float32))


def test_a_histogram_of_nothing() -> None:
    assert histogram(torch.empty(0, 3)) == {
        "low": 0.0, "high": 0.0, "n": 0, "sum": 0.0, "sum_squares": 0.0, "counts": []
    }  # fmt: skip


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_numbered_apart(bad: float) -> None:
    found = histogram(torch.tensor([1.0, bad, 2.0, bad, 4.0]))
    assert found.pop("not_finite") == 2
    check_against_numpy(found, np.array([1.0, 2.0, 4.0]))
    nothing = histogram(torch.full((4,), bad))
    assert nothing["not_finite"] == 4 and nothing["n"] == 0 and nothing["counts"] == []


def test_a_histogram_of_half_precision() -> None:
    values = torch.randn(500, generator=torch.Generator().manual_seed(0)).bfloat16()
    check_against_numpy(histogram(values), values.float().numpy())


def test_a_histogram_leaves_the_tensor_alone_and_takes_any_layout() -> None:
    tensor = torch.randn(4, 6, 3, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    copy = tensor.detach().clone()
    expected = histogram(tensor)["counts"]
    assert torch.equal(tensor, copy)
    for view in (tensor.transpose(0, 3), tensor.to(memory_format=torch.channels_last), tensor.flatten()):
        assert histogram(view)["counts"] == expected
    assert histogram(tensor[:, ::2])["n"] == tensor.numel() // 2  # not dense: a copy is made


def small_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 5)
    )


def test_a_look_is_what_one_computes_by_hand() -> None:
    network, rate = small_network(), 0.1
    images, labels = torch.randn(6, 3, 8, 8), torch.arange(6) % 5
    optimizer = torch.optim.SGD(network.parameters(), rate)
    F.cross_entropy(network(images), labels).backward()
    layers = structure.layer_names(network)
    assert layers == ["0", "3"]
    before = {name: network.get_parameter(f"{name}.weight").detach().double().numpy().copy() for name in layers}
    grads = {name: network.get_parameter(f"{name}.weight").grad.double().numpy().copy() for name in layers}
    look = TensorSnapshot(network, layers)
    look.gradients()
    optimizer.step()
    look.weights()
    for name in layers:
        norm = np.sqrt(np.square(grads[name]).sum())
        after = network.get_parameter(f"{name}.weight").detach().double().numpy()
        assert look.lines["gradient_norm"][name] == pytest.approx(norm, rel=1e-5)
        assert look.lines["ratio"][name] == pytest.approx(
            rate * norm / np.sqrt(np.square(before[name]).sum()), rel=1e-4
        )
        check_against_numpy(look.lines["gradients"][name], grads[name])
        check_against_numpy(look.lines["weights"][name], after)
        assert not np.array_equal(after, before[name])


def test_frozen_layers_have_weights_and_no_gradients() -> None:
    network = small_network()
    network[0].requires_grad_(False)
    F.cross_entropy(network(torch.randn(2, 3, 8, 8)), torch.tensor([0, 1])).backward()
    look = TensorSnapshot(network, ["0", "3"])
    look.gradients()
    look.weights()
    assert {kind: list(found) for kind, found in look.lines.items()} == {
        "gradients": ["3"], "gradient_norm": ["3"], "weights": ["0", "3"], "ratio": ["3"]
    }  # fmt: skip


def test_a_gradient_that_is_not_finite_has_no_norm() -> None:
    network = small_network()
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, math.nan)
    look = TensorSnapshot(network, ["0"])
    look.gradients()
    with torch.no_grad():
        network[0].weight.fill_(math.inf)
    look.weights()
    assert look.lines["gradient_norm"] == {"0": None} and look.lines["ratio"] == {"0": None}
    assert look.lines["gradients"]["0"]["not_finite"] == network[0].weight.numel()


@given(st.integers(1, 3000), st.integers(1, 400), st.data())
def test_when_to_look(total: int, per_epoch: int, data: st.DataObject) -> None:
    due = [step for step in range(1, total + 1) if is_due(step, per_epoch, total)]
    assert total in due and 1 in due
    assert set(range(per_epoch, total + 1, per_epoch)) <= set(due)
    log_spaced = [step for step in due if step % per_epoch and step != total]
    assert log_spaced == [2**k for k in range(12) if 2**k < min(per_epoch, total)]
    assert len(due) <= total // per_epoch + 1 + math.ceil(math.log2(per_epoch + 1))
    step = data.draw(st.integers(1, total))
    assert is_due(step, per_epoch, total) == (step in due)  # a pure function: nothing is remembered


@given(st.integers(1, 400), st.integers(1, 300), st.integers(1, 20))
def test_when_to_probe(per_epoch: int, batch: int, epochs: int) -> None:
    """At ends of epochs, the last one's among them, and after 2,000 photos or more: a probe costs 1 % of those."""
    total = per_epoch * epochs
    due = [step for step in range(1, total + 1) if probe_is_due(step, per_epoch, total, batch)]
    assert due[-1] == total and all(step % per_epoch == 0 for step in due)
    gaps = np.diff([0, *due[:-1]]) * batch
    assert all(2000 <= gap < 2000 + per_epoch * batch for gap in gaps)


def observer(made) -> Observer:
    return Observer(
        structure.layer_names(made.network),
        labels=made.parts.val.labels,
        steps_per_epoch=made.parts.batches.steps_per_epoch,
        total=made.parts.steps,
        flops=made.flops,
        peak=made.peak,
    )


def observed(made, *, watch: bool) -> tuple[State, list[dict]]:
    torch.set_num_threads(made.plan.machine.threads)
    state, eye, lines = loop.begin(made.parts), observer(made), []
    for event in loop.train(made.parts, state):
        if watch:
            lines += eye.lines(event)
    return state, lines


SHORT = {"source": "digits:0-1", "batch_size": 32, "epochs": "12st"}


@pytest.fixture(scope="module")
def watched() -> list[dict]:
    """The lines of a small run."""
    return observed(prepared(**SHORT), watch=True)[1]


def test_watching_changes_nothing() -> None:
    settings = {**SHORT, "optimizer": "adam", "tuning": "lp-ft", "head_epochs": "4st"}
    watched, lines = observed(prepared(**settings), watch=True)
    alone, none = observed(prepared(**settings), watch=False)
    assert none == [] and [line["step"] for line in lines if line["kind"] == "snapshot"] == [1, 2, 4, 8, 12]
    one, two = watched.network.state_dict(), alone.network.state_dict()
    assert one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
    slots, others = (s.optimizer.state_dict()["state"] for s in (watched, alone))
    assert slots.keys() == others.keys()
    assert all(torch.equal(slots[i][n], others[i][n]) for i in slots for n in slots[i])


def test_the_lines_of_a_run() -> None:
    made = prepared(**SHORT, tuning="frozen")
    state, lines = observed(made, watch=True)
    kinds = [line["kind"] for line in lines]
    assert kinds.count("step") == 12 and kinds.count("epoch") == 2 and kinds.count("proof") == 1
    look = next(line for line in lines if line["kind"] == "snapshot")
    assert list(look["weights"]) == structure.layer_names(state.network)
    assert list(look["gradients"]) == list(look["ratio"]) == ["fc"]
    epoch = next(line for line in lines if line["kind"] == "epoch")
    assert np.sum(epoch["confusion"]) == epoch["val"]["n"] == len(made.parts.val)
    assert np.trace(epoch["confusion"]) == round(epoch["val"]["accuracy"] * epoch["val"]["n"])
    times = [line["time"] for line in lines if "time" in line]
    assert times == sorted(times)


def test_confusion_counts_true_by_predicted() -> None:
    logits = np.eye(3, dtype=np.float32)[[0, 1, 1, 2]]
    found = scoring.Score(0.0, 0.5, 4, logits)
    assert confusion(found, np.array([0, 0, 1, 1])) == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]


# --- what TensorBoard gets ---------------------------------------------------------------------------------------


def run_folder(folder: Path, lines: list[dict]) -> Path:
    """A run's record as run.py leaves it: plan, picture, metrics."""
    (folder / "artifacts").mkdir(parents=True)
    write_json(folder / "plan.json", {"plan": {"facts": {"class_names": ["zero", "one"]}}})
    Image.new("RGB", (4, 3), (10, 20, 30)).save(folder / "artifacts" / "samples.png")
    with Journal(folder / "metrics.jsonl") as journal:
        for line in lines:
            journal.append(line)
    return folder


BEGIN = [
    {"kind": "begin", "step": 0, "time": 1000.0},
    {"kind": "image", "step": 0, "tag": "samples/train", "file": "evidence/samples.png"},
]
SCORE = {"loss": 0.5, "accuracy": 0.75, "n": 4, "confusion": [[2, 0], [1, 1]]}
END = [{"kind": "end", "step": 12, "epoch": 2, "val": SCORE, "test": {**SCORE, "accuracy": 0.7}}]


def test_the_same_lines_always_give_the_same_points(tmp_path: Path, watched: list[dict]) -> None:
    folder = run_folder(tmp_path / "run", [*BEGIN, *watched, *END])
    with tensorboard.TensorBoard(folder, {"lr": 0.1, "flip": True, "start": "scratch"}) as live:
        for line in [*BEGIN, *watched, *END]:
            live.write(line)
    first = points(folder)
    for _ in range(2):
        tensorboard.rebuild(folder, {"lr": 0.1, "flip": True, "start": "scratch"}).close()
        assert points(folder) == first
    plain = [(tag, step) for tag, step, _, plugin, _ in first if plugin not in CONFIGURATION]
    assert len(plain) == len(set(plain)) > 200
    when = {tag: time for tag, _, time, _, _ in first}
    assert when["samples/train"] == 1000.0  # the time of the event, not of the rebuilding
    assert when["accuracy/test"] == when["accuracy/val"] == watched[-1]["time"]
    assert {tag: content for tag, _, _, _, content in first}["accuracy/best"] == "0.75"


@given(st.lists(st.binary(max_size=5000), max_size=8))
def test_event_files_are_those_of_tensorboards_own_writer(records: list[bytes]) -> None:
    theirs = io.BytesIO()
    for data in records:
        RecordWriter(theirs).write(data)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "events"
        with EventFile(path) as file:
            for data in records:
                file.write(data)
        assert path.read_bytes() == theirs.getvalue()


def test_a_record_cut_short_is_a_board_cut_short(tmp_path: Path, watched: list[dict]) -> None:
    folder = run_folder(tmp_path / "run", [*BEGIN, *watched])
    tensorboard.rebuild(folder, {}).close()
    whole = points(folder)
    tensorboard.rebuild(folder, {}, [*BEGIN, *watched][:9]).close()
    part = points(folder)
    assert part == whole[: len(part)] and len(part) < len(whole)


def test_histogram_buckets_span_what_was_counted(tmp_path: Path) -> None:
    values = torch.linspace(-3, 5, 1000)
    lines = [
        {"kind": "snapshot", "step": step, "time": 1.0, "weights": {"w": histogram(tensor)}, "gradients": {},
         "gradient_norm": {"w": None}, "ratio": {}}
        for step, tensor in enumerate([values, torch.ones(7), torch.empty(0)])
    ]  # fmt: skip
    folder = run_folder(tmp_path / "run", lines)
    tensorboard.rebuild(folder, {}).close()
    found = [(step, np.array(eval(content))) for tag, step, _, _, content in points(folder) if tag == "weights/w"]
    assert [step for step, _ in found] == [0, 1]  # nothing to draw of an empty one
    (_, buckets), (_, single) = found
    counts, edges = np.histogram(values.double().numpy(), BINS)
    assert buckets[:, 0] == pytest.approx(edges[:-1], abs=1e-6) and buckets[:, 1] == pytest.approx(edges[1:], abs=1e-6)
    assert np.abs(buckets[:, 2] - counts).max() <= 1
    assert single[:, 2].tolist() == [7.0] and single[0, 0] == 1 and single[0, 1] == pytest.approx(1, abs=1e-6)
    assert [content for tag, _, _, _, content in points(folder) if tag == "gradient_norm/w"] == ["nan"] * 3


def test_an_empty_record_is_an_empty_board(tmp_path: Path) -> None:
    tensorboard.rebuild(tmp_path, {"lr": 0.1}).close()
    assert {plugin for _, _, _, plugin, _ in points(tmp_path)} == {"hparams", "custom_scalars"}


# --- pictures ----------------------------------------------------------------------------------------------------


def cell_colours(picture: np.ndarray, classes: int, cell: int) -> np.ndarray:
    """The colour in a corner of each cell [classes, classes, 3], found from the picture's lower right."""
    margin = picture.shape[0] - 8 - classes * cell
    at = margin + 2 + np.arange(classes) * cell
    return picture[np.ix_(at, at)]


@pytest.mark.parametrize("names", [(), ("cat", "dog", "a very long name of a class of things"), ("кот", "", "猫")])
def test_a_confusion_picture_shades_shares_of_rows(names: tuple[str, ...]) -> None:
    counts = np.array([[90, 0, 10], [0, 0, 0], [5, 0, 15]])
    picture = np.asarray(confusion_picture(counts, names).convert("RGB"))
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[0] == picture.shape[1]
    white, ink = np.array([255, 255, 255]), np.array([0, 114, 178])
    shares = np.array([[0.9, 0, 0.1], [0, 0, 0], [0.25, 0, 0.75]])
    expected = white + (ink - white) * shares[..., None]
    assert np.abs(cell_colours(picture, 3, 48) - expected).max() <= 255 / 40 / 2 + 0.5  # 40 steps of a share
    dark = (picture < 100).all(axis=2)
    assert dark[:, : picture.shape[1] - 8 - 3 * 48].any()  # names at the rows
    assert dark[-8 - 2 * 48 : -8 - 48].any()  # a row without photos has its zeros


@pytest.mark.parametrize("classes", [1, 2, 21, 22, 100, 1000])
def test_a_confusion_picture_of_any_size(classes: int) -> None:
    picture = confusion_picture(np.eye(classes, dtype=int) * 123456, [f"class {i}" for i in range(classes)])
    assert picture.width == picture.height <= 1100


def test_sample_pictures_are_the_photos_of_the_first_batch(tmp_path: Path) -> None:
    made = prepared(image_size=24)
    assert predictions.write_samples(tmp_path, predictions.samples(made.parts)) == "evidence/samples.jpg"
    photos, _ = made.parts.batches.batch(0, 0)
    picture = np.asarray(Image.open(io.BytesIO((tmp_path / "evidence/samples.jpg").read_bytes())))
    assert photos.shape == (8, 3, 24, 24) and picture.shape == (50, 8 * 50, 3)  # each twice its size, and a gap
    for index, photo in enumerate(photos):
        tile = picture[:48:2, index * 50 : index * 50 + 48 : 2]
        assert np.abs(tile.astype(int) - photo.permute(1, 2, 0).numpy()).mean() < 4  # JPEG
