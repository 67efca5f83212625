"""The report of a study or of runs as one self-contained page, laid out by `templates/page.html`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from headstart.analysis.run_records import runs_at, runs_in
from headstart.analysis.status import absent_runs, checked_verdict
from headstart.factories import load_factory
from headstart.i18n import Message, _, ngettext, translated
from headstart.report.content import PageHead, page_head
from headstart.report.inputs import LoggedInputs, PageInputs, StudyInputs, arm_colors, verdict_colors
from headstart.report.layout import SectionContent
from headstart.report.logged_run import LoggedRun, as_logged
from headstart.report.policy import content_security_policy
from headstart.report.registry import SECTIONS, Page, SectionSpec
from headstart.report.series import load_run, with_unique_names
from headstart.report.svg import charts
from headstart.report.svg.labels import text_width
from headstart.storage.files import JsonData, write_atomic
from headstart.storage.folders import require_output_folder
from headstart.storage.schemas.study import Stage

PAGE_NAME = "report.html"
MAX_BYTES = 5_000_000  # size of a page
RESERVED_BYTES = 100_000  # part of it that stays free, since sizes are estimated
MAX_WHOLE_WORD = 16  # letters; longer words in large type may not fit on a phone
EMPTY_DATA: dict[str, JsonData] = {"cells": {"cells": {}, "more": {}, "photos": {}}, "snapshots": []}  # of the scripts


@dataclass(frozen=True)
class PageSection:
    """A section at its place on a page."""

    id: str
    question: Message
    content: SectionContent


def write_page(folder: Path, logged: Sequence[LoggedRun] = (), tags: Sequence[str] = ()) -> Path:
    """Write `report.html` of a study, of a run, or of several runs into their folder.

    The page of a study without a verdict shows its runs.

    Args:
        folder: Folder of a study, of a run, or of several runs.
        logged: Runs in the folder that other programs logged.
        tags: Values of `--tag` with which they were read.

    Returns:
        Path of the page.

    Raises:
        DataError: The folder has no runs.
        ResourceError: The folder cannot be written.
    """
    inputs = read_inputs(folder, logged, tags)
    require_output_folder(folder)
    write_atomic(folder / PAGE_NAME, _render_within_limit(inputs))
    return folder / PAGE_NAME


def read_inputs(folder: Path, logged: Sequence[LoggedRun] = (), tags: Sequence[str] = ()) -> PageInputs:
    """Return what the page of a study, of a run, or of several runs is made from, with `logged` runs beside them.

    Raises:
        DataError: The folder has no runs.
        BrokenSealError: A run of the study is not that of its verdict.
    """
    if logged:
        own = with_unique_names([load_run(run) for run in runs_in(folder)])
        every = sorted([*logged, *map(as_logged, own)], key=lambda run: run.started)
        color = arm_colors(list({run.arm: run.spec for run in own}.values()))
        return LoggedInputs(folder, own, color, every, tags)
    records = runs_at(folder)
    main = [run for run in records if run.stage in (None, Stage.MAIN)]
    records = main if main and (folder / "study.toml").exists() else records
    runs = with_unique_names([load_run(run) for run in records])
    verdict = checked_verdict(folder, records)
    absent = absent_runs(folder, verdict, records)
    if verdict is None:
        return PageInputs(folder, runs, arm_colors(list({run.arm: run.spec for run in runs}.values())), absent=absent)
    return StudyInputs(folder, runs, verdict_colors(verdict), verdict, absent=absent)


def _render_within_limit(inputs: PageInputs) -> str:
    """Render the page, with as much content of the sections that fit into the space left as `MAX_BYTES` allows."""
    kinds = {StudyInputs: Page.STUDY, LoggedInputs: Page.LOGGED}
    page = kinds.get(type(inputs), Page.RUNS)
    rows = [row for row in SECTIONS if page in row.pages]
    contents = {row: _content(row, inputs) for row in rows if not row.fit_order}
    head = page_head(inputs)
    text = render_page(head, _place(rows, contents))
    for row in sorted((row for row in rows if row.fit_order), key=lambda row: row.fit_order):
        contents[row] = _fitted_content(row, inputs, MAX_BYTES - RESERVED_BYTES - len(text.encode()))
        if contents[row] is not None:
            text = render_page(head, _place(rows, contents))
    return text


def _content(row: SectionSpec, inputs: PageInputs) -> SectionContent | None:
    factory: Callable[[PageInputs], SectionContent | None] = load_factory(row.factory)
    return factory(inputs)


def _fitted_content(row: SectionSpec, inputs: PageInputs, max_bytes: int) -> SectionContent | None:
    factory: Callable[[PageInputs, int], SectionContent | None] = load_factory(row.factory)
    return factory(inputs, max_bytes)


def _place(rows: Sequence[SectionSpec], contents: Mapping[SectionSpec, SectionContent | None]) -> Sequence[PageSection]:
    """Return the sections with content in the order of their rows, the first of rows with equal ids."""
    sections: dict[str, PageSection] = {}
    for row in rows:
        content = contents.get(row)
        if content is not None:
            sections.setdefault(row.id, PageSection(row.id, row.question, content))
    return list(sections.values())


def render_page(head: PageHead, sections: Sequence[PageSection]) -> str:
    """Return a page with these sections, in this order."""
    data = dict(EMPTY_DATA)
    for section in sections:
        data |= section.content.data
    templates = _templates()
    script = templates.get_template("page.js").render()
    style = "\n".join([charts.style(), _read_template("page.css"), *(section.content.style for section in sections)])
    return templates.get_template("page.html").render(
        page=head,
        sections=sections,
        data=data,
        page_style=Markup(style),  # noqa: S704 - style sheets of this package, and numbers
        page_script=Markup(script),  # noqa: S704 - a template, whose values are escaped for scripts
        policy=content_security_policy([style], [script]),
    )


def _read_template(name: str) -> str:
    return resources.files("headstart.report").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _templates() -> jinja2.Environment:
    """Return the templates of the page, with automatic escaping. Each is compiled once per process.

    `_` and `ngettext` make messages, as in Python. Messages are translated where a template writes them.
    """
    environment = jinja2.Environment(
        autoescape=True,
        finalize=translated,
        loader=jinja2.FunctionLoader(_read_template),
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # layers are in the order of the network
    environment.globals |= {"_": _, "ngettext": ngettext}
    environment.filters |= {"script": _script_text, "translated": translated, "whole_words": _whole_words}
    return environment


def _whole_words(text: str) -> Markup:
    """Return a text whose short words with a hyphen are not divided at the end of a line."""
    mark = Markup('<span class="whole">{}</span>')
    words = translated(text).split(" ")
    return Markup(" ").join(
        mark.format(word) if "-" in word and text_width(word) <= MAX_WHOLE_WORD else word for word in words
    )


def _script_text(text: str) -> Markup:
    """Return a text as a string of JavaScript; a text with `${…}` becomes a template literal."""
    shown = translated(text)
    if "${" not in shown:
        return htmlsafe_json_dumps(shown)
    escaped = shown.replace("\\", "\\\\").replace("`", "\\`").replace("<", "\\x3C")
    return Markup(f"`{escaped}`")  # noqa: S704 - escaped for a script
