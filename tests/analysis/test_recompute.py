"""An independent script that reads only the files computes every number of a verdict and its sentences again."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from headstart.analysis.verdict import compute_verdict
from headstart.config.study_file import read_study
from headstart.config.study_request import build_study_spec
from headstart.engines.local import LocalEngine
from headstart.experiment import study
from headstart.reporter import NullReporter
from headstart.storage.schemas.search import SearchResults
from tests import recompute
from tests.handmade import seal

SCRIPT = Path(recompute.__file__)
PLAN = {"network": "timm:test_resnet", "batch_size": 8, "precision": "fp32", "threads": 1, "target": 0.5}
STUDIES = {
    "grid with an optimum outside": {"budgets": "66st", "grid": "0.003,0.001", "survivors": 1, "seeds": 3},
    "balanced accuracy, two budgets, a search per seed": {
        "budgets": "9st,64st", "grid": "0.02,0.005", "survivors": 1, "search": "per-seed", "metric": "balanced",
        "seeds": 3, "primary": "scratch vs scratch@adam", "margin": "6pt",
    },
    "compared learning rates, on images of a source": {
        "arms": ("scratch", "source:digits:1-7"), "epochs": "40st", "seeds": 3,
        "vary": {"lr": ("0.001", "0.02", "3e-6")},
    },
    "fractions and a grid, given rates": {
        "search": "off", "epochs": "40st", "fractions": "0.5,1", "vary": {"momentum": ("0", "0.9")}, "seeds": 3,
    },
}  # fmt: skip


def run_study(place: Path, **settings) -> Path:
    arms = ("scratch", "scratch:orthogonal" if "vary" in settings else "scratch@adam")
    arms = settings.pop("arms", arms)
    vary = settings.pop("vary", {})
    spec = build_study_spec("digits:0-3", arms, vary, None, None, None, {**PLAN, **settings})
    folder = study.begin(spec, place, NullReporter())
    study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_study(tmp_path_factory.mktemp("small"), **STUDIES["grid with an optimum outside"])


@pytest.mark.slow
@pytest.mark.parametrize("name", list(STUDIES)[1:])
def test_every_number_of_other_studies_follows_from_their_records(name: str, tmp_path: Path) -> None:
    wrong, rows = recompute.check(run_study(tmp_path, **dict(STUDIES[name])))
    assert wrong == [] and [row for row in rows if row[3] is None] == []


def test_arms_that_diverged_at_once_score_as_zero_logits(tmp_path: Path) -> None:
    """Logits of 0 predict the first class, which is correct for one class of four on val and on test."""
    varied = {"lr": ("1e30", "1e29", "0.01")}
    place = run_study(tmp_path, arms=("scratch",), vary=varied, epochs="9st", metric="balanced", seeds=3)
    wrong, rows = recompute.check(place)
    assert wrong == [] and [row for row in rows if row[3] is None] == []
    verdict = json.loads((place / "verdict.json").read_text())
    for arm in verdict["arms"][:2]:
        assert arm["diverged"] == [0, 1, 2] and arm["val"] == arm["test"] == pytest.approx(1 / 4)
    contrast = next(c for c in verdict["contrasts"] if "0.01" not in c["first"] + c["second"])
    assert (contrast["wins"], contrast["losses"]) == (0, 0)


def test_every_number_of_a_study_follows_from_its_records(small: Path) -> None:
    wrong, rows = recompute.check(small)
    assert wrong == [] and [row for row in rows if row[3] is None] == []
    assert {row[0] for row in rows} >= {"evidence", "time", "width", "notes", "limits"}
    assert "headstart" not in SCRIPT.read_text().partition("import sys")[2].partition("MAX_SAMPLE_SIZE")[0]
    process = subprocess.run([sys.executable, SCRIPT, small], capture_output=True, text=True)
    assert process.returncode == 0
    assert re.findall(r"\d+", process.stdout.splitlines()[-1]) == [str(len(rows)), "0"]


def change_predictions(folder: Path) -> None:
    path = next(folder.glob("*-s1/artifacts/predictions.npz"))
    with np.load(path) as arrays:
        content = {name: arrays[name] for name in arrays.files}
    for row in np.flatnonzero(content["split"] == "test")[:9]:
        content["logits"][row] = np.roll(content["logits"][row], 1)
    np.savez(path, **content)


def change_confusion(folder: Path) -> None:
    path = next(folder.glob("*-s1/metrics.jsonl"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["kind"] == "epoch":
            line["confusion"]["counts"][0] += 5
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def change_field(folder: Path) -> None:
    verdict = json.loads((folder / "verdict.json").read_text())
    verdict["contrasts"][0]["p_adjusted"] *= 0.9
    (folder / "verdict.json").write_text(json.dumps(verdict))


def change_sentence(folder: Path) -> None:
    verdict = json.loads((folder / "verdict.json").read_text())
    verdict["sentences"]["width"] = "With infinitely many seeds it would still be about ±77.7."
    (folder / "verdict.json").write_text(json.dumps(verdict))


@pytest.mark.parametrize("count", [3, "all but one", "all"])
def test_result_without_copies_follows_from_the_predictions(count: int | str, small: Path, tmp_path: Path) -> None:
    """Some test images are marked as copies, as in declared splits with equal images."""
    place = shutil.copytree(small, tmp_path / "copy")
    for number, path in enumerate(sorted(place.glob("*/artifacts/predictions.npz"))):
        with np.load(path) as arrays:
            content = {name: arrays[name] for name in arrays.files}
        tests = np.flatnonzero(content["split"] == "test")
        marked = tests[: {"all": len(tests), "all but one": len(tests) - 1}.get(count, count)]
        content["copy"][marked[number % 2 :: 2]] = True  # a copy in any run counts
        np.savez(path, **content)
        seal(path.parents[1])
    groups = SearchResults.read(place / "search.json").groups
    (place / "verdict.json").write_text(json.dumps(compute_verdict(place, read_study(place), groups).to_json()))
    wrong, rows = recompute.check(place)
    assert wrong == [] and [row for row in rows if row[3] is None] == []
    result = json.loads((place / "verdict.json").read_text())["without_copies"]
    assert (result["contrast"] is None, result["scores"] == {}) == (count != 3, count == "all")
    assert (result["copies"], result["images"]) == (len(marked), len(tests) - len(marked))


@pytest.mark.parametrize("tamper", [change_predictions, change_confusion, change_field, change_sentence])
def test_changed_record_or_verdict_is_detected(tamper, small: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(small, tmp_path / "copy")
    assert recompute.main(tmp_path / "copy") == 0
    tamper(tmp_path / "copy")
    assert recompute.main(tmp_path / "copy") == 1


def test_median_time_counts_runs_that_never_reach_the_target() -> None:
    assert recompute.median_time([2, None, 4, 5, None]) == 5
    assert recompute.median_time([5, 5, None, None, None]) is None
    assert recompute.median_time([3, None, 2, None]) == 3
    assert recompute.median_time([3, 1, 2]) == 2
