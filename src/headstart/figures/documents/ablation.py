"""Word an ablation: its question, its networks, and the effects that its summary has."""

from __future__ import annotations

from collections.abc import Iterator

from headstart.figures.documents.content import ReportContent
from headstart.figures.documents.model import Block, BulletList, DocumentTable, Heading, Paragraph, Target, cite, refer
from headstart.figures.documents.tables import NO_VALUE
from headstart.i18n import Message, _, join, ngettext, verbatim
from headstart.storage.schemas.ablation import AblationResult
from headstart.text import join_list


def ablation_question(content: ReportContent) -> Message:
    """Return the question of an ablation, which is the same for all."""
    question = _(
        "What do shortcuts and BatchNorm contribute to the accuracy on {data}, and to the gradients, at each depth?",
        data=join_list(content.data_names),
    )
    method = _(
        "Two networks that differ in one of these factors only are compared: one with it and one without it. The "
        "networks and their recipe were fixed in ablation.json before the training."
    )
    return join([question, method])


def ablation_networks(content: ReportContent) -> Message:
    """Return the networks of an ablation with their sources."""
    names = sorted({run.plan.network.label for run in content.runs})
    return _(
        "The networks are {networks} {source}, each with and without shortcuts, and with and without BatchNorm {norm}.",
        networks=join_list(names),
        source=cite("he2016"),
        norm=cite("ioffe2015"),
    )


def ablation_statistics(content: ReportContent) -> Iterator[Message]:
    """Yield the seeds of an ablation, and how its networks were compared."""
    seeds = sorted({run.seed for run in content.runs})
    yield ngettext(
        "Each network is trained with {count} seed: {seeds}.",
        "Each network is trained with the same {count} seeds: {seeds}.",
        len(seeds),
        seeds=join_list(map(str, seeds)),
    )
    count = len(content.ablation.effects) if content.ablation else 0
    if not count:
        return
    yield _("The effect of a factor is the difference of two accuracies, paired by seed and image.")
    if len(seeds) == 1:
        yield _(
            "Its interval is a t interval over the images {source}: it does not contain the variation between seeds.",
            source=cite("student1908"),
        )
    else:
        yield _(
            "Its interval covers seeds and images as crossed random effects {model}, with the degrees of freedom of "
            "Satterthwaite {degrees}.",
            model=cite("searle1992"),
            degrees=cite("satterthwaite1946"),
        )
    yield ngettext(
        "The interval of {count} effect has the level 95 %.",
        "The intervals of all {count} effects hold together with 95 % (Bonferroni).",
        count,
    )


def ablation_results(content: ReportContent) -> Iterator[Block]:
    """Yield the networks and the effects of an ablation, or how far it is."""
    result = content.ablation
    if result is None:
        yield Paragraph(_progress_words(content))
        return
    yield Paragraph(
        join([verbatim(result.sentences[0]), _("{table} has the networks.", table=refer(Target.TABLE, "networks"))])
    )
    yield _network_table(result)
    yield Heading(_("Effects"), 2)
    yield BulletList([effect.sentence for effect in result.effects])


def ablation_limits(content: ReportContent) -> Message:
    """Return the limits of an ablation."""
    if content.ablation is None:
        return _("Some runs of the ablation have not ended: effects are not known yet.")
    return verbatim(content.ablation.sentences[-1])


def _progress_words(content: ReportContent) -> Message:
    ended = sum(run.done for run in content.runs)
    return ngettext(
        "The ablation is not complete: {ended} of {count} run so far has ended. Effects are shown when all have.",
        "The ablation is not complete: {ended} of {count} runs so far have ended. Effects are shown when all have.",
        len(content.runs),
        ended=ended,
    )


def _network_table(result: AblationResult) -> DocumentTable:
    header = [
        _("network"), _("shortcut"), _("norm"), _("accuracy, %"), _("ratio before"), _("ratio after"), _("health"),
    ]  # fmt: skip
    rows = [
        [
            cell.network,
            cell.shortcut,
            cell.norm,
            f"{100 * cell.accuracy:.1f}",
            _ratio(cell.gradient_ratio_before),
            _ratio(cell.gradient_ratio_after),
            cell.health,
        ]
        for cell in result.cells
    ]
    caption = _(
        "The networks of the ablation: mean accuracy over the seeds, and the gradient norm behind the first block over "
        "that behind the last, before and after the training."
    )
    return DocumentTable("networks", caption, header, rows)


def _ratio(value: float | None) -> str:
    return NO_VALUE if value is None else f"{value:.1e}"
