"""What a verdict says where things are not as usual: every sentence is held against a table of who was right."""

import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from headstart.analysis import contrasts
from headstart.analysis.headline import headline_contrast, read_verdict, winner_of
from headstart.analysis.sentences import known, sentences, settling_sentence
from headstart.analysis.verdict import rival_of
from headstart.analysis.wording import paragraph
from headstart.errors import UsageError
from headstart.experiment import best_model
from headstart.text import level_words, pluralize


def verdict_of(
    right: dict[str, np.ndarray],
    val: dict[str, float],
    *,
    margin: float = 0.01,
    reached: dict[str, list[int]] | None = None,
) -> dict[str, Any]:
    """The verdict on arms of which `right` [seeds, images] were right; the last one is the reference.

    `reached`: the epochs after which the seeds of an arm passed the target, 0 for never.
    """
    names = list(right)
    n, m = next(iter(right.values())).shape
    arms = []
    for name, table in right.items():
        rows = [{"seed": seed, "test": float(row.mean()), "val": val[name]} for seed, row in enumerate(table)]
        times = sorted(epoch for epoch in (reached or {}).get(name, [0] * n) if epoch)
        median = times[(n - 1) // 2] if 2 * len(times) >= n else None
        test = float(table.mean())
        passed = {"median": median, "reached": len(times), "n": n}
        arm = {"name": name, "val": val[name], "test": test, "optimism": val[name] - test, "diverged": []}
        arms.append({**arm, "to_target": {"epochs": passed}, "seeds": rows})
    chosen = max(names, key=lambda name: val[name])
    primary = (names[0], names[-1])
    wanted = contrasts.pairs(names, names[-1], primary)
    found = {
        "metric": "accuracy", "margin": margin, "target": 0.75 if reached is not None else 0.0, "network": "resnet18",
        "budget": "1ep", "fraction": 1.0, "evaluation": {"split": "test", "images": m, "declared": "none"}, "n": n,
        "one_split": False, "arms": arms, "primary": list(primary), "chosen": chosen,
        "rival": rival_of(chosen, primary, []), "grid_rows": [], "interim": [], "labels": None, "conditions": [],
        "contrasts": [asdict(one) for one in contrasts.contrasts(right, wanted, margin=margin)] if n > 1 else [],
        "search": {}, "known": {}, "overlaps": [],
    }  # fmt: skip
    return {**found, "winner": winner_of(found)}


def rights(*shares: float, n: int = 3, m: int = 200) -> list[np.ndarray]:
    """Tables in which each arm is right on its share of the images, the easiest first, for every seed alike."""
    return [np.tile(np.arange(m) < share * m, (n, 1)).astype(np.int8) for share in shares]


def test_the_winner_is_what_beat_the_other_and_the_chosen_is_vals() -> None:
    a, b = rights(0.9, 0.5)
    agreed = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.9, "scratch:b": 0.5})
    assert (agreed["chosen"], agreed["winner"]) == ("scratch:a", "scratch:a")
    said = sentences(agreed)
    assert said["headline"] == "Start from scratch:a." and said["evidence"].startswith(
        "It beat scratch:b on 3 of 3 paired seeds: +40.0"
    )
    best_model.require(agreed)

    against = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.5, "scratch:b": 0.9})
    assert (against["chosen"], against["winner"], against["rival"]) == ("scratch:b", "scratch:a", "scratch:a")
    said = sentences(against)
    assert said["headline"] == "Start from scratch:a, although val chose scratch:b: val and test disagree."
    assert said["evidence"].startswith("Scratch:a beat scratch:b on 3 of 3 paired seeds: +40.0 points (95 % interval ")
    with pytest.raises(UsageError, match="lost on test"):
        best_model.require({**against, "sentences": said})

    for n, shares in ((2, (0.9, 0.5)), (1, (0.9, 0.5)), (3, (0.9, 0.895))):  # too few seeds; too near
        a, b = rights(*shares, n=n)
        open_ = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.9, "scratch:b": 0.5})
        assert open_["chosen"] == "scratch:a" and open_["winner"] is None
        with pytest.raises(UsageError, match="no winner"):
            best_model.require(open_)
    a, b = rights(0.9, 0.9, m=2000)
    equal = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.9, "scratch:b": 0.5})
    assert (equal["contrasts"][0]["outcome"], equal["winner"]) == ("equal", None)


def test_an_arm_that_lost_to_a_third_one_is_no_winner() -> None:
    a, b, c = rights(0.7, 0.9, 0.5)
    found = verdict_of(
        {"scratch:a": a, "scratch:b": b, "scratch:c": c}, {"scratch:a": 0.9, "scratch:b": 0.8, "scratch:c": 0.5}
    )
    assert (found["chosen"], found["winner"]) == ("scratch:a", None)
    said = sentences(found)
    assert said["headline"] == "Val and test disagree: val chose scratch:a; on test scratch:a lost to scratch:b."
    assert said["evidence"].startswith("Scratch:a beat scratch:c on 3 of 3")
    found = verdict_of(
        {"scratch:a": a, "scratch:b": b, "scratch:c": c}, {"scratch:a": 0.8, "scratch:b": 0.7, "scratch:c": 0.9}
    )
    assert (found["chosen"], found["winner"]) == ("scratch:c", None)
    lost = "on test scratch:c lost to scratch:a; scratch:a lost to scratch:b"
    assert sentences(found)["headline"] == f"Val and test disagree: val chose scratch:c; {lost}."


def test_who_is_behind_on_test_is_not_called_ahead() -> None:
    """Val chose what is behind by 13 points on 18 images: undecided."""
    rng = np.random.default_rng(0)
    a = (rng.random((3, 18)) < 0.63).astype(np.int8)
    b = (rng.random((3, 18)) < 0.5).astype(np.int8)
    found = verdict_of({"scratch:a": a, "scratch": b}, {"scratch:a": 0.5, "scratch": 0.56})
    seen = found["contrasts"][0]
    assert seen["mean"] > 0 and seen["outcome"] == "undecided" and found["chosen"] == "scratch"
    said = sentences(found)["evidence"]
    assert said.startswith(f"Scratch:a was ahead of scratch on {seen['wins']} of 3 paired seeds") and ": +" in said
    assert said.endswith("; the tie is ±1.0. Val chose scratch.")
    told = headline_contrast(found)
    assert told is not None and (told["first"], told["mean"]) == ("scratch:a", seen["mean"])  # what the page draws, too
    level = verdict_of({"scratch:a": a, "scratch": b}, {"scratch:a": 0.56, "scratch": 0.56})
    assert "Val chose" not in sentences(level)["evidence"]
    assert sentences(found)["headline"] == "Undecided between scratch:a and scratch."


def test_equal_to_the_bit() -> None:
    a, b = rights(1.0, 1.0, m=50)
    said = sentences(verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 1.0, "scratch:b": 1.0}))
    assert said["headline"] == "Undecided between scratch:a and scratch:b."  # 50 images hide more than a point
    assert said["evidence"].startswith(
        "Scratch:a and scratch:b had the same accuracy on every seed: 0.0 points (95 % interval -8.3 to"
    )
    a, b = rights(0.9, 0.9, m=2000)
    said = sentences(verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.9, "scratch:b": 0.9}))
    assert said["headline"] == "It does not matter: scratch:a and scratch:b are practically equal here."
    a, b = rights(1.0, 1.0, m=300, n=8)
    said = sentences(verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 1.0, "scratch:b": 1.0}))
    assert said["headline"].startswith("Undecided")  # inside the tie, and yet: the reader is told why
    assert said["evidence"].endswith("the tie is ±1.0, but so few test images may hide a difference that is larger.")
    enough = math.ceil(stats.t.ppf(0.975, 7) / 0.005 - 2)  # the floor's half-width
    assert said["next_steps"] == f"To know it to ±0.5 it would take about {enough} test images."


def test_a_seed_that_is_level_is_counted_as_such() -> None:
    a, b = rights(0.6, 0.5, m=20)
    a[0] = b[0]
    said = sentences(verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.6, "scratch:b": 0.5}, margin=0.2))[
        "evidence"
    ]
    assert said.startswith("Scratch:a was ahead of scratch:b on 2 of 3 paired seeds, level with it on 1: +6.7 points")


def test_one_seed_says_what_was_found_and_what_a_reader_must_know() -> None:
    a, b = rights(0.9, 0.5, n=1)
    found = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.9, "scratch:b": 0.5})
    found["arms"][1]["diverged"], found["overlaps"] = [0], ["Three images are in train and test."]
    said = sentences(found)
    assert paragraph(said).startswith(
        "Undecided. Scratch:a did best on val. One seed decides nothing: 2 more are needed."
    )
    assert "Scratch:b diverged on seed 0: counted as it was before." in said["notes"] and said["notes"][-1].startswith(
        "Three"
    )
    found = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.9, "scratch:b": 0.9})
    assert sentences(found)["evidence"] == "Scratch:a and scratch:b did equally well on val."


def test_nothing_is_said_of_arms_of_which_every_run_diverged() -> None:
    a, b = rights(0.25, 0.25, m=2000)
    found = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.25, "scratch:b": 0.25})
    for arm in found["arms"]:
        arm["diverged"] = [0, 1, 2]
    said = sentences(found)
    assert said["headline"] == "Undecided: every run of scratch:a and of scratch:b diverged."
    assert "Scratch:a diverged on seeds 0, 1 and 2: counted as it was before." in said["notes"]


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([0, 0, 0], [0, 0, 0], "Neither scratch:a nor scratch:b passed 75 % on val on any of 3 seeds."),
        ([1, 1, 2], [0, 0, 0], "Scratch:a passed 75 % on val after 1 epoch, scratch:b never (median over seeds)."),
        ([0, 0, 0], [3, 3, 4], "Scratch:b passed 75 % on val after 3 epochs, scratch:a never (median over seeds)."),
        ([2, 0, 0], [0, 0, 0], "Scratch:a passed 75 % on val on 1 of 3 seeds only, scratch:b never."),
        (
            [1, 2, 2],
            [3, 3, 0],
            "Scratch:a passed 75 % on val after 2 epochs, scratch:b after 3 epochs (medians over seeds).",
        ),
    ],
)
def test_when_the_target_was_passed(a: list[int], b: list[int], said: str) -> None:
    one, other = rights(0.9, 0.5)
    found = verdict_of(
        {"scratch:a": one, "scratch:b": other},
        {"scratch:a": 0.9, "scratch:b": 0.5},
        reached={"scratch:a": a, "scratch:b": b},
    )
    assert sentences(found)["time"] == said


def test_the_other_budget_is_told_from_the_side_that_was_ahead_there() -> None:
    a, b = rights(0.9, 0.5)
    found = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.9, "scratch:b": 0.5})
    short = verdict_of({"scratch:a": b, "scratch:b": a}, {"scratch:a": 0.5, "scratch:b": 0.9})
    found["conditions"] = [{**short, "budget": "1ep"}]
    assert re.match(
        r"After 1 epoch scratch:b beat scratch:a: \+40\.0 points \(95 % interval 33\.2", sentences(found)["budgets"]
    )


def test_a_cut_interval_has_no_half_width() -> None:
    a = np.repeat([[1], [1], [0]], 18, axis=1)
    found = verdict_of({"scratch:a": a, "scratch:b": 0 * a}, {"scratch:a": 0.7, "scratch:b": 0.5})
    said = sentences(found)
    assert "to 100.0) on 18 test images" in said["evidence"] and "instead of" not in said["width"]


def test_what_is_left_with_endless_seeds() -> None:
    same = sentences(
        verdict_of(
            dict(zip(("scratch:a", "scratch:b"), rights(0.9, 0.5), strict=True)), {"scratch:a": 0.9, "scratch:b": 0.5}
        )
    )["width"]
    assert same == "More seeds would hardly make the interval narrower: its width is the luck of the test images."


@pytest.mark.parametrize(
    ("endless", "more"), [(0.022, " with these 3 seeds, or far fewer with more seeds."), (0.2, ".")]
)
def test_images_alone_are_not_advised_where_seeds_are_the_cause(endless: float, more: str) -> None:
    need = {"half_width": 0.01, "seeds": None, "images": [24_689, None]}
    seen = {"n": 3, "mean": 0.05, "low": -0.173, "high": 0.273, "endless_seeds": endless, "need": need}
    said = settling_sentence({"evaluation": {"declared": "none"}}, seen)
    assert said == f"To know it to ±1 it would take about 24,689 or more test images{more}"


@pytest.mark.parametrize(
    ("level", "words"),
    [(0.95, "95 %"), (0.975, "97.5 %"), (1 - 0.05 / 15, "99.7 %"), (0.9995, "99.95 %"), (0.99999, "99.999 %")],
)
def test_no_level_is_rounded_to_100(level: float, words: str) -> None:
    assert level_words(level) == words


def test_photos_that_nobody_knows_are_not_called_none() -> None:
    verdict = {"evaluation": {"images": 9, "declared": "none"}, "known": {
        "scratch": {"classes": [], "images": 0}, "file:a": {"classes": [], "images": None},
        "file:a+frozen": {"classes": [], "images": None}, "run:b": {"classes": [], "images": 4},
    }}  # fmt: skip
    assert known(verdict) == [
        "B was trained on 4 of the 9 test images: its numbers flatter it.",
        "Whether a had seen any of the test images is not known: the photos of its training are not at hand.",
    ]


def test_one_has_no_plural() -> None:
    assert [pluralize(k, "test image") for k in (0, 1, 1200)] == ["0 test images", "1 test image", "1,200 test images"]


def test_a_verdict_from_before_chosen_is_still_read(tmp_path: Path) -> None:
    """There `winner` was val's choice, and the reference's rival was itself."""
    a, b = rights(0.9, 0.5)
    found = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.5, "scratch:b": 0.9})
    found["conditions"] = [verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.9, "scratch:b": 0.5})]

    def old(one: dict[str, Any]) -> dict[str, Any]:
        content = {name: value for name, value in one.items() if name != "chosen"}
        return {**content, "winner": one["chosen"], "rival": one["primary"][1]}

    content = {**old(found), "conditions": [old(one) for one in found["conditions"]]}
    (tmp_path / "verdict.json").write_text(json.dumps(content))
    assert read_verdict(tmp_path) == json.loads(json.dumps(found))
    (tmp_path / "verdict.json").write_text(json.dumps(found))
    assert read_verdict(tmp_path) == json.loads(json.dumps(found))
