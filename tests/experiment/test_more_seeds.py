"""Seeds are added to a finished study within what it declared, and never otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

import headstart
from headstart.analysis.looks import Looks
from headstart.analysis.run_records import runs_in
from headstart.analysis.statistics import family_levels
from headstart.config.study_file import read_study, write_study
from headstart.config.study_request import build_study_spec
from headstart.errors import UsageError
from headstart.experiment.decision_words import decision_words
from headstart.experiment.more_seeds import add_seeds
from tests.messages import fields_of, values_of
from tests.short_runs import SGD

SETTINGS = {"network": "timm:test_resnet", "threads": 1, "precision": "fp32", "budgets": "4st", "search": "off", **SGD}
ARMS = ("scratch", "scratch@adam")


def declared(rules: Mapping[str, object]):
    return build_study_spec("digits:0-3", ARMS, None, None, None, None, {**SETTINGS, **rules})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three seeds which may have up to six."""
    runs = tmp_path_factory.mktemp("runs")
    rules = {**SETTINGS, "seeds": 3, "max_seeds": 6, "first_share": 0.6}
    return headstart.compare("digits:0-3", arms=ARMS, runs=runs, quiet=True, **rules).folder


def test_added_seeds_are_a_further_analysis_with_its_share_of_the_error(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / finished.name
    shutil.copytree(finished, folder)
    first = headstart.Study(folder).verdict
    looks, (level,) = Looks((), 3, (), 6, 0.6), family_levels(1, 0.5)
    assert (first.n, first.further, first.max_seeds) == (3, [], 6)
    assert first.contrasts[0].level == looks.level_after(3, level) == 1 - 0.6 * (1 - level)
    before = {run.hash: (run.folder / "result.json").read_bytes() for run in runs_in(folder)}
    second = headstart.resume(folder, more_seeds=1, quiet=True).verdict
    third = headstart.resume(folder, more_seeds=2, quiet=True).verdict
    assert [verdict.further for verdict in (second, third)] == [[4], [4, 6]] and (second.n, third.n) == (4, 6)
    for verdict in (second, third):
        analyses = Looks((), 3, tuple(verdict.further), 6, 0.6)
        assert verdict.contrasts[0].level == analyses.level_after(verdict.n, level)
    after = {run.hash: (run.folder / "result.json").read_bytes() for run in runs_in(folder)}
    assert before.items() <= after.items() and len(after) == 12
    assert read_study(folder).protocol.further == (4, 6)
    assert headstart.resume(folder, quiet=True).verdict == third
    with pytest.raises(UsageError) as error:
        headstart.resume(folder, more_seeds=1, quiet=True)
    assert (fields_of(error.value.message)["limit"], values_of(error.value.hint)[-1]) == (6, 6)
    assert headstart.Study(folder).verdict == third  # nothing was changed


@pytest.mark.parametrize("change", ["none declared", "too many", "no verdict", "ended early", "not positive"])
def test_seeds_are_not_added_otherwise(change: str, finished: Path, tmp_path: Path) -> None:
    folder, count = tmp_path / finished.name, 1
    shutil.copytree(finished, folder)
    spec = read_study(folder)
    if change == "none declared":
        write_study(folder, type(spec)(spec.protocol.model_copy(update={"max_seeds": 0}), spec.plan))
    elif change == "ended early":
        write_study(folder, type(spec)(spec.protocol.model_copy(update={"seeds": 4}), spec.plan))
    elif change == "no verdict":
        (folder / "verdict.json").unlink()
    else:
        count = 4 if change == "too many" else 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UsageError):
        add_seeds(folder, count)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "rules", [{"max_seeds": 5}, {"max_seeds": 3}, {"further": "7"}, {"max_seeds": 9, "further": "7,6"},
              {"max_seeds": 9, "further": "10"}, {"max_seeds": 9, "further": "5"}, {"first_share": 1}]
)  # fmt: skip
def test_invalid_reserves_are_rejected(rules: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        declared({"seeds": 5, **rules})


def test_dry_run_says_what_the_reserve_costs_in_width() -> None:
    """z for 96 % is 2.054, and for 95 % 1.960."""
    spec = declared({"seeds": 5, "max_seeds": 20, "first_share": 0.8})
    (text,) = (text for text in decision_words(spec, 10**5, 10**5) if "limit" in fields_of(text))
    values = fields_of(text)
    assert (values["limit"], values["seeds"]) == (20, 5)
    assert (values["share"], values["wider"]) == pytest.approx((80, 100 * (2.0537 / 1.9600 - 1)), abs=0.01)
    assert not [text for text in decision_words(declared({"seeds": 5}), 10**5, 10**5) if "limit" in fields_of(text)]
