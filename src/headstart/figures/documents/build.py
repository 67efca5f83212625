"""Build the document on a study or on runs: its sections in order, from the records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from headstart.analysis.wording import arm_words, named_words
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
    Heading,
    Paragraph,
    Picture,
    SourceList,
    Table,
    Target,
    refer,
)
from headstart.figures.documents.results import FINAL_EVALUATION, health_blocks, result_blocks
from headstart.figures.documents.sources import used_sources
from headstart.figures.draw import PrintFigure
from headstart.i18n import Message, _, join, ngettext
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.protocol import ProtocolContent, runs_section, study_section
from headstart.report.provenance import RUN_HEADER
from headstart.storage.journal import read_lines
from headstart.storage.schemas.metrics import BeginLine
from headstart.text import format_points, join_list

MAX_RUNS = 100  # rows of a table of runs


def build_document(inputs: PageInputs, figures: Sequence[PrintFigure], picture_format: str) -> Document:
    """Return the document on a study or on runs.

    Args:
        inputs: Runs, and the verdict of a study that has one.
        figures: Figures that were written.
        picture_format: Format of the pictures that the document contains.
    """
    pictures = [Picture(figure.name, figure.title, figure.caption, figure.files[picture_format]) for figure in figures]
    content = ReportContent(inputs, pictures)
    began, ended = _dates(content)
    blocks = [*_head_blocks(content, began, ended), *_question_blocks(content), *method_blocks(content),
              *result_blocks(content), *_figure_blocks(content), *health_blocks(content),
              *discussion_blocks(content), *_limit_blocks(content),
              Heading(_("References")), SourceList(used_sources(content.usage)),
              *_appendix_blocks(content)]  # fmt: skip
    return Document(_title(content), began, blocks)


def _title(content: ReportContent) -> Message:
    data = Path(content.plan.data.source).name
    if content.inputs.is_study:
        return ngettext(
            "Lab report: comparison of {count} arm on {data}",
            "Lab report: comparison of {count} arms on {data}",
            len(content.verdict.arms) if content.verdict else len(content.arm_runs),
            data=data,
        )
    if len(content.inputs.runs) == 1:
        return _("Lab report: {arm} on {data}", arm=arm_words(content.runs[0].spec), data=data)
    return _("Lab report: {count} runs on {data}", count=len(content.inputs.runs), data=data)


def _dates(content: ReportContent) -> tuple[datetime, datetime]:
    """Return when the first of the runs began, and when the last one ended, in UTC."""
    began = [
        line.time
        for run in content.inputs.runs
        for line in read_lines(run.run.folder / "metrics.jsonl")
        if isinstance(line, BeginLine)
    ]
    ends = [run.epochs[-1].time for run in content.inputs.runs if run.epochs]
    first = datetime.fromtimestamp(min(began, default=0.0), UTC)
    return first, datetime.fromtimestamp(max(ends), UTC) if ends else first


def _head_blocks(content: ReportContent, began: datetime, ended: datetime) -> Iterator[Block]:
    """Yield the author's name, the date, and who wrote which parts."""
    yield Blank(_("Name, course and date"))
    first, last = f"{began:%Y-%m-%d}", f"{ended:%Y-%m-%d}"
    if first == last:
        yield Paragraph(_("The runs were trained on {date} (UTC).", date=first))
    else:
        yield Paragraph(_("The runs were trained from {first} to {last} (UTC).", first=first, last=last))
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
    data = Path(content.plan.data.source).name
    arms = list(content.arm_runs)
    if not content.inputs.is_study:
        yield Paragraph(
            _("How well does the network classify the images of {data}, and is its training healthy?", data=data)
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
    if not content.pictures:
        return
    yield Heading(_("Figures"))
    shown = [
        _("{figure}: {title}", figure=refer(Target.FIGURE, picture.key), title=picture.title)
        for picture in content.pictures
    ]
    yield Paragraph(_("{figures}.", figures=join(shown, "; ")))
    yield from content.pictures


def _limit_blocks(content: ReportContent) -> Iterator[Block]:
    yield Heading(_("Limits"))
    if isinstance(content.inputs, StudyInputs):
        sentences = [content.inputs.sentences.limits]
        if not content.inputs.sentences.notes:
            yield Paragraph(join(sentences))
            return
        sentences.append(_("The notes and warnings in the results limit it further."))
        yield Paragraph(join(sentences))
    elif content.inputs.is_study:
        yield Paragraph(_("Without a verdict nothing is decided: the numbers on val selected the epochs."))
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
                "The numbers hold for these images, this network and these settings. Runs outside a study have no "
                "declared question, so differences between them are not tested."
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
    yield Table("environment", caption, [_("name"), _("value")], rows)
    if section.declared is None:
        return
    yield Heading(_("Declaration of the study"), 2)
    if section.declared.problem is not None:
        yield Paragraph(section.declared.problem)
        return
    if content.spec is not None:
        yield BulletList([_("sha256 of the declaration: {hash}", hash=content.spec.hash)])
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
        yield Table(f"all-runs-{number}", caption, header, rows[:MAX_RUNS])
