"""The compared runs of a study or a folder by arm, with the style that each arm has in all figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headstart.analysis.wording import named_words
from headstart.figures.canvas import ArmStyle, arm_style
from headstart.i18n import Message, _, ngettext
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.series import PlottedRun, group_by_recipe

MAX_ARMS = 12  # arms with a line; more could not be distinguished


@dataclass(frozen=True)
class Group:
    """The runs of an arm, with its name and its style."""

    name: Message
    style: ArmStyle
    runs: Sequence[PlottedRun]


def compared_groups(inputs: PageInputs) -> list[Group]:
    """Return the compared runs by arm in the declared order, but the selected arm first if not all arms have a line.

    Outside a study, runs of one arm that differ in more than their seed are groups of their own.
    """
    if not isinstance(inputs, StudyInputs):
        named = group_by_recipe(inputs.compared_runs).items()
        return [Group(name, arm_style(place), runs) for place, (name, runs) in enumerate(named)]
    by_arm = enumerate(inputs.runs_by_arm.items())
    groups = [(arm, Group(named_words(inputs.verdict, arm), arm_style(place), runs)) for place, (arm, runs) in by_arm]
    if len(groups) > MAX_ARMS:
        groups.sort(key=lambda item: item[0] != inputs.verdict.selected)
    return [group for _arm, group in groups]


def arm_styles(inputs: StudyInputs) -> dict[str, ArmStyle]:
    """Return the style of each arm of a verdict, by name."""
    return {arm.name: arm_style(place) for place, arm in enumerate(inputs.verdict.arms)}


def left_out_words(groups: Sequence[Group]) -> list[Message]:
    """Return how many arms have no line."""
    more = len(groups) - MAX_ARMS
    if more <= 0:
        return []
    return [ngettext("{count} more arm is not drawn.", "{count} more arms are not drawn.", more)]


def seed_words(groups: Sequence[Group]) -> Message:
    """Return how the lines of seeds and of their mean are drawn, with the number of runs of an arm."""
    counts = sorted({len(group.runs) for group in groups})
    if counts == [1]:
        return ngettext("One line for the run.", "One line for each of the {count} runs.", len(groups))
    low, high = counts[0], counts[-1]
    if low == high:
        return _("Thin: each of the {count} runs of an arm. Thick with markers: their mean.", count=low)
    return _("Thin: each of the {low} to {high} runs of an arm. Thick with markers: their mean.", low=low, high=high)
