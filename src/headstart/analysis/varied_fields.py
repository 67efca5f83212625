"""Find whether the verdict depends on a varied field: the primary contrast at each of its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headstart.analysis.details import leader_first, outcome_words
from headstart.analysis.headline import flip_contrast
from headstart.analysis.wording import arm_words, interval
from headstart.i18n import Message, _, join
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.contrast import Contrast, Dependence, Outcome, ValueContrast, VariedField
from headstart.storage.schemas.verdict import Condition, VerdictNumbers
from headstart.text import format_points

ValuePairs = Mapping[str, Sequence[ValueContrast]]  # by varied field


def value_pairs(arms: Sequence[ArmSpec], primary: tuple[str, str]) -> ValuePairs:
    """Return the primary contrast at each value of every varied field in which its two arms agree.

    The other varied fields keep the values of the primary contrast. A field in which the two arms differ is the
    question itself. There are none if learning rates are compared, because val selects the contrast of such a study.

    Args:
        arms: Arms of the study, in order.
        primary: Names of the arms of the primary contrast, first and second.
    """
    by_name = {arm.name: arm for arm in arms}
    first, second = (by_name[name] for name in primary)
    if "lr" in first.varied:
        return {}
    pairs: dict[str, list[ValueContrast]] = {}
    for field, common in first.varied.items():
        if second.varied.get(field) != common:
            continue
        for value in dict.fromkeys(arm.varied[field] for arm in arms if field in arm.varied):
            names = [_with_value(arm, field, value).name for arm in (first, second)]
            if all(name in by_name for name in names):
                contrast = ValueContrast(value=value, first=names[0], second=names[1])
                pairs.setdefault(field, []).append(contrast)
    return {field: contrasts for field, contrasts in pairs.items() if len(contrasts) > 1}


def _with_value(arm: ArmSpec, field: str, value: str) -> ArmSpec:
    return arm.model_copy(update={"varied": {**arm.varied, field: value}})


def varied_fields(pairs: ValuePairs, contrasts: Sequence[Contrast]) -> list[VariedField]:
    """Return for every varied field whether the verdict depends on it, by the decisions of the study's contrasts.

    Args:
        pairs: What `value_pairs` returned.
        contrasts: Decided contrasts, with those of the pairs; empty with one seed.
    """
    if not contrasts:
        return []
    fields = []
    for field, values in pairs.items():
        outcomes = {_contrast_of(contrasts, value).outcome for value in values}
        decided = outcomes - {Outcome.UNDECIDED}
        if len(decided) > 1:
            dependence = Dependence.DEPENDS
        elif Outcome.UNDECIDED in outcomes:
            dependence = Dependence.UNDECIDED
        else:
            dependence = Dependence.INDEPENDENT
        fields.append(VariedField(field=field, values=list(values), dependence=dependence))
    return fields


def _contrast_of(contrasts: Sequence[Contrast], pair: ValueContrast) -> Contrast:
    """Return the contrast of a pair as its first arm minus its second."""
    names = {pair.first, pair.second}
    return flip_contrast(next(contrast for contrast in contrasts if contrast.pair == names), pair.first)


def varied_words(verdict: VerdictNumbers) -> Message | None:
    """Return the result at each value of the varied fields, and whether the verdict depends on them; None without."""
    if not verdict.varied:
        return None
    return join([sentence for field in verdict.varied for sentence in _field_words(verdict, field)])


def _field_words(verdict: Condition, varied: VariedField) -> list[Message]:
    """Return a sentence for each value of a field, and one on the field."""
    field = varied.field.replace("_", "-")
    sentences = []
    for value in varied.values:
        contrast = leader_first(_contrast_of(verdict.contrasts, value))
        first, second = (
            arm_words(verdict.spec(name).without(varied.field)) for name in (contrast.first, contrast.second)
        )
        sentences.append(
            _(
                "With {field} {value}, {outcome}: {mean} percentage points ({interval}).",
                field=field,
                value=value.value,
                outcome=outcome_words(first, second, contrast.outcome),
                mean=format_points(contrast.mean, signed=True),
                interval=interval(contrast),
            )
        )
    return [*sentences, _dependence_words(field, varied.dependence)]


def _dependence_words(field: str, dependence: Dependence) -> Message:
    """Return whether the decision depends on a field. The difference between two values is not tested."""
    match dependence:
        case Dependence.DEPENDS:
            return _("The decisions differ between the values of {field}.", field=field)
        case Dependence.INDEPENDENT:
            return _("The decision is the same at every value of {field}.", field=field)
    return _("It is undecided whether the decision is the same at every value of {field}.", field=field)
