"""The verdicts of trained studies follow from their records."""

from pathlib import Path

import pytest

from headstart.config.study_request import build_study_spec
from headstart.engines.local import LocalEngine
from headstart.experiment import study
from headstart.reporter import NullReporter
from headstart.verification.verify import verify
from tests.files import read_json

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


def require_confirmed(folder: Path) -> None:
    outcome = verify(folder)
    assert [(leaf.where, leaf.stated, leaf.recomputed) for leaf in outcome.differences] == []
    assert outcome.faults == [] and outcome.numbers > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", list(STUDIES)[1:])
def test_every_number_of_other_studies_follows_from_their_records(name: str, tmp_path: Path) -> None:
    require_confirmed(run_study(tmp_path, **dict(STUDIES[name])))


def test_every_number_of_a_study_follows_from_its_records(tmp_path: Path) -> None:
    require_confirmed(run_study(tmp_path, **dict(STUDIES["grid with an optimum outside"])))


def test_arms_that_diverged_at_once_score_as_zero_logits(tmp_path: Path) -> None:
    """Logits of 0 predict the first class, which is correct for one class of four on val and on test."""
    varied = {"lr": ("1e30", "1e29", "0.01")}
    place = run_study(tmp_path, arms=("scratch",), vary=varied, epochs="9st", metric="balanced", seeds=3)
    require_confirmed(place)
    verdict = read_json(place / "verdict.json")
    for arm in verdict["arms"][:2]:
        assert arm["diverged"] == [0, 1, 2] and arm["val"] == arm["test"] == pytest.approx(1 / 4)
    contrast = next(c for c in verdict["contrasts"] if "0.01" not in c["first"] + c["second"])
    assert (contrast["wins"], contrast["losses"]) == (0, 0)
