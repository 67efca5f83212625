"""The fields that the author fills in, with questions that fit the study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headstart.analysis.headline import headline_contrast
from headstart.analysis.wording import named_words
from headstart.diagnostics.checks import findings
from headstart.figures.documents.content import ReportContent
from headstart.figures.documents.model import Blank, Block, Heading, Target, refer
from headstart.i18n import Message, _
from headstart.storage.schemas.contrast import Outcome
from headstart.storage.schemas.verdict import Verdict

CURVES, FLOW, CONFUSION = "learning-curves", "gradient-flow", "confusion-matrix"  # keys of figures


def discussion_blocks(content: ReportContent) -> Iterator[Block]:
    """Yield the section for the author's interpretation."""
    yield Heading(_("Discussion"))
    if content.verdict is not None:
        yield Blank(_("Why do the arms differ, or why not?"), _arm_questions(content.verdict))
    yield Blank(_("What do the learning curves and the gradients show?"), _curve_questions(content))
    yield Blank(
        _("Sources of error"),
        [
            _("Which decisions before the training could have changed the result: data, split, settings?"),
            _("Are the images and labels representative of the images that the network is meant for?"),
            _("Which of the notes and limits in this document matter most here?"),
        ],
    )
    yield Blank(
        _("What would you do next?"),
        [
            _("Which single experiment would answer the most important open question?"),
            _("Which result do you expect from it, and why?"),
        ],
    )
    yield Heading(_("Conclusion"))
    yield Blank(
        _("Answer to the question"),
        [
            _("What is the answer in one or two sentences, with its number and its uncertainty?"),
            _("For which data, network and training does it hold?"),
        ],
    )


def _arm_questions(verdict: Verdict) -> list[Message]:
    contrast = headline_contrast(verdict)
    questions = []
    if contrast is not None:
        arms = {"first": named_words(verdict, contrast.first), "second": named_words(verdict, contrast.second)}
        if contrast.outcome is Outcome.BETTER:
            questions.append(_("Which property of {first} can explain its advantage over {second}?", **arms))
        elif contrast.outcome is Outcome.EQUIVALENT:
            questions.append(_("Why could {first} and {second} be equivalent on these images?", **arms))
        else:
            questions.append(_("What would it take to decide between {first} and {second}?", **arms))
    questions.append(_("How similar are the images to those that the initial weights were trained on, if any?"))
    questions.append(_("Did the arms have equal conditions, apart from what was compared?"))
    return questions


def _curve_questions(content: ReportContent) -> Sequence[Message]:
    shown = [figure.key for figure in content.figures]
    questions = []
    if CURVES in shown:
        figure = refer(Target.FIGURE, CURVES)
        questions.append(
            _("Does the gap between training and validation in {figure} suggest overfitting, or too short a training?",
              figure=figure)
        )  # fmt: skip
    else:
        questions.append(
            _("Does the gap between training and validation suggest overfitting, or too short a training?")
        )
    if FLOW in shown:
        questions.append(
            _(
                "How do the gradients in {figure} change from the output to the input?",
                figure=refer(Target.FIGURE, FLOW),
            )
        )
    if any(finding.unhealthy for run in content.inputs.runs for finding in findings(run.history)):
        questions.append(_("How could the findings on the health of the training have changed the result?"))
    if CONFUSION in shown:
        questions.append(
            _("Which classes are confused most in {figure}, and what do they have in common?",
              figure=refer(Target.FIGURE, CONFUSION))
        )  # fmt: skip
    return questions
