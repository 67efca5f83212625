"""Twins of shortcut x norm x depth: claimed only what the numbers show, trained once, gone on with when stopped."""

import math
import signal
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from headstart.analysis.run_records import runs_in
from headstart.config.resolve import resolve_settings
from headstart.errors import DataError, InterruptedRunError, UsageError
from headstart.experiment import ablation
from headstart.reporter import NullReporter, Reporter
from headstart.results import diagnosis
from headstart.runs import execute, job_protocol
from headstart.storage.files import read_json
from tests.diagnostics.test_checks import FAST
from tests.training.test_setup import photos


def twin(shortcut: str, norm: str, kept: float, right: float, network: str = "resnet18") -> ablation.FactorialCell:
    answers = (np.arange(200) < 200 * right).astype(int)[None]
    return ablation.FactorialCell(network, shortcut, norm, answers, (kept, kept), ())


def test_twins_claim_a_rescue_only_where_the_numbers_show_it() -> None:
    plan = resolve_settings(FAST).plan
    cells = [twin(s, n, 1.0 if n == "batch" or s == "on" else 1e-18, 0.9 if s == "on" else 0.6, depth)
             for depth in ablation.DEPTHS for n in ablation.NORMS for s in ablation.SWITCHES]  # fmt: skip
    said = ablation.ablation_summary(cells, plan)
    of = {(e["network"], e["norm"]): e for e in said["effects"] if e["switch"] == "shortcut"}
    words = {twin: effect["sentence"] for twin, effect in of.items()}
    assert of["resnet18", "batch"]["orders"] == 0 and of["resnet50", "none"]["orders"] == pytest.approx(18)
    assert of["resnet18", "batch"]["accuracy"] == pytest.approx(0.3)
    assert "keep it alive" in words["resnet50", "none"] and "keep it alive" not in words["resnet18", "batch"]
    assert "does not vanish without shortcuts" in words["resnet18", "batch"]


def meaning(on: tuple[float, float], off: tuple[float, float], *findings: str) -> str:
    """What is said of shortcuts, from the shares that are kept with and without them at the start and the end."""
    cells = [ablation.FactorialCell(depth, s, n, np.ones((1, 200), int), on if s == "on" else off, findings if s == "on" else ())
             for depth in ablation.DEPTHS for n in ablation.NORMS for s in ablation.SWITCHES]  # fmt: skip
    return str(ablation.ablation_summary(cells, resolve_settings(FAST).plan)["effects"][0]["sentence"])


def test_twins_say_what_the_table_beside_them_says() -> None:
    assert "here shortcuts keep it alive" in meaning((0.5, 0.1), (1e-4, 1e-5))
    for close in (((1.1e-3, 1.1e-3), (9e-4, 9e-4)), ((0.5, 0.1), (2.4e3, 7.7e-4)), ((0.5, 0.1), (1e-9, 0.2))):
        assert "alive" not in meaning(*close)
    faded = meaning((86.0, 0.11), (2.4e3, 7.7e-4))
    assert "With shortcuts the gradient vanishes at neither time; without, after training, and not before it." in faded
    assert "by a factor of 10^-1.4 before training and a factor of 10^2.2 after it" in faded
    assert "vanishes with and without shortcuts" in meaning((1e-9, 1e-9), (1e-9, 1e-9))
    assert "With shortcuts the gradient vanishes before" in meaning((1e-9, 1e-9), (0.1, 0.1))
    assert "The twin with shortcuts explodes" in meaning((1.0, 1.0), (0.1, 0.1), "exploding gradients")
    assert "The twin with shortcuts did not train to its end" in meaning((1.0, math.nan), (0.1, 0.1))


def test_twins_that_answer_alike_leave_room_for_images_that_were_not_drawn() -> None:
    answers = np.arange(205) < 71
    low, high = (ablation._difference((answers - answers.astype(float))[None])[at] for at in (1, 2))
    assert low == -high and 0.005 < high < 0.03
    apart = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 205)
    mean, *ends = ablation._difference(apart[None])
    assert (
        ends == pytest.approx(stats.ttest_1samp(apart, 0).confidence_interval(ablation.LEVEL)) and mean == apart.mean()
    )


def test_twins_may_begin_as_a_network_written_by_hand_and_with_no_weights_of_others(tmp_path: Path) -> None:
    assert "scratch:torch" in ablation.STARTS and "imagenet" not in ablation.STARTS
    with pytest.raises(UsageError, match="random weights"):
        ablation.compare("digits:0-3", {"start": "imagenet"}, tmp_path / "runs", NullReporter())


def test_twins_are_trained_once_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "DEPTHS", ("resnet18",))
    settings = {**FAST, "fraction": 0.2, "epochs": "1ep"}
    source = settings.pop("source")
    first = ablation.compare(source, settings, tmp_path, NullReporter(), engine="local")
    made = sorted(path.parent for path in Path(first["folder"]).glob("*/plan.json"))
    assert len(made) == 4 and all((folder / "result.json").exists() for folder in made)
    stamps = [(folder / "result.json").stat().st_mtime_ns for folder in made]
    assert ablation.compare(source, settings, tmp_path, NullReporter(), engine="local") == first
    assert [(folder / "result.json").stat().st_mtime_ns for folder in made] == stamps
    right = {(t["shortcut"], t["norm"]): t["accuracy"] for t in first["cells"]}
    results = [read_json(folder / "result.json") for folder in made]
    assert sorted(right.values()) == pytest.approx(sorted(result["test"]["accuracy"] for result in results))
    effect = next(e for e in first["effects"] if e["switch"] == "shortcut" and e["norm"] == "batch")
    assert effect["accuracy"] == pytest.approx(right["on", "batch"] - right["off", "batch"])
    assert effect["low"] <= effect["accuracy"] <= effect["high"] and math.isfinite(effect["orders"])


def test_twins_that_were_stopped_go_on_with_the_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "DEPTHS", ("resnet18",))
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))  # nothing to take over
    settings = {**FAST, "fraction": 0.2, "epochs": "1ep", "precision": "auto"}
    source = settings.pop("source")
    work = execute.work

    def stopping(text: str, reporter: Reporter) -> str:
        begun.append(job_protocol.title(text))
        if len(begun) < 3:
            return work(text, reporter)
        if len(begun) == 3:  # in the midst of a run, which says how to go on with itself
            return job_protocol.failed(InterruptedRunError(signal.SIGINT, "Go on with `headstart resume RUN`."))
        raise KeyboardInterrupt

    begun: list[str] = []
    monkeypatch.setattr(execute, "work", stopping)
    for measured in ("fp32", "bf16"):  # when the machine is measured anew, it may come out another way
        monkeypatch.setattr(ablation, "borne_by_all", lambda met, measured=measured: measured)
        with pytest.raises(InterruptedRunError) as stop:
            ablation.compare(source, settings, tmp_path, NullReporter(), engine="local")
        assert stop.value.hint == ablation.HINT and stop.value.exit_code == 130
    monkeypatch.setattr(execute, "work", work)
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("twins-*/*/result.json")}
    assert len(begun) == 4 and len(made) == 2
    found = ablation.compare(source, settings, tmp_path, NullReporter(), engine="local")
    (folder,) = tmp_path.glob("twins-*")
    assert found["folder"] == str(folder)
    runs = list(runs_in(folder))
    assert len(runs) == len({run.plan["network"]["norm"] + run.plan["network"]["shortcut"] for run in runs}) == 4
    assert {run.plan["machine"]["precision"] for run in runs} == {"fp32"}  # as the first ones had
    assert {path: path.stat().st_mtime_ns for path in made} == made


@pytest.mark.parametrize(("fraction", "health"), [(0.2, "too early to say"), (1.0, "healthy")])
def test_a_twin_is_as_healthy_as_its_run(
    fraction: float, health: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "DEPTHS", ("resnet18",))
    settings = {**FAST, "fraction": fraction, "epochs": "1ep"}
    found = ablation.compare(settings.pop("source"), settings, tmp_path, NullReporter(), engine="local")
    runs = {
        (run.plan["network"]["shortcut"], run.plan["network"]["norm"]): run.folder
        for run in runs_in(Path(found["folder"]))
    }
    for one in found["cells"]:
        (run,) = diagnosis.diagnose(runs[one["shortcut"], one["norm"]])
        assert one["findings"] == [finding.name for finding in run.findings]
        assert one["health"] == (", ".join(one["findings"]) or run.healthy.partition(":")[0].lower())
    assert health in {one["health"] for one in found["cells"]}
    assert sum(line.endswith(health) for line in found["sentences"]) >= 1


def test_twins_are_judged_on_val_where_no_photo_is_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "DEPTHS", ("resnet18",))
    plan = {**FAST, "epochs": "1ep", "batch_size": 8}
    del plan["source"]
    counts = {f"{split}/{name}": count for split, count in (("train", 8), ("val", 4)) for name in ("dark", "light")}
    source = photos(tmp_path / "photos", counts)
    found = ablation.compare(str(source), plan, tmp_path / "runs", NullReporter(), engine="local")
    assert "judged on 8 images of val, which also chose each twin's epoch" in found["sentences"][0]
    source = photos(tmp_path / "one", counts | {"test/dark": 1})
    with pytest.raises(DataError, match="One image cannot judge twins"):
        ablation.compare(str(source), plan, tmp_path / "runs", NullReporter(), engine="local")


@pytest.mark.parametrize("seeds", [0, -1])
def test_twins_of_no_seed_are_refused(seeds: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Use --seeds 1 or more"):
        ablation.compare("digits:0-3", {}, tmp_path / "runs", NullReporter(), seeds=seeds)
    assert not (tmp_path / "runs").exists()
