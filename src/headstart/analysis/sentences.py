"""Word a verdict in sentences. Every number in a sentence is a field of the verdict, rounded."""

from __future__ import annotations

from dataclasses import dataclass, field

from headstart.analysis import details
from headstart.analysis.contrasts import can_decide
from headstart.analysis.headline import headline_contrast
from headstart.analysis.notes import notes
from headstart.analysis.varied_fields import varied_words
from headstart.analysis.wording import (
    arm_words,
    counted_images,
    evaluation_images,
    interval,
    metric_words,
    named_words,
    plural_number,
    splits,
)
from headstart.i18n import Message, Value, _, join, ngettext
from headstart.storage.schemas.contrast import Contrast, Outcome
from headstart.storage.schemas.verdict import Sentences, TimeToTarget, VerdictNumbers
from headstart.text import format_points, join_list


@dataclass(frozen=True)
class VerdictMessages:
    """The verdict in messages, with the fields of `Sentences`; a field that does not apply is None."""

    headline: Message
    evidence: Message
    limits: Message
    time: Message | None = None
    interim: Message | None = None
    labels: Message | None = None
    rows: Message | None = None
    budgets: Message | None = None
    varied: Message | None = None
    width: Message | None = None
    next_steps: Message | None = None
    others: list[Message] = field(default_factory=list)
    notes: list[Message] = field(default_factory=list)

    @property
    def details(self) -> list[Message]:
        """Sentences after headline and evidence that apply, in order."""
        texts = (
            self.varied,
            self.budgets,
            self.rows,
            self.interim,
            self.time,
            self.labels,
            self.width,
            self.next_steps,
        )
        return [text for text in texts if text is not None]

    @property
    def after_headline(self) -> Message:
        """The sentences after the headline as one paragraph."""
        return join([self.evidence, *self.details, self.limits])

    @property
    def paragraph(self) -> Message:
        """All sentences as one paragraph, for the terminal."""
        return join([self.headline, self.after_headline])


def verdict_sentences(verdict: VerdictNumbers) -> Sentences:
    """Return the verdict in English sentences, which verdict.json stores."""
    messages = verdict_messages(verdict)
    return Sentences(
        headline=messages.headline,
        evidence=messages.evidence,
        time=messages.time,
        interim=messages.interim,
        labels=messages.labels,
        rows=messages.rows,
        budgets=messages.budgets,
        varied=messages.varied,
        width=messages.width,
        next_steps=messages.next_steps,
        others=list(messages.others),
        notes=list(messages.notes),
        limits=messages.limits,
    )


def verdict_messages(verdict: VerdictNumbers) -> VerdictMessages:
    """Return the verdict in words."""
    contrast = headline_contrast(verdict)
    rows = details.rows_words(verdict) if len(verdict.grid_rows) > 1 else None
    if contrast is None:
        return VerdictMessages(
            headline=_("Undecided."),
            evidence=best_on_val(verdict),
            rows=rows,
            next_steps=details.undecidable_words(verdict),
            notes=notes(verdict),
            limits=details.limits(verdict),
        )
    others = [details.leader_first(other) for other in verdict.contrasts if other.pair != contrast.pair]
    return VerdictMessages(
        headline=headline(verdict, contrast),
        evidence=evidence(verdict, contrast),
        time=time_words(verdict, contrast),
        interim=details.interim_words(verdict),
        labels=details.labels_words(verdict),
        rows=rows,
        budgets=details.budgets_words(verdict, contrast),
        varied=varied_words(verdict),
        width=details.width_words(verdict, contrast),
        next_steps=details.sample_size_words(verdict, contrast),
        others=[details.contrast_words(verdict, other) for other in others],
        notes=notes(verdict),
        limits=details.limits(verdict),
    )


def best_on_val(verdict: VerdictNumbers) -> Message:
    """Return which arms have the highest mean on val; the evidence of a verdict with one seed."""
    best = max(arm.val for arm in verdict.arms)
    arms = [arm_words(arm.spec) for arm in verdict.arms if arm.val == best]
    metric, selection = metric_words(verdict), splits(verdict)[0]
    if len(arms) > 1:
        return _("{arms} had the same {metric} on {selection}.", arms=join_list(arms), metric=metric,
                 selection=selection)  # fmt: skip
    return _("{arm} had the highest {metric} on {selection}.", arm=arms[0], metric=metric, selection=selection)


def headline(verdict: VerdictNumbers, contrast: Contrast) -> Message:
    """Return the answer to the declared question, and which arms are not shown to be worse than any other.

    Args:
        verdict: The verdict.
        contrast: The headline's contrast, with the better arm first.
    """
    first, second = (named_words(verdict, name) for name in (contrast.first, contrast.second))
    remaining = [named_words(verdict, name) for name in verdict.not_worse]
    others = [name for name in verdict.not_worse if name not in contrast.pair]
    compared = [other.pair for other in verdict.contrasts]
    if contrast.outcome is Outcome.BETTER and verdict.not_worse == [contrast.first]:
        return _("Use {arm}.", arm=first)
    if contrast.outcome is Outcome.BETTER and contrast.first in verdict.not_worse and others:
        texts = [_("Use {first} rather than {second}.", first=first, second=second)]
        if level := [named_words(verdict, name) for name in others if {contrast.first, name} in compared]:
            text = _("Not shown to be worse than {first}: {others}.", first=first, others=join_list(level))
            texts.append(text)
        if apart := [named_words(verdict, name) for name in others if {contrast.first, name} not in compared]:
            texts.append(_("Not compared with {first}: {others}.", first=first, others=join_list(apart)))
        return join(texts)
    answer = _answer(verdict, contrast, first, second)
    if set(verdict.not_worse) == contrast.pair or len(verdict.not_worse) == len(verdict.arms):
        return answer
    if len(remaining) == 1:
        return _("{answer} Use {arm}.", answer=answer, arm=remaining[0])
    return _("{answer} Not shown to be worse than any other arm: {arms}.", answer=answer, arms=join_list(remaining))


def _answer(verdict: VerdictNumbers, contrast: Contrast, first: Message, second: Message) -> Message:
    """Return the decision of the headline's contrast, if it recommends no arm."""
    if contrast.outcome is Outcome.BETTER:
        return _("{first} is better than {second}.", first=first, second=second)
    if all(len(verdict.arm(name).diverged) == contrast.n for name in contrast.pair):
        return _("Undecided: every run of {first} and of {second} diverged.", first=first, second=second)
    if contrast.outcome is Outcome.EQUIVALENT:
        return _(
            "{first} and {second} are equivalent: they differ by less than the equivalence margin.",
            first=first,
            second=second,
        )
    return _("Undecided between {first} and {second}.", first=first, second=second)


def evidence(verdict: VerdictNumbers, contrast: Contrast) -> Message:
    """Return the difference with its interval, n and m, and on how many paired seeds it had that sign."""
    difference = _(
        "{mean} percentage points ({interval}) on {images}",
        mean=format_points(contrast.mean, signed=True),
        interval=interval(contrast),
        images=counted_images(contrast.m, contrast.g, splits(verdict)[1]),
    )
    if contrast.outcome is Outcome.BETTER:
        return _better_words(verdict, contrast, difference)
    text = _(
        "{comparison}: {difference}; {margin}.",
        comparison=_comparison(verdict, contrast),
        difference=difference,
        margin=_margin_words(verdict, contrast),
    )
    return join([text, *_exported_words(verdict)])


def _better_words(verdict: VerdictNumbers, contrast: Contrast, difference: Message) -> Message:
    """Return by how much the first arm was better; the arm is "it" where the headline names it alone."""
    by_less, is_named = contrast.by_less_than_margin, verdict.not_worse == [contrast.first]
    first, second = named_words(verdict, contrast.first), named_words(verdict, contrast.second)
    seeds, margin = _winning_seeds(contrast), format_points(verdict.margin)
    arms: dict[str, Value] = {"first": first, "second": second, "seeds": seeds, "difference": difference}
    if is_named and by_less:
        text = _(
            "It was better than {second} on {seeds}: {difference}; possibly by less than the equivalence margin "
            "of ±{margin} percentage points.",
            margin=margin,
            **arms,
        )
    elif is_named:
        text = _("It was better than {second} on {seeds}: {difference}.", **arms)
    elif by_less:
        text = _(
            "{first} was better than {second} on {seeds}: {difference}; possibly by less than the equivalence "
            "margin of ±{margin} percentage points.",
            margin=margin,
            **arms,
        )
    else:
        text = _("{first} was better than {second} on {seeds}: {difference}.", **arms)
    return join([text, *_exported_words(verdict)])


def _winning_seeds(contrast: Contrast) -> Message:
    """Return on how many of the paired seeds the first arm was ahead."""
    return ngettext(
        "{wins} of {count:,} paired seed", "{wins} of {count:,} paired seeds", contrast.n, wins=contrast.wins
    )


def _comparison(verdict: VerdictNumbers, contrast: Contrast) -> Message:
    """Return which arm of an undecided or equivalent contrast was ahead, and on how many seeds."""
    first, second = named_words(verdict, contrast.first), named_words(verdict, contrast.second)
    metric, seeds = metric_words(verdict), _winning_seeds(contrast)
    equal = contrast.n - contrast.wins - contrast.losses
    if equal == contrast.n:
        return _("{first} and {second} had the same {metric} on every seed", first=first, second=second,
                 metric=metric)  # fmt: skip
    if equal:
        return _("{first} had higher {metric} than {second} on {seeds}, equal on {equal}", first=first,
                 metric=metric, second=second, seeds=seeds, equal=equal)  # fmt: skip
    return _("{first} had higher {metric} than {second} on {seeds}", first=first, metric=metric, second=second,
             seeds=seeds)  # fmt: skip


def _margin_words(verdict: VerdictNumbers, contrast: Contrast) -> Message:
    """Return the equivalence margin, and why an interval inside it does not show equivalence."""
    margin = format_points(verdict.margin)
    inside = -verdict.margin <= contrast.low and contrast.high <= verdict.margin
    if inside and contrast.outcome is Outcome.UNDECIDED and can_decide(contrast.n, contrast.g):
        return _(
            "the equivalence margin is ±{margin} percentage points, but so few {images} can miss a larger difference",
            margin=margin,
            images=evaluation_images(verdict),
        )
    return _("the equivalence margin is ±{margin} percentage points", margin=margin)


def _exported_words(verdict: VerdictNumbers) -> list[Message]:
    """Return which arm's model is exported, if several arms remain; else nothing."""
    if len(verdict.not_worse) == 1:
        return []
    selection = splits(verdict)[0]
    return [
        _(
            "The exported model is of {arm}, the best of these on {selection}.",
            arm=named_words(verdict, verdict.selected),
            selection=selection,
        )
    ]


def time_words(verdict: VerdictNumbers, contrast: Contrast) -> Message | None:
    """Return when each of the two arms reached the target, or None without a target."""
    names = [contrast.first, contrast.second]
    times: dict[str, TimeToTarget] = {}
    for name in names:
        to_target = verdict.arm(name).to_target
        if to_target is None:
            return None
        times[name] = to_target.epochs
    target = _("{share:.3g} % on {selection}", share=100 * verdict.target, selection=splits(verdict)[0])
    reached_by_none = not any(time.reached for time in times.values())
    names.sort(key=lambda name: not times[name].reached)  # an arm that reached the target comes first
    first, second = (named_words(verdict, name) for name in names)
    if reached_by_none:
        return ngettext(
            "Neither {first} nor {second} reached {target} on any of {count} seed.",
            "Neither {first} nor {second} reached {target} on any of {count} seeds.",
            times[names[0]].n,
            first=first,
            second=second,
            target=target,
        )
    censored = any(time.median is not None and time.reached < time.n for time in times.values())
    medians = 0 if censored else sum(time.median is not None for time in times.values())
    first_time, second_time = (_time(times[name], every_run=not censored) for name in names)
    values = {"first": first, "target": target, "first_time": first_time, "second": second, "second_time": second_time}
    if medians == 2 and times[names[0]].median == times[names[1]].median:
        return _("{first} and {second} reached {target} {first_time} (medians over seeds).", **values)
    if medians == 0:
        return _("{first} reached {target} {first_time}, {second} {second_time}.", **values)
    if medians == 1:
        return _("{first} reached {target} {first_time}, {second} {second_time} (median over seeds).", **values)
    return _("{first} reached {target} {first_time}, {second} {second_time} (medians over seeds).", **values)


def _time(time: TimeToTarget, *, every_run: bool) -> Message:
    """Return when an arm reached the target: its median time, or on how many seeds it reached the target."""
    if time.median is not None:
        return median_words(time, every_run=every_run)
    if not time.reached:
        return _("never")
    return ngettext(
        "on {reached} of {count:,} seed only", "on {reached} of {count:,} seeds only", time.n, reached=time.reached
    )


def median_words(time: TimeToTarget, *, every_run: bool) -> Message:
    """Return a median time in epochs: "after 7 epochs (median; reached on 3 of 5 seeds)".

    Args:
        time: Median time to the target in epochs, as in the verdict.
        every_run: Every run reached the target, so that the number of those that did is left out.
    """
    median = 0.0 if time.median is None else time.median
    after = ngettext("after {epochs:g} epoch", "after {epochs:g} epochs", plural_number(median), epochs=median)
    if every_run:
        return after
    return ngettext(
        "{after} (median; reached on {reached} of {count:,} seed)",
        "{after} (median; reached on {reached} of {count:,} seeds)",
        time.n,
        after=after,
        reached=time.reached,
    )
