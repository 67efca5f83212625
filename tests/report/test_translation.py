"""The page in another language: a catalog whose translations have no Latin letters shows what is not translated."""

import gettext
import io
import re
import string
import zipfile
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from headstart import i18n
from headstart.config.run_config import RunConfig
from headstart.config.study_file import write_study
from headstart.config.study_request import build_study_spec
from headstart.report import page
from headstart.report.registry import SECTIONS
from headstart.storage.files import write_json
from headstart.storage.journal import Journal
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.search import ArmSearch, SearchGroup, TrialScores
from headstart.storage.schemas.study import Stage
from headstart.storage.schemas.verdict import Condition, ExportedRun, StageCost, StudyCost, TimeToTarget, Verdict
from tests.handmade import (
    counts_of,
    epoch_line,
    evaluation,
    histogram,
    probe_line,
    run_result,
    run_role,
    seal,
    snapshot_line,
    step_line,
    write_run_files,
)
from tests.report.test_page_size import WEBP_HEADER
from tests.short_runs import SGD
from tests.verdicts import arm_result, changed, contrast, seed_result, times_to_target, verdict

ARMS = ("scratch@adam", "scratch")
FULL_WIDTH = str.maketrans({letter: chr(ord(letter) + 0xFEE0) for letter in string.ascii_letters})
# names of arms, networks, optimizers, schedules, layers, classes, splits and packages, file names and hashes
DATA = {"scratch", "adam", "sgd", "cosine", "resnet18", "conv", "fc", "cat", "dog", "train", "val", "test", "python",
        "digits", "png", "search", "runs", "epochs", "fraction", "main", "host", "seed"}  # fmt: skip


class FullWidth(gettext.NullTranslations):
    """A catalog that has each template with its Latin letters replaced by full-width ones."""

    def gettext(self, message: str) -> str:
        parts = []
        for text, field, spec, conversion in string.Formatter().parse(message):
            parts.append(text.replace("{", "{{").replace("}", "}}").translate(FULL_WIDTH))
            if field is not None:
                parts.append(
                    "{" + field + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "") + "}"
                )
        return "".join(parts)

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.gettext(msgid1 if n == 1 else msgid2)


class Texts(HTMLParser):
    """Texts of a page that a reader sees or hears: text nodes, titles, descriptions and labels."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.texts += [value for name, value in attributes if value and name in ("title", "alt", "aria-label")]

    def handle_endtag(self, tag: str) -> None:
        while self.open.pop() != tag:  # elements without an end tag, such as img
            pass

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.scripts.append(data)
        elif not {"style", "pre"} & set(self.open) and data.strip():
            self.texts.append(data)


def english_words(text: str) -> list[str]:
    """Return the words in Latin letters that are not from the data."""
    names = re.sub(r"\b[0-9a-f]{64}\b|\b[\w-]+/[\w-]+\b|Jan01_[\w-]+", "", text)
    return [word for word in re.findall(r"[A-Za-z]{3,}[0-9]*", names) if word.lower() not in DATA]


def write_run(folder: Path, arm: str, seed: int, stage: Stage = Stage.MAIN, *, diverged: bool = False) -> str:
    """Write a run of three epochs, or one that diverged in the second, and return the name of its folder."""
    run = folder / f"Jan01_00-00-00_host-{arm.partition('@')[2] or 'sgd'}-s{seed}"
    plan = (
        RunConfig()
        .changed(class_names=("cat", "dog"), class_counts={"cat": 9, "dog": 9}, split_counts={"val": 10})
        .changed(source="digits", start="scratch", seed=seed)
        .changed(**{**SGD, "optimizer": arm.partition("@")[2] or "sgd"}, lr=0.1 if diverged else 0.01)
    )
    state, epochs = (RunState.DIVERGED, 1) if diverged else (RunState.FINISHED, 3)
    result = run_result(state, epochs=epochs, val=evaluation(), test=evaluation())
    write_run_files(run, plan, hash=run.name, role=run_role(arm, stage, budget="10ep"), result=result)
    with Journal(run / "metrics.jsonl") as journal:
        for epoch in range(epochs + 1):
            distances = {"conv": 0.1 * epoch, "fc": 0.2 * epoch}
            norms = {"conv": 1.0, "fc": 2.0 if epoch else 0.0}
            journal.append(probe_line(epoch, epoch, block_gradient_norm=norms, distance_from_init=distances))
            if epoch:
                journal.append(step_line(epoch, epoch=epoch))
                journal.append(snapshot_line(epoch, epoch, weights={"fc": histogram(-1.0, 1.0, [1, 2, 1])}))
                journal.append(epoch_line(epoch, epoch, confusion=[[4, 1], [2, 3]]))
    seal(run)
    return run.name


def write_gallery(run: Path) -> None:
    """Write photos of two images with filters; a third image has no photo."""
    (run / "artifacts").mkdir()
    photos = [{"key": f"cat/{number}.png", "true": 0, "predicted": number, "confidence": 0.5} for number in (0, 1)]
    index = {"schema_version": 1, "split": "test", "classes": ["cat", "dog"],
             "lists": {"mistakes": [1], "least_confident": [0]},
             "cells": {"0-0": [0], "0-1": [1]},
             "counts": counts_of([[1, 2], [0, 5]]).model_dump(), "photos": photos}  # fmt: skip
    write_json(run / "index.json", index)
    filters = io.BytesIO()
    np.save(filters, np.ones((2, 3, 3, 3), np.float32))
    with zipfile.ZipFile(run / "artifacts" / "gallery.zip", "w") as archive:
        archive.write(run / "index.json", "index.json")
        for name in ("0.webp", "1.webp", "1-map.webp"):
            archive.writestr(name, WEBP_HEADER)
        archive.writestr("before.npy", filters.getvalue())
        archive.writestr("after.npy", filters.getvalue())


def study_verdict(runs: dict[str, list[str]]) -> Verdict:
    """Return a verdict with all that a page can show: target, search, budgets, shares of the labels, cost."""
    time = TimeToTarget(median=2.0, reached=2, n=2)
    arms = [
        arm_result(
            arm,
            [
                seed_result(seed, run=run, val=0.6, test=0.5 + 0.1 * (arm == "scratch"))
                for seed, run in enumerate(names)
            ],
            to_target=times_to_target(time),
        )
        for arm, names in runs.items()
    ]
    scores = [TrialScores(lr=0.01, rung=0.5, full_runs=[0.6]), TrialScores(lr=0.1, rung=0.4, full_runs=[])]
    searches = [ArmSearch(arm=arm, selected=0.01, at_edge=arm == "scratch", tried=scores) for arm in ARMS]
    search = [SearchGroup(budget="10ep", seed=0, grid=[0.01, 0.1], arms=searches)]
    stage = StageCost(runs=2, images=100, seconds=400.0)
    whole = verdict(
        arms,
        budget="10ep",
        contrasts=[contrast(*ARMS, n=2, mean=0.05)],
        cost=StudyCost(search=stage, main=stage, source=stage),
        exported=ExportedRun(run=runs[ARMS[0]][0], seed=0),
        search=search,
        source="digits",
        target=0.5,
    )
    other = changed(whole, budget="5ep"), changed(whole, fraction=0.5, counts={"train": 50, "val": 10, "test": 100})
    conditions = [Condition(**{name: getattr(one, name) for name in Condition.model_fields}) for one in other]
    return changed(whole, conditions=conditions)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Write a study with a search, a diverged run, photos and a verdict."""
    folder = tmp_path / "digits"
    runs = {arm: [write_run(folder, arm, seed, diverged=seed == 1) for seed in (0, 1)] for arm in ARMS}
    write_run(folder / "search", "scratch", 9, Stage.SEARCH)
    write_gallery(folder / runs[ARMS[0]][0])
    plan = {**SGD, "seeds": 2, "budgets": "5ep,10ep", "fractions": "0.5,1", "search": "per-seed"}
    write_study(folder, build_study_spec("digits", ("scratch@adam", "scratch"), {}, None, None, None, plan))
    write_json(folder / "verdict.json", study_verdict(runs).to_json())
    return folder


def pages(study: Path) -> dict[str, str]:
    """Return the pages of the study, of the study without its verdict, of its runs and of one run."""
    texts = {"study": page.write_page(study).read_text(encoding="utf-8")}
    (study / "verdict.json").unlink()
    texts["unfinished"] = page.write_page(study).read_text(encoding="utf-8")
    (study / "study.toml").unlink()
    texts["runs"] = page.write_page(study).read_text(encoding="utf-8")
    texts["run"] = page.write_page(next(study.glob("Jan01*"))).read_text(encoding="utf-8")
    return texts


def test_texts_of_pages_are_translated(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(i18n, "_reader_catalog", FullWidth)
    of_pages = pages(study)
    for name, content in of_pages.items():
        parsed = Texts(content)
        assert {text: words for text in parsed.texts if (words := english_words(text))} == {}, name
        script = max(parsed.scripts, key=len)
        assert not re.findall(r"""["`][^"`\n]*\b(?:the|of|no|never|page|weights of|sideways)\b""", script)
    ids = re.findall(r'<section id="([\w-]+)"', of_pages["study"])
    assert ids == ["arms", "curves", "splits", "target", "labels", "budgets", "grid", "cost", "rates", "histograms",
                   "health", "distance", "mistakes", "how", "limits"]  # fmt: skip


def test_translations_are_escaped(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Markup(gettext.NullTranslations):
        def gettext(self, message: str) -> str:
            return f"<b>`\\{message}" if re.search("[a-z]{3}", message) else message

        def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
            return self.gettext(msgid2)

    monkeypatch.setattr(i18n, "_reader_catalog", Markup)
    content = page.write_page(study).read_text(encoding="utf-8")
    markup = re.sub("(?s)<style>.*?</style>", "", content)
    assert markup.count("<b>") == markup.count('<div class="figures">') * 3 and "&lt;b&gt;" in markup  # key figures
    assert re.search(r"`\\x3Cb>\\`\\\\[^`]*\$\{ridges\.epochs\[row\]\}", content)


def test_texts_of_templates_are_extracted(tmp_path: Path) -> None:
    frontend, pofile = (pytest.importorskip(f"babel.messages.{name}") for name in ("frontend", "pofile"))
    root, catalog = Path(page.__file__).parents[3], tmp_path / "messages.pot"
    arguments = [
        "--mapping-file",
        str(root / "pyproject.toml"),
        "--output",
        str(catalog),
        str(Path(page.__file__).parent),
    ]
    frontend.CommandLineInterface().run(["pybabel", "--quiet", "extract", *arguments])
    with catalog.open("rb") as file:
        extracted = {message.id for message in pofile.read_po(file)}
    templates = [path for path in (Path(page.__file__).parent / "templates").iterdir() if path.suffix != ".css"]
    in_templates = {text for path in templates for text in re.findall(r'\b_\("([^"]+)"', path.read_text("utf-8"))}
    assert len(templates) > 1 and in_templates and in_templates <= extracted
    assert {row.question.template for row in SECTIONS} <= extracted
