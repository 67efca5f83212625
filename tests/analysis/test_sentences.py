"""Sentences of a verdict in normal and special cases, from tables of correct classifications."""

import gettext
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from headstart.analysis import contrasts
from headstart.analysis.details import sample_size_words
from headstart.analysis.headline import headline_contrast, not_worse
from headstart.analysis.notes import exposure_notes
from headstart.analysis.sentences import verdict_messages, verdict_sentences
from headstart.analysis.wording import length_words
from headstart.errors import NoWinnerError
from headstart.experiment import best_model
from headstart.i18n import Message, translated
from headstart.storage.schemas.contrast import SampleSizeEstimate
from headstart.storage.schemas.overlap import Overlap
from headstart.storage.schemas.verdict import EvaluationImages, Exposure, TimeToTarget, Verdict
from headstart.text import format_level
from tests.pseudo_catalog import CLOSE, OPEN, PseudoCatalog, words_left
from tests.varied_verdicts import ARMS, CLASS_NAME, EXAMPLE, NETWORK, varied_verdicts
from tests.verdicts import arm_result, changed, contrast, seed_result, times_to_target
from tests.verdicts import verdict as make_verdict

DIVERGED = (
    "Diverged runs count with their best model before the divergence, or as always predicting the first class if no "
    "epoch was validated."
)

NAMES = words_left(" ".join((*ARMS, NETWORK, CLASS_NAME, EXAMPLE, "val test")))
NAMES |= {name.capitalize() for name in NAMES}  # at the start of a sentence


def verdict_of(
    correct: dict[str, np.ndarray],
    val: dict[str, float],
    *,
    margin: float = 0.01,
    reached: dict[str, list[int]] | None = None,
) -> Verdict:
    """Return the verdict on arms with the tables `correct` [seeds, images]; the last one is the reference.

    `reached` is the epoch at which each seed of an arm reached the target, 0 for never.
    """
    names = list(correct)
    n, m = next(iter(correct.values())).shape
    arms = []
    for name, table in correct.items():
        rows = [seed_result(seed, test=float(row.mean()), val=val[name]) for seed, row in enumerate(table)]
        to_target = None
        if reached is not None:
            times = sorted(epoch for epoch in reached[name] if epoch)
            median = times[(n - 1) // 2] if 2 * len(times) >= n else None
            to_target = times_to_target(TimeToTarget(median=median, reached=len(times), n=n))
        arms.append(arm_result(name, rows, val=val[name], to_target=to_target))
    primary = (names[0], names[-1])
    pairs = contrasts.contrast_pairs(names, names[-1], primary)
    family = contrasts.compute_contrasts(correct, pairs, margin=margin) if n > 1 else []
    remaining = not_worse(family, names)
    return make_verdict(
        arms,
        margin=margin,
        target=0.0 if reached is None else 0.75,
        evaluation=EvaluationImages(split="test", images=m, units=m, declared="none"),
        primary=primary,
        question=primary,
        not_worse=remaining,
        selected=max(remaining, key=lambda name: val[name]),
        contrasts=family,
        winner=remaining[0] if len(remaining) == 1 else None,
    )


def correct_tables(*shares: float, n: int = 3, m: int = 200) -> list[np.ndarray]:
    """Return tables in which each arm is correct on the first share of the images, with equal seeds."""
    return [np.tile(np.arange(m) < share * m, (n, 1)).astype(np.int8) for share in shares]


def test_winner_is_the_only_arm_that_is_not_worse() -> None:
    a, b = correct_tables(0.9, 0.5)
    agreed = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.9, "scratch:b": 0.5})
    assert (agreed.selected, agreed.winner) == ("scratch:a", "scratch:a")
    texts = verdict_sentences(agreed)
    assert texts.headline == "Use scratch:a." and texts.evidence.startswith(
        "It was better than scratch:b on 3 of 3 paired seeds: +40.0"
    )
    best_model.require_winner(agreed)

    disagreeing = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.5, "scratch:b": 0.9})
    assert (disagreeing.selected, disagreeing.winner) == ("scratch:a", "scratch:a")  # whatever val says
    assert verdict_sentences(disagreeing).headline == "Use scratch:a."

    for n, shares in ((2, (0.9, 0.5)), (1, (0.9, 0.5)), (3, (0.9, 0.895))):  # too few seeds; too near
        a, b = correct_tables(*shares, n=n)
        undecided = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.9, "scratch:b": 0.5})
        assert undecided.selected == "scratch:a" and undecided.winner is None
        with pytest.raises(NoWinnerError, match="no winner"):
            best_model.require_winner(undecided)
    a, b = correct_tables(0.9, 0.9, m=2000)
    equal = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.9, "scratch:b": 0.5})
    assert (equal.contrasts[0].outcome, equal.winner) == ("equivalent", None)


def test_headline_answers_the_question_and_names_the_arms_that_remain() -> None:
    """The primary contrast is between the first and the last arm."""
    arms = ("scratch:a", "scratch:b", "scratch:c")

    def of(shares: tuple[float, ...], val: tuple[float, ...] = (0.9, 0.8, 0.5), m: int = 200) -> Verdict:
        tables = dict(zip(arms, correct_tables(*shares, m=m), strict=True))
        return verdict_of(tables, dict(zip(arms, val, strict=True)))

    third = of((0.7, 0.9, 0.5))
    assert (third.not_worse, third.selected, third.winner) == (["scratch:b"], "scratch:b", "scratch:b")
    texts = verdict_sentences(third)
    assert texts.headline == "scratch:a is better than scratch:c. Use scratch:b."
    assert texts.evidence.startswith("scratch:a was better than scratch:c on 3 of 3")

    level = of((0.9, 0.895, 0.5), val=(0.8, 0.9, 0.5))
    assert (level.not_worse, level.selected, level.winner) == (["scratch:a", "scratch:b"], "scratch:b", None)
    texts = verdict_sentences(level)
    assert texts.headline == ("Use scratch:a rather than scratch:c. Not shown to be worse than scratch:a: scratch:b.")
    assert texts.evidence.startswith("scratch:a was better than scratch:c on 3 of 3")
    assert texts.evidence.endswith("The exported model is of scratch:b, the best of these on val.")
    with pytest.raises(NoWinnerError, match="scratch:a and scratch:b"):
        best_model.require_winner(level)

    many = [f"scratch:{name}" for name in "abcdefg"]  # beyond five arms each is compared with the last one
    tables = dict(zip(many, correct_tables(0.9, *[0.61] * 5, 0.6), strict=True))
    texts = verdict_sentences(verdict_of(tables, dict.fromkeys(many, 0.5)))
    assert texts.headline.startswith("Use scratch:a rather than scratch:g. Not compared with scratch:a: scratch:b, ")

    unsettled = of((0.5, 0.9, 0.495))
    assert verdict_sentences(unsettled).headline == "Undecided between scratch:a and scratch:c. Use scratch:b."
    all_near = of((0.5, 0.505, 0.495), val=(0.1, 0.9, 0.5))
    assert all_near.not_worse == list(arms) and all_near.selected == "scratch:b"
    assert verdict_sentences(all_near).headline == "Undecided between scratch:a and scratch:c."
    behind = verdict_of(
        dict(
            zip(
                ("scratch:a", "scratch:b", "scratch:d", "scratch:c"),
                correct_tables(0.5, 0.505, 0.1, 0.495),
                strict=True,
            )
        ),
        dict.fromkeys(("scratch:a", "scratch:b", "scratch:d", "scratch:c"), 0.5),
    )
    assert verdict_sentences(behind).headline == (
        "Undecided between scratch:a and scratch:c. Not shown to be worse than any other arm: scratch:a, scratch:b and "
        "scratch:c."
    )
    reference = of((0.5, 0.5, 0.9))
    assert verdict_sentences(reference).headline == "Use scratch:c."


@settings(max_examples=200)
@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_headline_pairs_and_remaining_arms_do_not_contradict(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shares = rng.choice([0.5, 0.6, 0.9], count) + rng.choice([0.0, 0.02], count)
    names = [f"scratch:{'abcde'[i]}" for i in range(count)]
    tables = {name: (rng.random((3, 200)) < share).astype(np.int8) for name, share in zip(names, shares, strict=True)}
    verdict = verdict_of(tables, dict(zip(names, rng.random(count), strict=True)))
    text = verdict_sentences(verdict).headline
    for row in verdict.contrasts:
        better, worse = (row.first, row.second)[:: 1 if row.outcome == "better" else -1]
        if row.outcome in ("better", "worse"):
            assert worse not in verdict.not_worse and worse != verdict.selected
            assert f"Use {worse}." not in text and f"Undecided between {better} and {worse}" not in text
            assert f"Undecided between {worse} and {better}" not in text
    assert verdict.selected in verdict.not_worse
    assert max(names, key=lambda name: tables[name].mean()) in verdict.not_worse
    used = re.search(r"Use (scratch:.)", text)
    assert used is None or used[1] in verdict.not_worse
    shown = headline_contrast(verdict)
    assert shown is not None and shown.pair == {names[0], names[-1]}


def test_arm_that_is_behind_on_test_is_second_in_the_evidence() -> None:
    """Val selects an arm that is 13 percentage points behind on 18 images: undecided."""
    rng = np.random.default_rng(0)
    a = (rng.random((3, 18)) < 0.63).astype(np.int8)
    b = (rng.random((3, 18)) < 0.5).astype(np.int8)
    verdict = verdict_of({"scratch:a": a, "scratch": b}, {"scratch:a": 0.5, "scratch": 0.56})
    primary = verdict.contrasts[0]
    assert primary.mean > 0 and primary.outcome == "undecided" and verdict.selected == "scratch"
    text = verdict_sentences(verdict).evidence
    assert text.startswith(f"scratch:a had higher accuracy than scratch on {primary.wins} of 3 paired seeds")
    assert ": +" in text
    assert "; the equivalence margin is ±1.0 percentage points. " in text
    assert text.endswith("The exported model is of scratch, the best of these on val.")
    shown = headline_contrast(verdict)  # also drawn in the report
    assert shown is not None and (shown.first, shown.mean) == ("scratch:a", primary.mean)
    assert verdict_sentences(verdict).headline == "Undecided between scratch:a and scratch."


def test_identical_arms_are_equivalent_with_enough_images() -> None:
    a, b = correct_tables(1.0, 1.0, m=50)
    texts = verdict_sentences(verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 1.0, "scratch:b": 1.0}))
    assert (
        texts.headline == "Undecided between scratch:a and scratch:b."
    )  # 50 images can miss more than a percentage point
    assert texts.evidence.startswith(
        "scratch:a and scratch:b had the same accuracy on every seed: 0.0 percentage points (95 % interval -8.3 to"
    )
    a, b = correct_tables(0.9, 0.9, m=2000)
    texts = verdict_sentences(verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.9, "scratch:b": 0.9}))
    assert texts.headline == (
        "scratch:a and scratch:b are equivalent: they differ by less than the equivalence margin."
    )
    a, b = correct_tables(1.0, 1.0, m=300, n=8)
    texts = verdict_sentences(verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 1.0, "scratch:b": 1.0}))
    assert texts.headline.startswith("Undecided")  # although the interval is inside the margin
    assert "percentage points, but so few test images can miss a larger difference." in texts.evidence
    enough = math.ceil(stats.t.ppf(0.975, 7) / 0.005 - 2)  # half-width at the minimum variance
    assert texts.next_steps == (
        f"An interval of ±0.5 percentage points, which always decides, needs about {enough} test images."
    )


def test_seeds_with_equal_accuracy_are_counted() -> None:
    a, b = correct_tables(0.6, 0.5, m=20)
    a[0] = b[0]
    verdict = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.6, "scratch:b": 0.5}, margin=0.2)
    assert verdict_sentences(verdict).evidence.startswith(
        "scratch:a had higher accuracy than scratch:b on 2 of 3 paired seeds, equal on 1: +6.7 percentage points"
    )


def test_verdict_with_one_seed_has_val_result_and_notes() -> None:
    a, b = correct_tables(0.9, 0.5, n=1)
    verdict = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.9, "scratch:b": 0.5})
    arms = [verdict.arms[0], changed(verdict.arms[1], diverged=[0])]
    overlap = Overlap(kind="image", splits=("train", "test"), count=3, examples=("a.jpg", "b.jpg"))
    verdict = changed(verdict, arms=arms, overlaps=[overlap])
    texts = verdict_messages(verdict)
    assert texts.paragraph.startswith(
        "Undecided. scratch:a had the highest accuracy on val. A decision needs at least 3 seeds: run at least 2 more."
    )
    assert f"scratch:b diverged on seed 0. {DIVERGED}" in texts.notes and texts.notes[-1] == overlap.sentence
    verdict = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.9, "scratch:b": 0.9})
    assert verdict_sentences(verdict).evidence == "scratch:a and scratch:b had the same accuracy on val."


def test_arms_with_only_diverged_runs_are_undecided() -> None:
    a, b = correct_tables(0.25, 0.25, m=2000)
    verdict = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.25, "scratch:b": 0.25})
    diverged = [changed(arm, diverged=[0, 1, 2]) for arm in verdict.arms]
    texts = verdict_sentences(changed(verdict, arms=diverged))
    assert texts.headline == "Undecided: every run of scratch:a and of scratch:b diverged."
    assert f"scratch:a diverged on seeds 0, 1 and 2. {DIVERGED}" in texts.notes


@pytest.mark.parametrize(
    ("a", "b", "text"),
    [
        ([0, 0, 0], [0, 0, 0], "Neither scratch:a nor scratch:b reached 75 % on val on any of 3 seeds."),
        ([1, 1, 2], [0, 0, 0], "scratch:a reached 75 % on val after 1 epoch, scratch:b never (median over seeds)."),
        ([0, 0, 0], [3, 3, 4], "scratch:b reached 75 % on val after 3 epochs, scratch:a never (median over seeds)."),
        ([2, 0, 0], [0, 0, 0], "scratch:a reached 75 % on val on 1 of 3 seeds only, scratch:b never."),
        (
            [1, 2, 2],
            [3, 3, 0],
            "scratch:a reached 75 % on val after 2 epochs (median; reached on 3 of 3 seeds), scratch:b after 3 epochs "
            "(median; reached on 2 of 3 seeds).",
        ),
        (
            [1, 2, 2],
            [3, 3, 4],
            "scratch:a reached 75 % on val after 2 epochs, scratch:b after 3 epochs (medians over seeds).",
        ),
        (
            [1, 2, 2],
            [2, 2, 3],
            "scratch:a and scratch:b reached 75 % on val after 2 epochs (medians over seeds).",
        ),
    ],
)
def test_time_sentence_gives_the_median_or_how_many_seeds_reached_the_target(
    a: list[int], b: list[int], text: str
) -> None:
    first, second = correct_tables(0.9, 0.5)
    verdict = verdict_of(
        {"scratch:a": first, "scratch:b": second},
        {"scratch:a": 0.9, "scratch:b": 0.5},
        reached={"scratch:a": a, "scratch:b": b},
    )
    assert verdict_sentences(verdict).time == text


def test_other_budget_names_its_better_arm_first() -> None:
    a, b = correct_tables(0.9, 0.5)
    verdict = verdict_of({"scratch:a": a, "scratch:b": b}, {"scratch:a": 0.9, "scratch:b": 0.5})
    short = verdict_of({"scratch:a": b, "scratch:b": a}, {"scratch:a": 0.5, "scratch:b": 0.9})
    verdict = changed(verdict, conditions=[short])
    assert re.match(
        r"Exploratory: after 1 epoch scratch:b is better than scratch:a, \+40\.0 percentage points \(95 % interval 33",
        verdict_sentences(verdict).budgets,
    )


def test_clipped_interval_has_no_half_width() -> None:
    a = np.repeat([[1], [1], [0]], 18, axis=1)
    verdict = verdict_of({"scratch:a": a, "scratch:b": 0 * a}, {"scratch:a": 0.7, "scratch:b": 0.5})
    texts = verdict_sentences(verdict)
    assert "to 100.0) on 18 test images" in texts.evidence and "instead of" not in texts.width


def test_width_with_infinitely_many_seeds() -> None:
    text = verdict_sentences(
        verdict_of(
            dict(zip(("scratch:a", "scratch:b"), correct_tables(0.9, 0.5), strict=True)),
            {"scratch:a": 0.9, "scratch:b": 0.5},
        )
    ).width
    assert text == "More seeds would hardly narrow the interval: its width is the sampling error of the test set."


@pytest.mark.parametrize(
    ("endless", "more"), [(0.022, " with these 3 seeds, or far fewer with more seeds."), (0.2, ".")]
)
def test_sample_size_mentions_seeds_where_seeds_are_the_cause(endless: float, more: str) -> None:
    size = SampleSizeEstimate(half_width=0.01, seeds=None, units=(24_689, None))
    undecided = contrast(mean=0.05, low=-0.173, high=0.273, half_width_infinite_seeds=endless, sample_sizes=[size])
    text = sample_size_words(make_verdict(), undecided)
    assert text == f"An interval of ±1 percentage points needs about 24,689 or more test images{more}"


@pytest.mark.parametrize(
    ("level", "words"),
    [(0.95, "95 %"), (0.975, "97.5 %"), (1 - 0.05 / 15, "99.7 %"), (0.9995, "99.95 %"), (0.99999, "99.999 %")],
)
def test_confidence_level_is_never_rounded_to_100(level: float, words: str) -> None:
    assert format_level(level) == words


def test_unknown_training_images_are_reported_as_unknown() -> None:
    exposure = {
        "scratch": Exposure(classes=[], images=0), "file:a": Exposure(classes=[], images=None),
        "file:a+frozen": Exposure(classes=[], images=None), "run:b": Exposure(classes=[], images=4),
    }  # fmt: skip
    evaluation = EvaluationImages(split="test", images=9, units=9, declared="none")
    verdict = make_verdict(list(map(arm_result, exposure)), exposure=exposure, evaluation=evaluation)
    assert exposure_notes(verdict) == [
        "b was trained on 4 of the 9 test images: its accuracy is biased upwards.",
        "It is unknown whether a was trained on any of the test images: the training images are not available.",
    ]


def test_length_in_words_has_its_plural() -> None:
    assert [length_words(length) for length in ("1ep", "8ep", "0.5ep", "1.5ep", "1st", "500st", "20%")] == [
        "1 epoch", "8 epochs", "0.5 epochs", "1.5 epochs", "1 step", "500 steps", "20%",
    ]  # fmt: skip


@given(varied_verdicts())
def test_sentences_of_a_verdict_are_translated_and_stored_in_english(verdict: Verdict) -> None:
    messages, stored = verdict_messages(verdict), verdict_sentences(verdict)
    assert stored.to_json() == vars(messages)
    assert not isinstance(stored.headline, Message)  # a record does not depend on the reader
    assert messages.paragraph == translated(messages.paragraph, gettext.NullTranslations())

    catalog = PseudoCatalog()
    texts = [messages.headline, messages.evidence, *messages.details, *messages.others, *messages.notes]
    for text in (*texts, messages.limits):
        shown = translated(text, catalog)
        assert shown.startswith(OPEN) and shown.endswith(CLOSE), text
        assert words_left(shown) <= NAMES, (text, shown)
