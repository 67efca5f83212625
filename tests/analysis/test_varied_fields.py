"""The primary contrast at each value of a varied field is one of the study's contrasts."""

from itertools import product

import pytest

from headstart.analysis.contrasts import compute_contrasts
from headstart.analysis.sentences import verdict_messages
from headstart.analysis.varied_fields import value_pairs, varied_fields
from headstart.analysis.verdict import with_comparators, with_values
from headstart.storage.schemas.contrast import Dependence
from headstart.storage.schemas.verdict import Verdict
from tests.analysis.test_sentences import correct_tables
from tests.handmade import arm_spec
from tests.verdicts import arm_result, seed_result, verdict

CROPS = ("0.08", "0.35", "0.6")


def crossed(*fields: tuple[str, tuple[str, ...]], starts: tuple[str, ...] = ("scratch", "imagenet")) -> list[str]:
    """Return the names of the arms of a study that varies these fields."""
    return [
        ",".join([start, *(f"{field}={value}" for (field, _values), value in zip(fields, combination, strict=True))])
        for start in starts
        for combination in product(*(values for _field, values in fields))
    ]


def pairs_of(names: list[str], primary: tuple[str, str]) -> dict[str, list[tuple[str, str, str]]]:
    """Return (value, first, second) by field."""
    by_field = value_pairs([arm_spec(name) for name in names], primary)
    return {field: [(pair.value, pair.first, pair.second) for pair in pairs] for field, pairs in by_field.items()}


def test_pairs_are_the_primary_contrast_at_each_value() -> None:
    names = crossed(("crop", CROPS))
    expected = [(value, f"imagenet,crop={value}", f"scratch,crop={value}") for value in CROPS]
    assert pairs_of(names, ("imagenet,crop=0.08", "scratch,crop=0.08")) == {"crop": expected}
    assert pairs_of(names, ("imagenet,crop=0.6", "scratch,crop=0.6")) == {"crop": expected}


def test_other_fields_keep_the_values_of_the_primary_contrast() -> None:
    names = crossed(("crop", CROPS[:2]), ("weight-decay", ("0", "0.1")))
    primary = ("imagenet,crop=0.35,weight-decay=0.1", "scratch,crop=0.35,weight-decay=0.1")
    assert pairs_of(names, primary) == {
        "crop": [(crop, *(f"{start},crop={crop},weight-decay=0.1" for start in ("imagenet", "scratch")))
                 for crop in CROPS[:2]],
        "weight_decay": [(decay, *(f"{start},crop=0.35,weight-decay={decay}" for start in ("imagenet", "scratch")))
                         for decay in ("0", "0.1")],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "primary"),
    [
        (crossed(("crop", CROPS)), ("imagenet,crop=0.6", "scratch,crop=0.08")),  # the crop is in the question
        (crossed(("crop", CROPS), starts=("scratch",)), ("scratch,crop=0.35", "scratch,crop=0.08")),
        (crossed(("lr", ("0.1", "0.01"))), ("imagenet,lr=0.1", "scratch,lr=0.1")),
        (crossed(("crop", CROPS), ("lr", ("0.1",))), ("imagenet,crop=0.6,lr=0.1", "scratch,crop=0.6,lr=0.1")),
        (["scratch", "imagenet", "imagenet+frozen"], ("imagenet", "scratch")),
    ],
)
def test_fields_of_the_question_and_learning_rates_have_no_pairs(names: list[str], primary: tuple[str, str]) -> None:
    assert pairs_of(names, primary) == {}


def study(accuracies: dict[str, tuple[float, float]], n: int = 3) -> Verdict:
    """Return the verdict of a study of crops, from the accuracy of imagenet and of scratch at each."""
    shares = {
        f"{start},crop={crop}": pair[place]
        for place, start in enumerate(("imagenet", "scratch"))
        for crop, pair in accuracies.items()
    }
    tables = dict(zip(shares, correct_tables(*shares.values(), n=n, m=1000), strict=True))
    first = next(iter(accuracies))
    primary = (f"imagenet,crop={first}", f"scratch,crop={first}")
    by_value = value_pairs([arm_spec(name) for name in shares], primary)
    pairs = with_values(with_comparators(list(shares), primary, primary[0], []), by_value)
    family = compute_contrasts(tables, pairs, margin=0.01)
    arms = [arm_result(name, [seed_result(seed, test=share) for seed in range(n)]) for name, share in shares.items()]
    varied = varied_fields(by_value, family)
    return verdict(arms, contrasts=family, primary=primary, question=primary, varied=varied)


@pytest.mark.parametrize(
    ("accuracies", "n", "dependence"),
    [
        ({"0.08": (0.9, 0.9), "0.35": (0.9, 0.8)}, 3, Dependence.DEPENDS),
        ({"0.08": (0.9, 0.8), "0.35": (0.8, 0.9)}, 3, Dependence.DEPENDS),
        ({"0.08": (0.9, 0.8), "0.35": (0.9, 0.7)}, 3, Dependence.INDEPENDENT),
        ({"0.08": (0.9, 0.9), "0.35": (0.9, 0.9)}, 5, Dependence.INDEPENDENT),
        ({"0.08": (0.9, 0.8), "0.35": (0.9, 0.894)}, 3, Dependence.UNDECIDED),
        ({"0.08": (0.9, 0.8), "0.35": (0.9, 0.894), "0.6": (0.9, 0.9)}, 5, Dependence.DEPENDS),
        ({"0.08": (0.9, 0.8), "0.35": (0.9, 0.7)}, 2, Dependence.UNDECIDED),  # too few seeds to decide
    ],
)
def test_dependence_follows_from_the_decisions(
    accuracies: dict[str, tuple[float, float]], n: int, dependence: Dependence
) -> None:
    made = study(accuracies, n)
    (field,) = made.varied
    assert (field.field, field.dependence) == ("crop", dependence)
    assert [value.value for value in field.values] == list(accuracies)
    text = verdict_messages(made).varied
    assert text is not None and text in verdict_messages(made).paragraph and "crop=" not in text
    for value, (first, second) in accuracies.items():
        assert f"crop {value}" in text and f"{100 * abs(first - second):.1f}" in text


def test_pairs_beyond_five_arms_join_the_family_and_widen_its_intervals() -> None:
    made = study({"0.08": (0.9, 0.9), "0.35": (0.9, 0.8), "0.6": (0.9, 0.8)})
    assert len(made.contrasts) == 5 + 2 and made.contrasts[0].level == pytest.approx(0.975)
    assert [c.level for c in made.contrasts[1:]] == [pytest.approx(1 - 0.025 / 6)] * 6
    tables = dict(zip("ab", correct_tables(0.9, 0.8, m=1000), strict=True))
    alone = compute_contrasts(tables, [("a", "b")], margin=0.01)[0]
    added = made.contrasts[-1]
    assert added.mean == pytest.approx(alone.mean) and added.low < alone.low and added.p_adjusted > alone.p


def test_study_without_varied_fields_or_with_one_seed_has_no_sentence() -> None:
    pairs = value_pairs(list(map(arm_spec, crossed(("crop", CROPS)))), ("imagenet,crop=0.6", "scratch,crop=0.6"))
    assert pairs and varied_fields(pairs, []) == []
    assert verdict_messages(verdict()).varied is None


def test_better_arm_is_first_in_the_sentence_of_each_value() -> None:
    text = verdict_messages(study({"0.08": (0.9, 0.8), "0.35": (0.7, 0.9)})).varied
    assert text is not None
    first, second = text.split("crop 0.35")
    assert first.index("imagenet") < first.index("scratch") and second.index("scratch") < second.index("imagenet")
