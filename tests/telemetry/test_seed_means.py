"""Mean runs as TensorBoard serves them, against numpy and scipy on what it serves of the raw runs."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headstart.analysis.run_records import runs_in
from headstart.config.study_file import StudySpec, write_study
from headstart.config.study_request import build_study_spec
from headstart.storage.files import write_json
from headstart.telemetry import seed_means, tensorboard
from headstart.telemetry.scalars import scalars
from tests.boards import Board

PER_EPOCH, EPOCHS = 4, 3
LAYERS = ("conv1", "fc")
BANDED = ["accuracy/best", *(f"{name}/{split}" for name in ("accuracy", "loss") for split in ("train", "val", "test"))]
BANDED += ["speed/images_per_second"]
HISTOGRAM = {"low": 0.0, "high": 1.0, "n": 1, "sum": 1.0, "sum_squares": 1.0, "counts": [1]}


def record(seed: int, *, epochs: int = EPOCHS, per_epoch: int = PER_EPOCH) -> Iterator[dict]:
    """The lines of a run with made-up values."""
    draw = np.random.default_rng(seed)

    def measured() -> dict:
        return {"loss": draw.gamma(2.0), "accuracy": draw.random(), "n": 10}

    clock = 1e9 + 1000 * seed
    for epoch in range(1, epochs + 1):
        for step in range((epoch - 1) * per_epoch + 1, epoch * per_epoch + 1):
            clock += 1
            line = {"step": step, "epoch": epoch}
            yield {"kind": "step", **line, "loss": draw.gamma(2.0), "lr": {"head": 0.1 / step}, "time": clock}
        norms = dict(zip(LAYERS, draw.gamma(2.0, size=2).tolist(), strict=True))
        bins = {kind: dict.fromkeys(LAYERS, HISTOGRAM) for kind in ("weights", "gradients")}
        yield {
            "kind": "snapshot",
            **line,
            **bins,
            "gradient_norm": norms,
            "ratio": {"conv1": draw.random(), "fc": None},
        }
        speed = {"images_per_second": draw.gamma(2.0)}
        table = {"confusion": [[1, 0], [0, 1]], "best": True, "lr": {"head": 0.1}}
        yield {"kind": "epoch", **line, "train": measured(), "val": measured(), "speed": speed, **table, "time": clock}
    yield {"kind": "end", **line, "val": measured(), "test": {**measured(), "confusion": [[1, 0], [0, 1]]}}


def put_run(study: Path, cell: str, seed: int, *, state: str = "finished", **length: int) -> Path:
    """A run folder as a study has it, its TensorBoard file included."""
    folder = study / f"Oct20_14-44-12_host-{cell}-s{seed}"
    folder.mkdir(parents=True)
    about = {"variant": cell, "stage": "main", "budget": "10ep", "fraction": 1.0}
    plan = {"facts": {"class_names": ["a", "b"]}, "seeding": {"seed": seed}}
    write_json(folder / "plan.json", {"plan": plan, "hash": f"{cell}{seed}", "study": about})
    lines = list(record(seed + 100 * len(cell), **length))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    tensorboard.rebuild(folder, {}, lines).close()
    if state:
        write_json(folder / "result.json", {"state": state})
    return folder


def protocol(**settings: str) -> StudySpec:
    return build_study_spec(
        "digits:0-3", ("scratch", "scratch+frozen"), None, None, None, None, {"epochs": "10ep", **settings}
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of one arm; of the other two, one of which diverged after an epoch, and one under way."""
    folder = tmp_path_factory.mktemp("runs") / "study"
    for seed in range(3):
        put_run(folder, "scratch", seed)
    put_run(folder, "scratch+frozen", 0)
    put_run(folder, "scratch+frozen", 1, epochs=1, state="diverged")
    put_run(folder, "scratch+frozen", 2, state="")
    write_study(folder, protocol())
    return folder


@pytest.fixture(scope="module")
def board(study: Path) -> Iterator[Board]:
    """It looks already when the means are made for the first time, and once more."""
    with Board(study) as started:
        started.until(lambda b: len(b.get("plugin/scalars/tags")) == 6)
        for _ in range(2):
            assert [folder.name for folder in seed_means.rebuild(study, protocol())] == [
                "mean-scratch", "mean-scratch+frozen"
            ]  # fmt: skip
            started.until(
                lambda b: all("accuracy/test/low" in b.get("plugin/scalars/tags").get(run, {}) for run in MEANS)
            )
        yield started


MEANS = ("mean-scratch", "mean-scratch+frozen")


def raw(board: Board, study: Path, cell: str, seeds: range, tag: str) -> list[dict[int, float]]:
    """{step: value} of each seed, as TensorBoard serves it."""
    names = [f"Oct20_14-44-12_host-{cell}-s{seed}" for seed in seeds]
    return [{step: float(value) for _, step, value in board.scalars(name, tag)} for name in names]


def served(board: Board, run: str, tag: str) -> dict[int, float]:
    points = board.scalars(run, tag)
    assert len({step for _, step, _ in points}) == len(points)
    return {step: float(value) for _, step, value in points}


def test_a_mean_run_has_the_tags_and_steps_of_the_raw_ones_and_their_means(board: Board, study: Path) -> None:
    tags = set(board.get("plugin/scalars/tags")["Oct20_14-44-12_host-scratch-s0"])
    bands = {f"{tag}/{end}" for tag in BANDED for end in ("low", "high")}
    assert set(board.get("plugin/scalars/tags")["mean-scratch"]) == tags | bands | {"seeds"} and set(BANDED) < tags
    for tag in tags:
        values, mean = raw(board, study, "scratch", range(3), tag), served(board, "mean-scratch", tag)
        assert list(mean) == list(values[0])
        wanted = np.mean([list(seed.values()) for seed in values], axis=0)
        assert list(mean.values()) == pytest.approx(wanted.tolist(), rel=1e-6, nan_ok=True), tag
    assert np.isnan(list(served(board, "mean-scratch", "ratio/fc").values())).all()  # as every raw one


def test_the_band_is_scipys_t_interval(board: Board, study: Path) -> None:
    for tag in BANDED:
        of_seeds = np.array([list(seed.values()) for seed in raw(board, study, "scratch", range(3), tag)])
        error = stats.sem(of_seeds, axis=0)
        low, high = stats.t.interval(0.95, df=2, loc=of_seeds.mean(axis=0), scale=error)
        for end, wanted in (("low", low), ("high", high)):
            found = served(board, "mean-scratch", f"{tag}/{end}")
            assert list(found) == list(served(board, "mean-scratch", tag))
            assert list(found.values()) == pytest.approx(wanted.tolist(), rel=1e-5, abs=1e-6), tag


def test_after_a_run_has_ended_the_mean_is_over_those_that_are_left(board: Board, study: Path) -> None:
    whole, short = raw(board, study, "scratch+frozen", range(2), "loss/val")
    found = served(board, "mean-scratch+frozen", "loss/val")
    assert list(found) == list(whole) == [4, 8, 12] and list(short) == [4]
    assert found[4] == pytest.approx((whole[4] + short[4]) / 2, rel=1e-6)
    assert (found[8], found[12]) == (whole[8], whole[12])
    assert list(served(board, "mean-scratch+frozen", "loss/val/low")) == [4]  # one seed has no band
    assert served(board, "mean-scratch+frozen", "seeds") == {4: 2, 8: 1, 12: 1}
    ends = raw(board, study, "scratch+frozen", range(2), "accuracy/test")
    mean = np.mean([value for seed in ends for value in seed.values()])
    assert served(board, "mean-scratch+frozen", "accuracy/test") == {12: pytest.approx(mean, rel=1e-6)}


def test_the_layout_has_a_margin_chart_for_each_curve(board: Board) -> None:
    board.until(
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


def test_a_mean_run_is_no_run_and_is_made_anew_to_the_same_bytes(study: Path, board: Board) -> None:
    assert {run.folder.name for run in runs_in(study)}.isdisjoint(MEANS)
    assert not list(study.glob("mean-*/plan.json"))
    (file,) = (file for file in (study / "mean-scratch").iterdir() if file.stat().st_size)
    before = file.read_bytes()
    assert "mean-scratch" in [folder.name for folder in seed_means.rebuild(study, protocol())]
    (again,) = (file for file in (study / "mean-scratch").iterdir() if file.stat().st_size)
    assert again.name > file.name and again.read_bytes() == before
    going_on = ("scratch", "10ep", 1.0)
    assert [folder.name for folder in seed_means.rebuild(study, protocol(), going_on)] == ["mean-scratch"]
    (one,) = (file for file in (study / "mean-scratch").iterdir() if file.stat().st_size)
    assert b"accuracy/test" in before and b"accuracy/test" not in one.read_bytes()  # test is not shown before the end
    assert b"accuracy/val/low" in one.read_bytes()
    seed_means.rebuild(study, protocol())


def test_seeds_of_other_lengths_are_matched_by_epoch() -> None:
    lines = [list(record(seed, per_epoch=length)) for seed, length in ((1, 4), (2, 5))]
    epochs = [moment for moment in seed_means.gather(lines) if "seeds" in moment.values]
    assert [moment.step for moment in epochs] == [5, 10, 15]
    for number, moment in enumerate(epochs):
        wanted = [[line for line in run if line["kind"] == "epoch"][number]["val"]["loss"] for run in lines]
        assert moment.values["loss/val"] == wanted


def test_conditions_and_arms_have_folders_of_their_own() -> None:
    several = protocol(budgets="3ep,10ep", fractions="0.1,1")
    found = seed_means.names(several)
    assert len(found) == len(set(found.values())) == 8
    assert found["scratch+frozen", "3ep", 0.1] == "mean-scratch+frozen-3ep-0.1"
    alike = build_study_spec("digits", ("file:a/x.pth", "file:a/x.pth@adam"), {"lr": [0.1, 0.2]}, None, None, None, {})
    assert len(set(seed_means.names(alike).values())) == 4


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_a_band_is_scipys(values: list[float]) -> None:
    low, high = seed_means.band(values)
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    half = stats.t.ppf(0.975, len(values) - 1) * error
    scale = 1e-9 * max(1.0, *map(abs, values))
    assert (low, high) == pytest.approx((np.mean(values) - half, np.mean(values) + half), rel=1e-9, abs=scale)


def test_kinds_without_a_scalar_have_none() -> None:
    assert list(scalars({"kind": "begin", "step": 0})) == list(scalars({"kind": "proof", "step": 1})) == []
