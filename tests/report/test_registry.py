"""The rows of the page's sections, and sections that a plugin adds at run time."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headstart.config.run_config import RunConfig
from headstart.factories import load_factory
from headstart.report import page
from headstart.report.registry import RUNS, SECTIONS, STUDY, Page, SectionSpec
from headstart.storage.files import write_json
from headstart.storage.journal import Journal
from headstart.storage.schemas.verdict import ExportedRun
from tests.handmade import epoch_line, histogram, run_role, snapshot_line, split_score, step_line, write_run_files
from tests.verdicts import arm_result, seed_result, verdict

ARMS = ("imagenet", "scratch")
PLUGIN = """
from headstart.report.layout import Figure, Section
from headstart.report.svg import charts

def losses(inputs):
    line = charts.Series("loss", 1, [[(float(e.epoch), e.train.loss) for e in inputs.runs[0].epochs]])
    chart = charts.curves([line], x="epoch", y="loss", label="Loss")
    return Section("<It> falls", [Figure(chart, f"{len(inputs.runs)} runs.", ["epoch"], [["1"], ["2"]])])

def arms(inputs):
    return Section(f"{len(inputs.verdict.arms)} arms")

def nothing(inputs):
    return None

def space(inputs, max_bytes):
    return Section(f"{max_bytes} bytes") if max_bytes > 0 else None
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make a module with factories importable, and restore the rows after the test."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "plugin_of_sections.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    before = list(SECTIONS)
    yield
    SECTIONS[:] = before
    sys.modules.pop("plugin_of_sections", None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two runs without a verdict."""
    for arm in ARMS:
        run = tmp_path / "runs" / f"Jan01_00-00-00_host-{arm}-s0"
        plan = RunConfig().changed(class_names=("a", "b")).changed(start=arm)
        write_run_files(run, plan, hash=run.name, role=run_role(arm, budget="2ep"))
        with Journal(run / "metrics.jsonl") as journal:
            for epoch in (1, 2):
                journal.append(step_line(epoch, epoch=epoch))
                journal.append(snapshot_line(epoch, epoch, weights={"fc": histogram(-1.0, 1.0, [1, 2, 1])}))
                journal.append(epoch_line(epoch, epoch, train=split_score(1 / epoch), confusion=[[5, 5], [0, 0]]))
    return tmp_path / "runs"


def with_verdict(folder: Path) -> Path:
    """Add a verdict to the runs, and return their folder."""
    names = {arm: next(folder.glob(f"*-{arm}-s0")).name for arm in ARMS}
    arms = [arm_result(arm, [seed_result(0, run=names[arm])]) for arm in ARMS]
    content = verdict(arms, budget="2ep", exported=ExportedRun(run=names["imagenet"], seed=0))
    write_json(folder / "verdict.json", content.to_json())
    (folder / "study.toml").touch()
    return folder


def sections_of(folder: Path) -> tuple[list[str], str]:
    """Return the ids of the sections on a page, and its text; they are equal to the entries of its contents."""
    text = page.write_page(folder).read_text(encoding="utf-8")
    ids = re.findall(r'<section id="([\w-]+)"', text)
    assert re.findall(r'<li><a href="#([\w-]+)"', text) == ids and len(set(ids)) == len(ids)
    return ids, text


@pytest.mark.parametrize("row", SECTIONS, ids=lambda row: row.factory)
def test_rows_resolve(row: SectionSpec) -> None:
    assert callable(load_factory(row.factory)) and row.pages and row.question.endswith("?")


def test_every_page_has_the_sections_of_its_rows_in_order(folder: Path) -> None:
    for kind in (Page.RUNS, Page.STUDY):
        rows = list(dict.fromkeys(row.id for row in SECTIONS if kind in row.pages))
        shown, _ = sections_of(with_verdict(folder) if kind is Page.STUDY else folder)
        assert shown == [row for row in rows if row in shown]
        assert {"curves", "rates", "histograms", "health", "how"} <= set(shown)
        assert ("limits" in shown) == (kind is Page.STUDY)


@pytest.mark.usefixtures("plugin")
def test_sections_of_a_plugin_are_on_their_pages(folder: Path) -> None:
    shown, _ = sections_of(folder)
    SECTIONS.append(SectionSpec("losses", "Loss & co.?", "plugin_of_sections:losses"))
    SECTIONS.insert(0, SectionSpec("arm-count", "How many arms?", "plugin_of_sections:arms", STUDY))
    SECTIONS.append(SectionSpec("nothing", "Nothing?", "plugin_of_sections:nothing"))
    with_plugin, text = sections_of(folder)
    assert with_plugin == [*shown, "losses"]
    section = text[text.index('<section id="losses"') :]
    section = section[: section.index("</section>")]
    assert "Loss &amp; co.?" in section and "&lt;It&gt; falls" in section and "2 runs." in section
    assert section.count("<svg") == 1 and section.count("<td>") == 2
    of_study, text = sections_of(with_verdict(folder))
    assert (of_study[0], of_study[-1]) == ("arm-count", "losses") and ">2 arms<" in text


@pytest.mark.usefixtures("plugin")
def test_first_of_rows_with_equal_ids_is_shown(folder: Path) -> None:
    shown, _ = sections_of(folder)
    SECTIONS.insert(0, SectionSpec("rates", "Mine?", "plugin_of_sections:nothing"))
    assert sections_of(folder)[0] == shown
    SECTIONS.insert(0, SectionSpec("rates", "Mine?", "plugin_of_sections:losses", RUNS))
    ids, text = sections_of(folder)
    assert ids == ["rates", *(name for name in shown if name != "rates")] and "Mine?" in text


@pytest.mark.usefixtures("plugin")
def test_section_that_fits_gets_the_space_that_is_left(folder: Path) -> None:
    _, before = sections_of(folder)
    SECTIONS.append(SectionSpec("space", "How much space is left?", "plugin_of_sections:space", fit_order=3))
    _, text = sections_of(folder)
    (left,) = re.findall(r">(\d+) bytes<", text)
    assert int(left) == page.MAX_BYTES - page.RESERVED_BYTES - len(before.encode())
