"""Tests of TensorBoard on a folder of runs, over HTTP and in a browser."""

import contextlib
import io
import re
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

import headstart
from headstart.config.run_config import plan_fields
from headstart.printable import printable
from headstart.storage.journal import read_lines
from headstart.storage.schemas.metrics import (
    EndLine,
    EpochLine,
    FreezeCheckLine,
    Histogram,
    ProbeLine,
    SnapshotLine,
    StepLine,
    WithdrawnLine,
)
from headstart.telemetry import tensorboard
from headstart.telemetry.confusion_image import confusion_picture
from tests.files import read_json
from tests.handmade import step_line
from tests.short_runs import command, finish, flags
from tests.tensorboard_server import TensorBoardServer, points

SMALL = {"source": "digits:0-1", "network": "resnet20", "batch_size": 32, "precision": "fp32", "threads": 1}
SMALL["image_size"] = 16
LAYERS = ["conv1", "fc"] + [
    f"layer{stage}.{block}"
    for stage in (1, 2, 3)
    for block in (
        "0.conv1",
        "0.conv2",
        "1.conv1",
        "1.conv2",
        "2.conv1",
        "2.conv2",
        *(["0.downsample.0"] if stage > 1 else []),
    )
]
BLOCKS = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1, 2)]
RELUS = ["conv1", *(f"{block}.{layer}" for block in BLOCKS for layer in ("conv1", "conv2"))]
HEADSTART, TENSORBOARD = "headstart tensorboard", "tensorboard"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished runs of different arms, copied from two hosts."""
    folder = tmp_path_factory.mktemp("both") / "runs"
    arms = {
        "Oct20_14-44-12_alpha-scratch@sgd-s0": {"epochs": "3ep"},
        "Oct20_15-01-59_beta-scratch+lp-ft@adam-s1": {
            "epochs": "3ep", "optimizer": "adam", "tuning": "lp-ft", "head_epochs": "1ep", "seed": 1
        },
    }  # fmt: skip
    for name, settings in arms.items():
        host = tmp_path_factory.mktemp("host")
        options = {k: v for k, v in {**SMALL, **settings}.items() if k != "source"}
        run = headstart.train(SMALL["source"], runs=host, quiet=True, **options)
        shutil.copytree(run.folder, folder / name)
    return folder


@pytest.fixture(scope="module", params=[TENSORBOARD, HEADSTART])
def board(request: pytest.FixtureRequest, runs: Path) -> Iterator[TensorBoardServer]:
    with TensorBoardServer(runs, headstart=request.param == HEADSTART) as started:
        started.wait_until(
            lambda b: all("accuracy/best" in b.get("plugin/scalars/tags").get(run, {}) for run in names(runs))
        )
        started.wait_until(
            lambda b: all("confusion/test" in b.get("plugin/images/tags").get(run, {}) for run in names(runs))
        )
        yield started


def names(runs: Path) -> list[str]:
    return sorted(folder.name for folder in runs.iterdir())


def expected_scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Return {tag: {step: value}} of the record."""
    scalars: dict[str, dict[int, float]] = defaultdict(dict)
    for line in read_lines(folder / "metrics.jsonl"):
        if isinstance(line, StepLine):
            scalars["loss/batch"][line.step] = line.loss
            for group, rate in line.lr.items():
                scalars[f"lr/{group}"][line.step] = rate
        elif isinstance(line, EpochLine):
            for split in ("train", "val"):
                for name in ("loss", "accuracy"):
                    scalars[f"{name}/{split}"][line.step] = getattr(getattr(line, split), name)
            for name, value in line.speed:
                scalars[f"speed/{name}"][line.step] = value
        elif isinstance(line, SnapshotLine):
            for kind in ("gradient_norm", "update_ratio"):
                for layer, value in getattr(line, kind).items():
                    scalars[f"{kind}/{layer}"][line.step] = value
        elif isinstance(line, ProbeLine):
            for kind in ("block_gradient_norm", "zero_activations", "dead_channels", "distance_from_init"):
                for layer, value in getattr(line, kind).items():
                    scalars[f"{kind}/{layer}"][line.step] = value
        elif isinstance(line, EndLine):
            scalars["accuracy/best"][line.step] = line.val.accuracy
            for name in ("loss", "accuracy"):
                scalars[f"{name}/test"][line.step] = getattr(line.test, name)
    return scalars


def check_scalars(board: TensorBoardServer, run: str, folder: Path) -> None:
    expected = expected_scalars(folder)
    assert set(board.get("plugin/scalars/tags")[run]) == set(expected)
    for tag, values in expected.items():
        served = board.scalars(run, tag)
        steps = [step for _, step, _ in served]
        assert steps == sorted(set(steps)) == sorted(values), f"{tag}: one point for each step"
        assert [value for *_, value in served] == pytest.approx([values[s] for s in steps], rel=1e-6, abs=1e-30), tag


def test_runs_are_the_run_folders(board: TensorBoardServer, runs: Path) -> None:
    assert board.get("runs") == names(runs)


def test_every_run_has_the_same_scalars(board: TensorBoardServer, runs: Path) -> None:
    expected = {f"{kind}/{layer}" for kind in ("gradient_norm", "update_ratio") for layer in LAYERS}
    expected |= {f"{name}/{split}" for name in ("loss", "accuracy") for split in ("train", "val", "test")}
    expected |= {"loss/batch", "accuracy/best", "lr/head", "lr/backbone", "speed/images_per_second", "speed/mfu"}
    expected |= {"speed/train_seconds", "speed/val_seconds"}
    expected |= {f"distance_from_init/{layer}" for layer in LAYERS} | {
        f"block_gradient_norm/{block}" for block in BLOCKS
    }
    expected |= {f"{kind}/{layer}" for kind in ("zero_activations", "dead_channels") for layer in RELUS}
    served = board.get("plugin/scalars/tags")
    assert {run: set(tags) for run, tags in served.items()} == dict.fromkeys(names(runs), expected)


def test_scalars_equal_the_record(board: TensorBoardServer, runs: Path) -> None:
    for run in names(runs):
        check_scalars(board, run, runs / run)


def test_histograms_of_weights_and_gradients(board: TensorBoardServer, runs: Path) -> None:
    expected = {f"{kind}/{layer}" for kind in ("weights", "gradients") for layer in LAYERS}
    served = board.get("plugin/histograms/tags")
    assert {run: set(tags) for run, tags in served.items()} == dict.fromkeys(names(runs), expected)
    for run in names(runs):
        snapshots = [line for line in read_lines(runs / run / "metrics.jsonl") if isinstance(line, SnapshotLine)]
        assert [line.step for line in snapshots] == [1, 2, 4, 8, 16, 24]
        for kind, layer in (("weights", "conv1"), ("gradients", "fc"), ("gradients", "layer3.2.conv2")):
            recorded = {line.step: getattr(line, kind)[layer] for line in snapshots if layer in getattr(line, kind)}
            histograms = board.get("plugin/histograms/histograms", run=run, tag=f"{kind}/{layer}")
            assert [step for _, step, _ in histograms] == sorted(recorded)
            for _, step, buckets in histograms:
                check_buckets(np.array(buckets), recorded[step])


def check_buckets(buckets: np.ndarray, recorded: Histogram) -> None:
    """Check TensorBoard's [left, right, count] against the record's counts between its low and its high."""
    edges = np.linspace(recorded.low, recorded.high, len(recorded.counts) + 1)
    assert buckets[:, 2].tolist() == recorded.counts and buckets[:, 2].sum() == recorded.n
    tolerance = 1e-6 * np.abs(edges).max()
    assert buckets[:, 0] == pytest.approx(edges[:-1], abs=tolerance)
    assert buckets[:, 1] == pytest.approx(edges[1:], abs=tolerance)


def test_images_are_those_of_the_run(board: TensorBoardServer, runs: Path) -> None:
    served = board.get("plugin/images/tags")
    expected = {"samples/train", "confusion/val", "confusion/test"}
    assert {run: set(tags) for run, tags in served.items()} == dict.fromkeys(names(runs), expected)
    for run in names(runs):
        lines = list(read_lines(runs / run / "metrics.jsonl"))
        epochs = {line.step: line.confusion for line in lines if isinstance(line, EpochLine)}
        pictures = board.get("plugin/images/images", run=run, tag="confusion/val", sample=0)
        assert [picture["step"] for picture in pictures] == list(epochs)
        for picture in pictures:
            assert np.array_equal(
                pixels(board, picture),
                np.asarray(confusion_picture(epochs[picture["step"]], ["0", "1"]).convert("RGB")),
            )
        (samples,) = board.get("plugin/images/images", run=run, tag="samples/train", sample=0)
        with Image.open(runs / run / "artifacts" / "samples.jpg") as recorded:
            assert np.array_equal(pixels(board, samples), np.asarray(recorded))


def pixels(board: TensorBoardServer, picture: dict) -> np.ndarray:
    content = board.bytes("plugin/images/individualImage?" + picture["query"])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_hyperparameters_have_every_field_of_the_plan(board: TensorBoardServer, runs: Path) -> None:
    experiment = board.post("plugin/hparams/experiment", {"experimentName": ""})
    assert {info["name"] for info in experiment["hparamInfos"]} == set(plan_fields())
    metrics = {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert metrics == {"accuracy/best", "accuracy/test", "accuracy/val", "loss/val"}
    query = {"experimentName": "", "startIndex": 0, "sliceSize": 100, "colParams": [], "allowedStatuses": STATUSES}
    groups = {group["name"]: group for group in board.post("plugin/hparams/session_groups", query)["sessionGroups"]}
    assert sorted(groups) == names(runs)
    for run, group in groups.items():
        plan, result = read_json(runs / run / "plan.json")["plan"], read_json(runs / run / "result.json")
        assert set(group["hparams"]) == set(plan_fields())
        shown = {name: group["hparams"][name] for name in ("optimizer", "tuning", "lr", "batch_size", "epochs", "seed")}
        assert shown == {name: plan[plan_fields()[name][0]][name] for name in shown}
        assert group["hparams"]["milestones"] == "50%, 75%" and group["hparams"]["nesterov"] == "False"
        values = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
        assert values["accuracy/test"] == pytest.approx(result["test"]["accuracy"])
        assert values["accuracy/best"] == pytest.approx(result["val"]["accuracy"])
        assert [session["status"] for session in group["sessions"]] == ["STATUS_SUCCESS"]


STATUSES = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]


def test_layout_shows_train_beside_val(board: TensorBoardServer) -> None:
    layout = board.get("plugin/custom_scalars/layout")
    charts = {
        category["title"]: {chart["title"]: chart["multiline"]["tag"] for chart in category["chart"]}
        for category in layout["category"]
    }
    assert charts == {
        "train beside val": {"loss": ["loss/train", "loss/val"], "accuracy": ["accuracy/train", "accuracy/val"]},
        "learning rate": {"lr": ["lr/head", "lr/backbone"]},
    }


def test_sentences_of_a_record_are_no_markdown(tmp_path: Path) -> None:
    name = "![x](http://e.x/a.png) <img src=http://e.x> [y](http://e.x) `z` \x1b[31m"
    lines = [
        WithdrawnLine(step=1, code="a-code", name=name, sentence=name),
        FreezeCheckLine(step=1, phase="", before="", after="", trained_tensors=1, sentence=name),
    ]
    with tensorboard.TensorBoard(tmp_path, {}) as writer:
        for line in lines:
            writer.write(line)
    texts = [
        value.tensor.string_val[0].decode()
        for event in EventFileLoader(str(next(tmp_path.glob("events*")))).Load()
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "text"
    ]
    assert len(texts) == len(lines)
    for text in texts:
        paragraph, inline, _end = MarkdownIt("commonmark").parse(text)
        assert paragraph.type == "paragraph_open" and {child.type for child in inline.children or ()} == {"text"}
        assert "".join(child.content for child in inline.children or ()) == printable(name)


def test_freeze_check_is_a_text(board: TensorBoardServer, runs: Path) -> None:
    (run,) = (name for name in names(runs) if "lp-ft" in name)
    assert board.get("plugin/text/tags")[run] == ["freeze check/text_summary"]
    (text,) = board.get("plugin/text/text", run=run, tag="freeze check/text_summary")
    (check,) = (line for line in read_lines(runs / run / "metrics.jsonl") if isinstance(line, FreezeCheckLine))
    assert text["step"] == check.step == 8 and check.before == check.after
    assert check.after[:12] in text["text"] and str(check.trained_tensors) in re.findall(r"\b\d+\b", text["text"])


# --- damage and resume -------------------------------------------------------------------------------------------


def test_rebuild_of_a_damaged_event_file(runs: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(runs / names(runs)[0], tmp_path / "run"))
    all_points = points(folder)
    (file,) = folder.glob("events.out.tfevents.*")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)
    assert len(points(folder)) < len(all_points)
    code, out, err = finish(command("rebuild", folder))
    assert (code, out.strip()) == (0, str(folder)), err
    assert points(folder) == all_points


def test_resume_after_sigkill_has_one_point_per_step(tmp_path: Path) -> None:
    """TensorBoard runs all the time: it must drop the steps that the resumed run repeats."""
    runs = tmp_path / "runs"
    process = command("train", *flags(**SMALL, epochs="3ep"), "--runs", runs, "--save-every", "5st")
    try:
        wait_for(lambda: has_reached(runs, 12) or process.poll() is not None)
    finally:
        process.send_signal(signal.SIGKILL)
        _, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, err
    (folder,) = runs.iterdir()
    with TensorBoardServer(runs) as board:
        board.wait_until(lambda b: "loss/batch" in b.get("plugin/scalars/tags").get(folder.name, {}))
        before = [step for _, step, _ in board.scalars(folder.name, "loss/batch")]
        assert 0 < len(before) < 24
        code, _, err = finish(command("resume", folder, "--save-every", "5st"))
        assert code == 0, err
        board.wait_until(lambda b: "accuracy/best" in b.get("plugin/scalars/tags")[folder.name])
        check_scalars(board, folder.name, folder)
        steps = [step for _, step, _ in board.get("plugin/histograms/histograms", run=folder.name, tag="weights/conv1")]
        assert steps == [1, 2, 4, 8, 16, 24]
        epochs = board.get("plugin/images/images", run=folder.name, tag="confusion/val", sample=0)
        assert [picture["step"] for picture in epochs] == [8, 16, 24]
    plain = [(tag, step) for tag, step, *_ in points(folder)]
    assert len(plain) == len(set(plain))


@pytest.mark.parametrize("loader", ["true", "false"])
def test_running_board_follows_a_rebuilt_event_file(tmp_path: Path, loader: str) -> None:
    """With TensorBoard's fast loader, and without it, as on machines where it is missing."""
    folder = tmp_path / "run"
    folder.mkdir()
    lines = [step_line(n, n / 8, time=1e9 + n) for n in range(1, 40)]
    tensorboard.rebuild_event_file(folder, {}, lines[:20]).close()
    with TensorBoardServer(tmp_path, "--load_fast", loader) as board:
        board.wait_until(lambda b: len(served(b, "run")) == 20)
        for length in (30, 39):
            time.sleep(1.1)  # event files are named by the second, and read in that order
            again = [step_line(line.step, line.loss + length, time=line.time) for line in lines[:length]]
            tensorboard.rebuild_event_file(folder, {}, again).close()
            board.wait_until(lambda b, lines=again: served(b, "run") == [(n.time, n.step, n.loss) for n in lines])
    assert len(list(folder.glob("events.out.tfevents.*"))) == 2  # old files do not accumulate


def served(board: TensorBoardServer, run: str) -> list[tuple[float, int, float]]:
    has_loss = "loss/batch" in board.get("plugin/scalars/tags").get(run, {})
    return board.scalars(run, "loss/batch") if has_loss else []


def has_reached(runs: Path, step: int) -> bool:
    lines = [line for file in runs.glob("*/metrics.jsonl") for line in read_lines(file)]
    return bool(lines) and lines[-1].step >= step


def wait_for(ready, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.02)


# --- the command -------------------------------------------------------------------------------------------------


def test_ctrl_c_stops_the_board_without_an_error(tmp_path: Path) -> None:
    board = TensorBoardServer(tmp_path, headstart=True)
    try:
        assert board.get("runs") == []
        board.process.send_signal(signal.SIGINT)
        assert board.process.wait(30) == 0
    finally:
        board.stop()


def test_missing_folder_and_used_port(tmp_path: Path) -> None:
    code, _, err = finish(command("tensorboard", tmp_path / "nothing"))
    assert code == 3 and f"{tmp_path / 'nothing'}." in err and "`headstart tensorboard runs`" in err
    assert "Traceback" not in err
    with TensorBoardServer(tmp_path) as board:
        port = board.url.rpartition(":")[2]
        code, _, err = finish(command("tensorboard", tmp_path, "--port", port))
    assert code == 5 and re.search(rf"\b{port}\b", err) and "--port" in err and "Traceback" not in err


# --- in a browser ------------------------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic",
]  # fmt: skip


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")
def test_histogram_page_shows_the_weights_of_the_first_layer(runs: Path, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    with TensorBoardServer(runs, headstart=True) as board, sync_api.sync_playwright() as playwright:
        board.wait_until(
            lambda b: all("weights/conv1" in b.get("plugin/histograms/tags").get(r, {}) for r in names(runs))
        )
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        with contextlib.closing(browser):
            page = browser.new_page(viewport={"width": 1400, "height": 800})
            page.goto(f"{board.url}/#histograms&tagFilter=weights%2Fconv1")
            for index, run in enumerate(names(runs)):
                chart = page.locator("vz-histogram-timeseries").nth(index)
                chart.locator(".histogram").nth(5).wait_for(state="attached")  # one for each of the six snapshots
                heading = page.locator("tf-card-heading").nth(index)
                assert heading.locator("[itemprop=tag]").inner_text() == "weights/conv1"
                assert heading.locator("[itemprop=run]").inner_text() == run
                drawn = chart.locator(".histogram path").evaluate_all("paths => paths.map(p => p.getAttribute('d'))")
                outlines = [outline for outline in drawn if outline and len(outline) > 100]
                assert len(outlines) >= 6
                assert len(set(outlines)) >= different_histograms(
                    runs / run
                )  # the weights change unless the layer is frozen
            page.wait_for_timeout(1000)  # the charts fade in
            page.screenshot(path=tmp_path / "weights-conv1.png")
            print(tmp_path / "weights-conv1.png")


def different_histograms(folder: Path) -> int:
    """Return the number of different histograms of weights/conv1 in the record."""
    snapshots = [line for line in read_lines(folder / "metrics.jsonl") if isinstance(line, SnapshotLine)]
    different = len({str(line.weights["conv1"]) for line in snapshots})
    assert different == (3 if "lp-ft" in folder.name else 6)
    return different
