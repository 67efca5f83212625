"""Verdicts whose names refer to nothing are refused, although they have the hash of their content."""

import json
from typing import Any

import pytest

from headstart.errors import DataError
from headstart.storage.schemas.search import ArmSearch, SearchGroup
from headstart.storage.schemas.verdict import Exposure, Verdict
from headstart.storage.schemas.verdict_names import name_fault
from tests import verdicts
from tests.handmade import arm_spec
from tests.verdicts import arm_result, changed, contrast, seed_result

ARMS = [arm_result("imagenet"), arm_result("scratch")]
SEARCH = SearchGroup(
    budget="1ep", seed=None, grid=[0.1], arms=[ArmSearch(arm="scratch", selected=0.1, at_edge=False, tried=[])]
)


def test_a_verdict_that_names_its_own_arms_is_read() -> None:
    verdict = verdicts.verdict(ARMS, contrasts=[contrast()], search=[SEARCH])
    assert Verdict.parse(json.dumps(verdict.to_json()), "verdict.json") == verdict


@pytest.mark.parametrize(
    "changes",
    [
        {"arms": []}, {"arms": ARMS[:1]}, {"arms": [ARMS[0], ARMS[0]]}, {"n": 2}, {"n": 0},
        {"arms": [ARMS[0], changed(ARMS[1], spec=arm_spec("imagenet"))]},
        {"arms": [ARMS[0], arm_result("scratch", [seed_result(0), seed_result(0)])]},
        {"arms": [ARMS[0], changed(ARMS[1], seeds=[])]},
        {"primary": ("imagenet", "other")}, {"selected": "other"}, {"question": ("imagenet", "other")},
        {"not_worse": ["imagenet", "other"]}, {"not_worse": ["scratch"]}, {"winner": "other"},
        {"grid_rows": [{"variant": "other", "lr": 0.1, "edge": None}]},
        {"exported": {"run": "run-7", "seed": 0}},
        {"contrasts": [contrast("imagenet", "other")]}, {"contrasts": [contrast("scratch", "scratch")]},
        {"contrasts": [contrast(), contrast("scratch", "imagenet")]}, {"metric": "nope"},
        {"contrasts": [contrast(primary=False)]}, {"contrasts": [contrast()], "winner": "imagenet"},
        {"contrasts": [contrast()], "varied": [{"field": "norm", "dependence": "undecided",
                                                "values": [{"value": "a", "first": "scratch", "second": "scratch"}]}]},
        {"without_copies": {"copies": 1, "images": 2, "scores": {"other": 0.5}, "contrast": None}},
        {"exposure": {"other": Exposure(classes=[], images=None)}},
        {"search": [changed(SEARCH, budget="9ep")]},
        {"search": [changed(SEARCH, arms=[changed(SEARCH.arms[0], arm="other")])]},
        {"conditions": [{name: getattr(verdicts.verdict(ARMS), name) for name in
                         ("budget", "fraction", "counts", "evaluation", "n", "one_split", "arms", "primary", "selected",
                          "question", "not_worse", "grid_rows", "exported", "contrasts", "interim", "winner")}]},
    ],
)  # fmt: skip
def test_a_verdict_that_names_something_else_is_refused(changes: dict[str, Any]) -> None:
    verdict = changed(verdicts.verdict(ARMS), **changes)
    assert name_fault(verdict) is not None
    with pytest.raises(DataError):
        Verdict.parse(json.dumps(verdict.to_json()), "verdict.json")


@pytest.mark.parametrize(
    "changes",
    [{"budget": "x"}, {"budget": "1" * 400 + "ep"}, {"labels": {"equivalences": []}}],
    ids=["no length", "400 digits", "no fractions"],
)
def test_a_verdict_with_values_that_no_study_has_is_refused(changes: dict[str, Any]) -> None:
    content = {**verdicts.verdict(ARMS).to_json(), **changes}
    with pytest.raises(DataError):
        Verdict.parse(json.dumps(content), "verdict.json")


@pytest.mark.parametrize("changes", [{"selected": 0.2}, {"selected": -1.0}])
def test_a_search_selects_a_rate_of_its_grid(changes: dict[str, float]) -> None:
    arm = {**SEARCH.arms[0].to_json(), **changes}
    with pytest.raises(DataError):
        SearchGroup.parse(json.dumps({**SEARCH.to_json(), "arms": [arm]}), "search.json")
