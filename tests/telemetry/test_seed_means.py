"""Tests of mean runs as TensorBoard serves them, against numpy and scipy on the raw runs it serves."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headstart.analysis.run_records import runs_in
from headstart.analysis.statistics import t_interval
from headstart.config.run_config import RunConfig
from headstart.config.study_file import StudySpec, write_study
from headstart.config.study_request import build_study_spec
from headstart.storage.journal import line_bytes
from headstart.storage.schemas.metrics import (
    BeginLine,
    EndLine,
    EpochLine,
    Histogram,
    Line,
    Speed,
    SplitScore,
    StoppedLine,
)
from headstart.storage.schemas.result import RunState
from headstart.telemetry import seed_means, tensorboard
from headstart.telemetry.scalars import scalars
from tests.handmade import (
    epoch_line,
    evaluation,
    run_result,
    run_role,
    snapshot_line,
    split_score,
    step_line,
    write_run_files,
)
from tests.tensorboard_server import TensorBoardServer

PER_EPOCH, EPOCHS = 4, 3
LAYERS = ("conv1", "fc")
BANDED = ["accuracy/best", *(f"{name}/{split}" for name in ("accuracy", "loss") for split in ("train", "val", "test"))]
BANDED += [f"speed/{name}" for name in Speed.model_fields]
HISTOGRAM = Histogram(low=0, high=1, n=1, sum=1, sum_squares=1, counts=[1])


def record(seed: int, *, epochs: int = EPOCHS, per_epoch: int = PER_EPOCH) -> Iterator[Line]:
    """Yield the lines of a run with random values."""
    rng = np.random.default_rng(seed)

    def score() -> SplitScore:
        return split_score(rng.gamma(2.0), rng.random())

    clock, last = 1e9 + 1000 * seed, epochs * per_epoch
    for epoch in range(1, epochs + 1):
        for step in range((epoch - 1) * per_epoch + 1, epoch * per_epoch + 1):
            clock += 1
            yield step_line(step, rng.gamma(2.0), epoch=epoch, lr={"head": 0.1 / step}, time=clock)
        yield snapshot_line(
            epoch * per_epoch,
            epoch,
            weights=dict.fromkeys(LAYERS, HISTOGRAM),
            gradients=dict.fromkeys(LAYERS, HISTOGRAM),
            gradient_norm=dict(zip(LAYERS, rng.gamma(2.0, size=2).tolist(), strict=True)),
            update_ratio={"conv1": rng.random(), "fc": None},
        )
        speed = Speed(**{name: rng.gamma(2.0) for name in Speed.model_fields})
        table = [[1, 0], [0, 1]]
        yield epoch_line(epoch * per_epoch, epoch, train=score(), val=score(), speed=speed, confusion=table, time=clock)
    val, test = (evaluation(rng.random(), loss=rng.gamma(2.0)) for _ in range(2))
    yield EndLine(step=last, epoch=epochs, val=val, test=test)


def write_run(study: Path, variant: str, seed: int, *, state: RunState = RunState.FINISHED, **length: int) -> Path:
    """Write a run folder of a study, TensorBoard file included."""
    folder = study / f"Oct20_14-44-12_host-{variant}-s{seed}"
    plan = RunConfig().changed(class_names=("a", "b")).changed(seed=seed)
    result = run_result(state) if state is not RunState.UNFINISHED else None
    lines = list(record(seed + 100 * len(variant), **length))
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_bytes(b"".join(map(line_bytes, lines)))
    write_run_files(folder, plan, hash=f"{variant}{seed}", role=run_role(variant), result=result)
    tensorboard.rebuild_event_file(folder, {}, lines).close()
    return folder


def study_spec(**settings: str) -> StudySpec:
    return build_study_spec(
        "digits:0-3", ("scratch", "scratch+frozen"), None, None, None, None, {"epochs": "10ep", **settings}
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of one arm; for the other arm a finished, a diverged (after one epoch) and an unfinished run."""
    folder = tmp_path_factory.mktemp("runs") / "study"
    for seed in range(3):
        write_run(folder, "scratch", seed)
    write_run(folder, "scratch+frozen", 0)
    write_run(folder, "scratch+frozen", 1, epochs=1, state=RunState.DIVERGED)
    write_run(folder, "scratch+frozen", 2, state=RunState.UNFINISHED)
    return folder  # without study.toml it is no open study, and shows results on test


@pytest.fixture(scope="module")
def board(study: Path) -> Iterator[TensorBoardServer]:
    """A server that is running when the means are written for the first and the second time."""
    with TensorBoardServer(study) as started:
        started.wait_until(lambda b: len(b.get("plugin/scalars/tags")) == 6)
        for _ in range(2):
            assert [folder.name for folder in seed_means.rebuild_mean_runs(study, study_spec())] == [
                "mean-scratch", "mean-scratch+frozen"
            ]  # fmt: skip
            started.wait_until(
                lambda b: all("accuracy/test/low" in b.get("plugin/scalars/tags").get(run, {}) for run in MEANS)
            )
        yield started


MEANS = ("mean-scratch", "mean-scratch+frozen")


def raw_values(board: TensorBoardServer, variant: str, seeds: range, tag: str) -> list[dict[int, float]]:
    """Return {step: value} of each seed, as TensorBoard serves it."""
    names = [f"Oct20_14-44-12_host-{variant}-s{seed}" for seed in seeds]
    return [{step: float(value) for _, step, value in board.scalars(name, tag)} for name in names]


def served_values(board: TensorBoardServer, run: str, tag: str) -> dict[int, float]:
    points = board.scalars(run, tag)
    assert len({step for _, step, _ in points}) == len(points)
    return {step: float(value) for _, step, value in points}


def test_mean_run_has_the_tags_steps_and_means_of_its_runs(board: TensorBoardServer) -> None:
    tags = set(board.get("plugin/scalars/tags")["Oct20_14-44-12_host-scratch-s0"])
    bands = {f"{tag}/{end}" for tag in BANDED for end in ("low", "high")}
    assert set(board.get("plugin/scalars/tags")["mean-scratch"]) == tags | bands | {"seeds"} and set(BANDED) < tags
    for tag in tags:
        values, mean = raw_values(board, "scratch", range(3), tag), served_values(board, "mean-scratch", tag)
        assert list(mean) == list(values[0])
        expected = np.mean([list(seed.values()) for seed in values], axis=0)
        assert list(mean.values()) == pytest.approx(expected.tolist(), rel=1e-6, nan_ok=True), tag
    assert np.isnan(list(served_values(board, "mean-scratch", "update_ratio/fc").values())).all()  # as in every raw run


def test_band_equals_scipys_t_interval(board: TensorBoardServer) -> None:
    for tag in BANDED:
        seed_values = np.array([list(seed.values()) for seed in raw_values(board, "scratch", range(3), tag)])
        error = stats.sem(seed_values, axis=0)
        low, high = stats.t.interval(0.95, df=2, loc=seed_values.mean(axis=0), scale=error)
        for end, expected in (("low", low), ("high", high)):
            served = served_values(board, "mean-scratch", f"{tag}/{end}")
            assert list(served) == list(served_values(board, "mean-scratch", tag))
            assert list(served.values()) == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-6), tag


def test_after_the_end_of_a_run_the_mean_is_over_the_remaining_runs(board: TensorBoardServer) -> None:
    finished, diverged = raw_values(board, "scratch+frozen", range(2), "loss/val")
    served = served_values(board, "mean-scratch+frozen", "loss/val")
    assert list(served) == list(finished) == [4, 8, 12] and list(diverged) == [4]
    assert served[4] == pytest.approx((finished[4] + diverged[4]) / 2, rel=1e-6)
    assert (served[8], served[12]) == (finished[8], finished[12])
    assert list(served_values(board, "mean-scratch+frozen", "loss/val/low")) == [4]  # one seed has no band
    assert served_values(board, "mean-scratch+frozen", "seeds") == {4: 2, 8: 1, 12: 1}
    ends = raw_values(board, "scratch+frozen", range(2), "accuracy/test")
    mean = np.mean([value for seed in ends for value in seed.values()])
    assert served_values(board, "mean-scratch+frozen", "accuracy/test") == {12: pytest.approx(mean, rel=1e-6)}


def test_layout_has_a_margin_chart_for_each_curve(board: TensorBoardServer) -> None:
    board.wait_until(
        lambda b: any(c["title"] == "mean over seeds" for c in b.get("plugin/custom_scalars/layout")["category"])
    )
    layout = {c["title"]: c["chart"] for c in board.get("plugin/custom_scalars/layout")["category"]}
    assert "train beside val" in layout  # of the raw runs
    charts = {chart["title"]: chart["margin"]["series"] for chart in layout["mean over seeds"]}
    assert charts == {
        tag: [{"value": tag, "lower": f"{tag}/low", "upper": f"{tag}/high"}]
        for tag in ("accuracy/val", "loss/val", "accuracy/train", "loss/train")
    }
    answer = board.get("plugin/custom_scalars/scalars", run="mean-scratch", tag="^accuracy/val(/low|/high)?$")
    assert set(answer["tag_to_events"]) == {"accuracy/val", "accuracy/val/low", "accuracy/val/high"}


def test_mean_run_is_not_a_run_and_is_rewritten_to_equal_bytes(study: Path, board: TensorBoardServer) -> None:
    assert {run.folder.name for run in runs_in(study)}.isdisjoint(MEANS)
    assert not list(study.glob("mean-*/plan.json"))
    (file,) = (file for file in (study / "mean-scratch").iterdir() if file.stat().st_size)
    before = file.read_bytes()
    assert "mean-scratch" in [folder.name for folder in seed_means.rebuild_mean_runs(study, study_spec())]
    (again,) = (file for file in (study / "mean-scratch").iterdir() if file.stat().st_size)
    assert again.name > file.name and again.read_bytes() == before
    write_study(study, study_spec())  # without a verdict: no results on test
    for condition, names in ((("scratch", "10ep", 1.0), [MEANS[0]]), (None, [*MEANS])):
        assert [folder.name for folder in seed_means.rebuild_mean_runs(study, study_spec(), condition)] == names
        (running,) = (file for file in (study / "mean-scratch").iterdir() if file.stat().st_size)
        assert b"accuracy/test" in before and b"accuracy/test" not in running.read_bytes()
        assert b"accuracy/val/low" in running.read_bytes()
    (study / "study.toml").unlink()
    seed_means.rebuild_mean_runs(study, study_spec())


def test_seeds_with_different_steps_per_epoch_are_matched_by_epoch() -> None:
    lines = [list(record(seed, per_epoch=length)) for seed, length in ((1, 4), (2, 5))]
    epochs = [point for point in seed_means.pool_records(lines) if "seeds" in point.values]
    assert [point.step for point in epochs] == [5, 10, 15]
    for number, point in enumerate(epochs):
        expected = [[line for line in run if isinstance(line, EpochLine)][number].val.loss for run in lines]
        assert point.values["loss/val"] == expected


def test_folder_names_are_unique() -> None:
    spec = study_spec(budgets="3ep,10ep", fractions="0.1,1")
    names = seed_means.folder_names(spec)
    assert len(names) == len(set(names.values())) == 8
    assert names["scratch+frozen", "3ep", 0.1] == "mean-scratch+frozen-3ep-0.1"
    similar = build_study_spec(
        "digits", ("file:a/x.pth", "file:a/x.pth@adam"), {"lr": [0.1, 0.2]}, None, None, None, {}
    )
    assert len(set(seed_means.folder_names(similar).values())) == 4


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_t_interval_equals_scipy(values: list[float]) -> None:
    low, high = t_interval(values)
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    half = stats.t.ppf(0.975, len(values) - 1) * error
    scale = 1e-9 * max(1.0, *map(abs, values))
    assert (low, high) == pytest.approx((np.mean(values) - half, np.mean(values) + half), rel=1e-9, abs=scale)


def test_kinds_of_lines_without_scalars() -> None:
    assert list(scalars(BeginLine(time=0.0))) == list(scalars(StoppedLine(step=1, signal="SIGINT"))) == []
