"""Build the document on a study or on runs: its sections in order, from the records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from headstart.analysis.wording import arm_words, named_words
from headstart.figures.documents.ablation import ablation_limits, ablation_question
from headstart.figures.documents.content import ReportContent
from headstart.figures.documents.discussion import discussion_blocks
from headstart.figures.documents.method import method_blocks
from headstart.figures.documents.model import (
    AUTHOR_MARK,
    Blank,
    Block,
    BulletList,
    Code,
    Document,
    DocumentFigure,
    DocumentTable,
    Heading,
    Paragraph,
    SourceList,
    Target,
    refer,
)
from headstart.figures.documents.results import FINAL_EVALUATION, health_blocks, result_blocks
from headstart.figures.documents.sources import cited_sources
from headstart.figures.draw import WrittenFigure
from headstart.i18n import Message, _, join, ngettext
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.protocol import ProtocolContent, runs_section, study_section
from headstart.report.provenance import RUN_HEADER
from headstart.storage.schemas.ablation import AblationResult
from headstart.text import format_points, join_list

MAX_RUNS = 100  # rows of a table of runs
MAX_DATA_NAMES = 3  # in the title


def build_document(
    inputs: PageInputs,
    figures: Sequence[WrittenFigure],
    figure_format: str,
    ablation: AblationResult | None = None,
    foreign_folders: int = 0,
) -> Document:
    """Return the document on a study or on runs.

    Args:
        inputs: Runs, and the verdict of a study that has one.
        figures: Figures that were written.
        figure_format: Format of the figures that the document contains.
        ablation: Result of an ablation whose runs have all ended.
        foreign_folders: Number of folders with event files of other programs, which the document leaves out.
    """
    shown = [
        DocumentFigure(figure.name, figure.title, figure.caption, figure.files[figure_format]) for figure in figures
    ]
    content = ReportContent(inputs, shown, ablation, foreign_folders)
    began = min((run.started for run in inputs.runs if run.started), default=None)
    body = [*_head_blocks(content, began), *_question_blocks(content), *method_blocks(content),
            *result_blocks(content), *_figure_blocks(content), *health_blocks(content),
            *discussion_blocks(content), *_limit_blocks(content)]  # fmt: skip
    appendix = list(_appendix_blocks(content))
    sources = SourceList(cited_sources([*body, *appendix]))
    blocks = [*body, Heading(_("References")), sources, *appendix]
    return Document(_title(content), None if began is None else datetime.fromtimestamp(began, UTC), blocks)


def _title(content: ReportContent) -> Message:
    data = _data_words(content)
    if content.inputs.is_study:
        return ngettext(
            "Lab report: comparison of {count} arm on {data}",
            "Lab report: comparison of {count} arms on {data}",
            len(content.verdict.arms) if content.verdict else len(content.arm_runs),
            data=data,
        )
    if content.is_ablation:
        return ngettext(
            "Lab report: ablation of {count} network on {data}",
            "Lab report: ablation of {count} networks on {data}",
            len(content.arm_runs),
            data=data,
        )
    if len(content.inputs.runs) == 1:
        return _("Lab report: {arm} on {data}", arm=arm_words(content.runs[0].spec), data=data)
    return ngettext(
        "Lab report: {count} run on {data}", "Lab report: {count} runs on {data}", len(content.inputs.runs), data=data
    )


def _data_words(content: ReportContent) -> Message:
    """Return the names of the data sets, or their number if there are many."""
    names = content.data_names
    if len(names) <= MAX_DATA_NAMES:
        return join_list(names)
    return ngettext("{count} data set", "{count} data sets", len(names))


def _head_blocks(content: ReportContent, began: float | None) -> Iterator[Block]:
    """Yield the author's name, the date, and who wrote which parts.

    Args:
        content: What the document is made from.
        began: When the first of its runs began, in seconds since 1970; None if no run has a record.
    """
    yield Blank(_("Name, course and date"))
    if began is not None:
        ended = max((run.epochs[-1].time for run in content.inputs.runs if run.epochs), default=began)
        first, last = (f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d}" for time in (began, max(began, ended)))
        if first == last:
            yield Paragraph(_("The training took place on {date} (UTC).", date=first))
        else:
            yield Paragraph(_("The training took place from {first} to {last} (UTC).", first=first, last=last))
    yield Paragraph(
        _(
            "The program headstart generated this document from the records of the training: all numbers, tables, "
            "figures and captions, the sections on question, method, results, health and limits, the references and "
            "the appendix. The fields marked “{mark}” are the author’s own text.",
            mark=AUTHOR_MARK,
        )
    )


def _question_blocks(content: ReportContent) -> Iterator[Block]:
    yield Heading(_("Question"))
    verdict, spec = content.verdict, content.spec
    data = _data_words(content)
    arms = list(content.arm_runs)
    if content.is_ablation:
        yield Paragraph(ablation_question(content))
        return
    if not content.inputs.is_study:
        yield Paragraph(
            ngettext(
                "How well does the network classify the images of {data}, and is its training healthy?",
                "How well do the networks of the {count} runs classify the images of {data}, and is their training "
                "healthy?",
                len(content.runs),
                data=data,
            )
        )
        return
    if verdict is not None:
        arms = [arm_words(arm.spec) for arm in verdict.arms]
    elif spec is not None:
        arms = [arm_words(variant.arm) for variant in spec.variants]
    sentences = [
        _("Which of these arms classifies new images of {data} best: {arms}?", data=data, arms=join_list(arms)),
        _("An arm is one choice of what is compared, such as initial weights, trained layers or optimizer."),
    ]
    if verdict is not None:
        sentences += _contrast_question(content)
    elif spec is not None:
        first, second = (arm_words(spec.arm(name)) for name in
                         spec.protocol.contrast([variant.arm for variant in spec.variants]))  # fmt: skip
        sentences.append(_("The primary contrast is {first} against {second}.", first=first, second=second))
    yield Paragraph(join(sentences))


def _contrast_question(content: ReportContent) -> list[Message]:
    """Return the primary contrast of a verdict, and the margin."""
    verdict, spec = content.verdict, content.spec
    if verdict is None:
        return []
    first, second = (named_words(verdict, name) for name in verdict.primary)
    chosen = bool(verdict.grid_rows) and not (spec and spec.protocol.primary)
    text = _("The primary contrast is {first} against {second}.", first=first, second=second)
    if not verdict.pooled and not chosen:
        text = _(
            "The primary contrast was declared before the training: {first} against {second}.",
            first=first,
            second=second,
        )
    margin = _(
        "Differences below the equivalence margin of {margin} percentage points count as equal.",
        margin=format_points(verdict.margin),
    )
    return [text, margin]


def _figure_blocks(content: ReportContent) -> Iterator[Block]:
    """Yield the figures, after a sentence that names them all."""
    if not content.figures:
        return
    yield Heading(_("Figures"))
    shown = [
        _("{figure}: {title}", figure=refer(Target.FIGURE, figure.key), title=figure.title)
        for figure in content.figures
    ]
    yield Paragraph(_("{figures}.", figures=join(shown, "; ")))
    yield from content.figures


def _limit_blocks(content: ReportContent) -> Iterator[Block]:
    yield Heading(_("Limits"))
    if isinstance(content.inputs, StudyInputs):
        sentences = [content.inputs.sentences.limits]
        if content.inputs.sentences.notes:
            sentences.append(_("The notes and warnings in the results limit it further."))
        yield Paragraph(join(sentences))
    elif content.inputs.is_study:
        yield Paragraph(
            _(
                "Without a verdict nothing is decided: the numbers on {selection} selected the epochs.",
                selection=content.splits[0],
            )
        )
    elif content.is_ablation:
        yield Paragraph(ablation_limits(content))
    elif len(content.runs) == 1:
        yield Paragraph(
            _(
                "The numbers hold for these images, this network and these settings. One run does not show how much "
                "results vary between seeds."
            )
        )
    else:
        yield Paragraph(
            _(
                "The numbers hold for the images, the network and the settings of each run. Runs outside a study have "
                "no declared question, so differences between them are not tested."
            )
        )
    if content.foreign_folders:
        yield Paragraph(
            ngettext(
                "{count} folder with runs of other programs is not in this document; `headstart report` shows it as a "
                "page.",
                "{count} folders with runs of other programs are not in this document; `headstart report` shows them "
                "as a page.",
                content.foreign_folders,
            )
        )


def _appendix_blocks(content: ReportContent) -> Iterator[Block]:
    """Yield how to repeat the study, its runs, the environment and the declaration."""
    inputs = content.inputs
    section = study_section(inputs) or runs_section(inputs)
    yield Heading(_("Appendix"))
    yield Heading(section.command_title, 2)
    yield Code(section.command, "console")
    yield from _run_tables(content, section)
    yield Heading(_("Data and environment"), 2)
    caption = _("Origin of data and weights, versions and machine, as recorded by the runs.")
    rows = [[name, value] for name, value in section.environment if value]
    yield DocumentTable("environment", caption, [_("name"), _("value")], rows)
    if section.declared is None:
        return
    yield Heading(_("Declaration of the study"), 2)
    if section.declared.problem is not None:
        yield Paragraph(section.declared.problem)
        return
    if content.spec is not None:
        yield BulletList([_("sha256 of the declaration: {hash}", hash=content.spec.hash)])
    if content.is_pooled:
        yield Paragraph(_("The file study.toml was written when the runs were pooled, after their training:"))
    else:
        yield Paragraph(_("The file study.toml was written before the first training step:"))
    yield Code(section.declared.file.rstrip("\n"), "toml")


def _run_tables(content: ReportContent, section: ProtocolContent) -> Iterator[Block]:
    """Yield the tables of all runs of a verdict; the results have those of other runs."""
    if content.verdict is None:
        return
    yield Heading(_("Runs"), 2)
    hidden = {RUN_HEADER[-1]}  # folders are too long for a page
    for number, table in enumerate(section.tables, 1):
        places = [place for place, name in enumerate(table.header) if name not in hidden]
        rows = sorted(([row[place] for place in places] for row in table.rows), key=lambda row: row[0])
        caption = _("{title}.", title=table.title)
        if table.header == RUN_HEADER:
            caption = join([caption, FINAL_EVALUATION])
        if len(rows) > MAX_RUNS:
            caption = join([caption, _("The first {count} of them; report.html has all.", count=MAX_RUNS)])
        header = [table.header[place] for place in places]
        yield DocumentTable(f"all-runs-{number}", caption, header, rows[:MAX_RUNS])
