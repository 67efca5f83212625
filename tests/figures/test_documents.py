"""Documents are read back with other programs' parsers and compared with verdict.json, and with each other."""

import io
import re
import shutil
import subprocess
import unicodedata
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import docx
import numpy as np
import pytest
from docx.document import Document as Word
from docx.oxml.ns import qn
from markdown_it import MarkdownIt
from markdown_it.token import Token
from PIL import Image

import headstart
from headstart.analysis.status import read_verdict
from headstart.analysis.wording import named_words
from headstart.cli.main import main
from headstart.config.study_request import build_study_spec
from headstart.engines.local import LocalEngine
from headstart.errors import UsageError
from headstart.experiment import study
from headstart.figures.documents import formats
from headstart.figures.documents.write import write_documents
from headstart.figures.draw import write_figures
from headstart.figures.options import FIGURE_FORMATS, parse_figure_options
from headstart.printable import printable
from headstart.reporter import NullReporter
from headstart.storage.journal import read_lines
from headstart.storage.schemas.metrics import BeginLine
from headstart.storage.schemas.verdict import Verdict
from tests.files import read_json
from tests.handmade import seal
from tests.messages import values_of

FORGED = "\ue000table:classes\ue001"  # the mark of a reference
CLASSES = ("a_b|c*d", "#1 \\cmd{x}$^~%&", "<img src=x>`µ±é", "[x] y", "*x", "re\u0301sume\u0301 čłőğ", FORGED)
HIDDEN = 0.9871  # an accuracy on test that no other number in the records has
FORMATS = tuple(formats.DOCUMENT_FORMATS)
Cells = list[list[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a study of two arms on photos whose class names have special characters, and write all documents."""
    photos = tmp_path_factory.mktemp("photos") / "my_photos"
    rng = np.random.default_rng(0)
    for index, label in enumerate(CLASSES):
        (photos / label).mkdir(parents=True)
        for number in range(24):
            pixels = rng.integers(0, 120, (20, 20, 3)) + 60 * index
            Image.fromarray(pixels.astype(np.uint8)).save(photos / label / f"{number}.png")
    plan = {"network": "timm:test_resnet", "image_size": 16, "batch_size": 32, "precision": "fp32", "threads": 1,
            "epochs": "3ep", "seeds": 3, "grid": "0.01,0.001", "survivors": 1, "search_seeds": 1}  # fmt: skip
    spec = build_study_spec(str(photos), ("scratch:xavier", "scratch@adam"), {}, None, None, None, plan)
    result = study.begin(spec, tmp_path_factory.mktemp("runs"), NullReporter())
    study.run_study(result, LocalEngine(NullReporter()), NullReporter())
    assert write_documents(result, FORMATS) == [result / f"report.{name}" for name in FORMATS]
    return result


@pytest.fixture(scope="module")
def verdict(folder: Path) -> Verdict:
    return read_verdict(folder)


@pytest.fixture
def unfinished(folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the study without a verdict, whose runs all have the accuracy `HIDDEN` on test."""
    copy = tmp_path / "study"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("report.*", "report-figures", "verdict.json"))
    for path in copy.glob("*/result.json"):
        text = path.read_text(encoding="utf-8")
        accuracy = read_json(path)["test"]["accuracy"]
        before, test, after = text.partition('"test"')
        path.write_text(before + test + after.replace(f'"accuracy": {accuracy}', f'"accuracy": {HIDDEN}', 1), "utf-8")
        assert read_json(path)["test"]["accuracy"] == HIDDEN
        seal(path.parent)
    return copy


def markdown(path: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))


def inline_text(token: Token) -> str:
    """Return the text of an inline token as a reader sees it."""
    return "".join("\n" if child.type == "softbreak" else child.content for child in token.children or ())


def markdown_tables(tokens: Sequence[Token]) -> list[Cells]:
    tables: list[Cells] = []
    for before, token in pairwise(tokens):
        if before.type == "table_open":
            tables.append([])
        if before.type == "tr_open":
            tables[-1].append([])
        if before.type in ("th_open", "td_open"):
            tables[-1][-1].append(inline_text(token))
    return tables


def markdown_headings(tokens: Sequence[Token]) -> list[tuple[str, str]]:
    return [(before.tag, inline_text(token)) for before, token in pairwise(tokens) if before.type == "heading_open"]


def paragraphs_of(tokens: Sequence[Token]) -> list[str]:
    return [inline_text(token) for before, token in pairwise(tokens) if before.type == "paragraph_open"]


def table_with(tables: Sequence[Cells], column: str) -> Cells:
    (table,) = (table for table in tables if column in table[0])
    return table


def word_tables(word: Word) -> list[Cells]:
    """Return the cells of the tables with several columns; those with one are fields of the author."""
    tables = [[[cell.text for cell in row.cells] for row in table.rows] for table in word.tables]
    return [table for table in tables if len(table[0]) > 1]


def test_accuracies_equal_those_of_the_verdict(folder: Path, verdict: Verdict) -> None:
    table = table_with(markdown_tables(markdown(folder / "report.md")), "mean, %")
    rows = {row[0]: dict(zip(table[0], row, strict=True)) for row in table[1:]}
    assert len(rows) == len(verdict.arms) == 2
    for arm in read_json(folder / "verdict.json")["arms"]:
        row = rows[named_words(verdict, arm["name"])]
        assert row["mean, %"] == f"{100 * fmean(run['test'] for run in arm['seeds']):.1f}"
        assert row["val, %"] == f"{100 * fmean(run['val'] for run in arm['seeds']):.1f}"
        assert row["seeds, %"] == ", ".join(f"{100 * run['test']:.1f}" for run in arm["seeds"])
        assert row["best epochs"].split(" of ") == [", ".join(str(run["best_epoch"]) for run in arm["seeds"]), "3"]
        assert {float(rate) for rate in row["learning rate"].split(", ")} == {run["lr"] for run in arm["seeds"]}


def test_differences_equal_those_of_the_verdict(folder: Path) -> None:
    table = table_with(markdown_tables(markdown(folder / "report.md")), "decision")
    (contrast,) = read_json(folder / "verdict.json")["contrasts"]
    row = dict(zip(table[0], table[1], strict=True))
    low, high = map(float, row["interval"].split(" to "))
    shown = [float(row["difference, points"]), low, high]
    assert len(table) == 2
    assert shown == pytest.approx([100 * contrast[name] for name in ("mean", "low", "high")], abs=0.051)
    assert float(row["p"]) == pytest.approx(contrast["p"], rel=0.06)
    assert row["level"] == "95 %" and re.findall(r"\d+", row["first ahead on"]) == [str(contrast["wins"]), "3"]


def test_search_has_every_rate_and_the_selected_one(folder: Path, verdict: Verdict) -> None:
    tables = [table for table in markdown_tables(markdown(folder / "report.md")) if "selected" in table[0]]
    for table, group in zip(tables, verdict.search, strict=True):  # one for each seed
        assert [float(rate) for rate in table[0][1:-1]] == sorted(group.grid, reverse=True)
        assert {row[0]: float(row[-1].split(" ")[0]) for row in table[1:]} == {
            named_words(verdict, arm.arm): arm.selected for arm in group.arms
        }


def test_class_names_with_special_characters_are_shown_as_they_are(folder: Path) -> None:
    tables = markdown_tables(markdown(folder / "report.md")), word_tables(docx.Document(str(folder / "report.docx")))
    names = sorted(unicodedata.normalize("NFC", name) for name in CLASSES)  # as all names of class folders
    for of_format in tables:
        assert table_with(of_format, "class")[1:] == [[printable(name), "24"] for name in names]


def test_word_has_the_headings_and_tables_of_markdown(folder: Path) -> None:
    tokens, word = markdown(folder / "report.md"), docx.Document(str(folder / "report.docx"))
    styles = {"Title": "h1", "Heading 1": "h2", "Heading 2": "h3"}
    headings = [(styles[p.style.name], p.text) for p in word.paragraphs if p.style and p.style.name in styles]
    assert headings == markdown_headings(tokens) and len(headings) > 15
    assert word_tables(word) == markdown_tables(tokens)


def test_figures_and_tables_are_numbered_and_referred_to(folder: Path) -> None:
    texts = paragraphs_of(markdown(folder / "report.md"))
    for kind in ("Figure", "Table"):
        captions = [int(match[1]) for text in texts if (match := re.match(rf"{kind} (\d+)\. ", text))]
        assert captions == list(range(1, len(captions) + 1)) and len(captions) > 5
        others = " ".join(text for text in texts if not re.match(rf"{kind} \d+\. ", text))
        referred = {int(number) for number in re.findall(rf"{kind} (\d+)", others)}
        assert referred <= set(captions)
        assert kind == "Table" or referred == set(captions)


def test_every_source_is_cited_and_every_citation_is_listed(folder: Path) -> None:
    tokens = markdown(folder / "report.md")
    listed = sum(token.type == "list_item_open" for token in tokens) - sum(
        token.type == "list_item_open" and token.markup == "-" for token in tokens
    )
    body = " ".join(inline_text(token) for token in tokens if token.type == "inline")
    cited = {int(number) for group in re.findall(r"\[(\d+(?:, \d+)*)\]", body) for number in group.split(", ")}
    assert cited == set(range(1, listed + 1)) and "\ue000" not in body
    for title in ("stochastic optimization", "deep feedforward neural networks", "PyTorch Image Models"):
        assert title in body  # Adam, Xavier initialization, and timm
    assert "Batch normalization" not in body and "distort pretrained features" not in body


def test_pictures_are_the_figures_with_alternative_text(folder: Path) -> None:
    images = [child for token in markdown(folder / "report.md") for child in token.children or () if child.tag == "img"]
    files = [folder / str(image.attrs["src"]) for image in images]
    assert len(files) > 5 and all(image.content for image in images)
    word = docx.Document(str(folder / "report.docx"))
    inlines = [shape._inline for shape in word.inline_shapes]
    parts = [word.part.related_parts[inline.graphic.graphicData.pic.blipFill.blip.embed] for inline in inlines]
    assert [part.blob for part in parts] == [file.read_bytes() for file in files]
    titles = [inline.docPr.get("title") for inline in inlines]
    assert titles == [image.content for image in images]
    assert all(
        str(inline.docPr.get("descr")).startswith(f"{title}. ") for inline, title in zip(inlines, titles, strict=True)
    )
    width = word.sections[0].page_width - word.sections[0].left_margin - word.sections[0].right_margin
    assert all(0 < shape.width <= width for shape in word.inline_shapes)


def test_captions_of_word_are_fields_with_the_same_numbers(folder: Path) -> None:
    word = docx.Document(str(folder / "report.docx"))
    numbers: dict[str, list[str]] = {}
    for field in word.element.body.iter(qn("w:fldSimple")):
        kind = field.get(qn("w:instr")).split()[1]
        numbers.setdefault(kind, []).append("".join(text.text for text in field.iter(qn("w:t"))))
    assert {kind: len(values) for kind, values in numbers.items()} == {
        "Table": len(word_tables(word)), "Figure": len(word.inline_shapes),
    }  # fmt: skip
    assert all(values == [str(n) for n in range(1, len(values) + 1)] for values in numbers.values())


def test_tex_is_balanced_and_its_references_have_targets(folder: Path) -> None:
    text = (folder / "report.tex").read_text(encoding="utf-8")
    open_environments: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text.partition(r"\begin{document}")[2]):
        if kind == "begin":
            open_environments.append(name)
        elif name != "document":
            assert open_environments.pop() == name
    assert open_environments == []
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    labels = re.findall(r"\\label\{([^}]+)\}", text)
    assert len(labels) == len(set(labels)) and set(re.findall(r"\\ref\{([^}]+)\}", text)) <= set(labels)
    cited = {key for keys in re.findall(r"\\cite\{([^}]+)\}", text) for key in keys.split(",")}
    assert cited == set(re.findall(r"\\bibitem\{([^}]+)\}", text))
    pictures = re.findall(r"\\fitpicture\{([^}]+)\}", text)
    assert pictures and all((folder / path).read_bytes().startswith(b"%PDF") for path in pictures)


def test_tex_has_the_rows_of_the_other_formats(folder: Path) -> None:
    body = (folder / "report.tex").read_text(encoding="utf-8").partition(r"\begin{document}")[2]
    tables = re.findall(r"\\begin\{(tabular|longtable)\}(.*?)\\end\{\1\}", body, re.DOTALL)
    expected = markdown_tables(markdown(folder / "report.md"))
    assert len(tables) == len(expected)
    for (_kind, content), rows in zip(tables, expected, strict=True):
        lines = content.partition(r"\midrule")[2].split("\n")
        cells = [line.count(" & ") + 1 for line in lines if line.endswith(r"\\") and r"\textbf" not in line]
        assert cells == [len(rows[0])] * (len(rows) - 1)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_tex_compiles(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "report.tex", tmp_path)
    shutil.copytree(folder / "report-figures", tmp_path / "report-figures")
    for _ in range(2):
        process = subprocess.run(
            ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "report.tex"],
            cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120,
        )  # fmt: skip
        assert process.returncode == 0, process.stdout[-2000:]
    assert "undefined" not in process.stdout and (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    if shutil.which("pdftotext"):
        subprocess.run(["pdftotext", "-layout", "report.pdf"], cwd=tmp_path, check=True)
        shown = (tmp_path / "report.txt").read_text(encoding="utf-8")
        names = [unicodedata.normalize("NFC", printable(name)) for name in CLASSES]
        assert [name for name in names if name not in shown] == []


def test_equal_records_give_equal_bytes_with_the_date_of_the_runs(folder: Path, tmp_path: Path) -> None:
    before = {name: (folder / f"report.{name}").read_bytes() for name in FORMATS}
    write_documents(folder, FORMATS)
    assert {name: (folder / f"report.{name}").read_bytes() for name in FORMATS} == before
    with zipfile.ZipFile(io.BytesIO(before["docx"])) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    begins = [line.time for path in folder.glob("*/metrics.jsonl") for line in read_lines(path)
              if isinstance(line, BeginLine)]  # fmt: skip
    first = datetime.fromtimestamp(min(begins), UTC)
    properties = docx.Document(str(folder / "report.docx")).core_properties
    assert properties.created is not None and properties.created.replace(tzinfo=UTC) == first.replace(microsecond=0)
    assert f"{first:%Y-%m-%d}" in before["md"].decode()


def test_text_of_the_author_is_kept(folder: Path, tmp_path: Path) -> None:
    run = next(folder.glob("*-scratch@adam-s0"))
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "report.md"
    for number, text in enumerate(("mine", "also mine"), 1):
        path.write_text(text, encoding="utf-8")
        write_documents(path.parent, ["md"])
        assert path.with_name(f"report-{number}.md").read_text(encoding="utf-8") == text
        assert markdown_headings(markdown(path))
    write_documents(path.parent, ["md"])
    assert sorted(file.name for file in path.parent.glob("report*.md")) == ["report-1.md", "report-2.md", "report.md"]


def hidden_in(folder: Path) -> dict[str, bool]:
    """Return for each format whether a document shows the accuracy `HIDDEN`, which all runs have on test."""
    shown = f"{100 * HIDDEN:.1f}"
    word = docx.Document(str(folder / "report.docx"))
    word_text = " ".join([p.text for p in word.paragraphs] + [" ".join(row) for t in word_tables(word) for row in t])
    texts = {"docx": word_text} | {name: (folder / f"report.{name}").read_text("utf-8") for name in ("md", "tex")}
    return {name: shown not in text and str(HIDDEN) not in text for name, text in texts.items()}


def test_study_without_a_verdict_shows_no_result_on_test(unfinished: Path) -> None:
    write_documents(unfinished, FORMATS)
    assert hidden_in(unfinished) == dict.fromkeys(FORMATS, True)
    tables = markdown_tables(markdown(unfinished / "report.md"))
    runs = table_with(tables, "val, %")
    assert len(runs) == 7 and not any("test" in name for table in tables for name in table[0])


def test_run_of_a_study_shows_its_result_on_test_after_the_verdict_only(unfinished: Path, folder: Path) -> None:
    run = next(unfinished.glob("*-scratch*-s0"))
    write_documents(run, FORMATS)
    assert hidden_in(run) == dict.fromkeys(FORMATS, True)
    shutil.copy(folder / "verdict.json", unfinished)
    write_documents(run, FORMATS)
    assert hidden_in(run) == dict.fromkeys(FORMATS, False)
    table = table_with(markdown_tables(markdown(run / "report.md")), "test, %")
    result = read_json(run / "result.json")
    assert table[1][-2:] == [f"{100 * result['val']['accuracy']:.1f}", f"{100 * HIDDEN:.1f}"] and len(table) == 2


def test_several_runs_have_one_row_each(folder: Path, tmp_path: Path) -> None:
    runs = sorted(folder.glob("*-scratch@adam-s*"))
    for run in runs:
        shutil.copytree(run, tmp_path / run.name)
    write_documents(tmp_path, ["md"])
    tokens = markdown(tmp_path / "report.md")
    table = table_with(markdown_tables(tokens), "test, %")
    accuracies = [read_json(run / "result.json")["test"]["accuracy"] for run in runs]
    assert sorted(float(row[-1]) for row in table[1:]) == pytest.approx(sorted(100 * a for a in accuracies), abs=0.051)
    assert not any("decision" in rows[0] for rows in markdown_tables(tokens))


def test_command_writes_the_formats_in_a_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["report", str(folder), "--format", "html,tex", "--format", "md"])
    assert capsys.readouterr().out.splitlines() == [str(folder / f"report.{name}") for name in ("html", "tex", "md")]


PARSERS = {
    "report": (formats.parse_report_formats, ("html", *FORMATS)),
    "documents": (lambda values: write_documents(Path("nowhere"), values), FORMATS),
    "python": (lambda values: headstart.write_documents("nowhere", values), FORMATS),
    "figures": (lambda values: write_figures(Path("nowhere"), Path("nowhere"), values), FIGURE_FORMATS),
    "python figures": (lambda values: headstart.write_figures("nowhere", formats=values), FIGURE_FORMATS),
}


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("value", ["gif", "mdx", "pgn", "html", "pdf", "tex", "", None])
def test_unknown_formats_are_usage_errors(parser: str, value: str | None) -> None:
    parse, known = PARSERS[parser]
    if value in known:
        return
    with pytest.raises(UsageError) as error:
        parse([] if value is None else [known[-1].upper(), value])
    if value is not None:
        assert value in values_of(error.value.message)
    assert any(name in error.value.hint for name in known)


@pytest.mark.parametrize("value", ["MD", ".md", " Md "])
def test_formats_are_recognized_as_people_type_them(value: str) -> None:
    assert formats.parse_report_formats([value, "md"]) == formats.parse_document_formats([value]) == ("md",)
    assert parse_figure_options([value.replace("D", "d").replace("md", "PNG").replace("Md", "png")], 300) == ("png",)


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [*((name, "matplotlib", "matplotlib") for name in FORMATS), ("docx", "docx", "python-docx")],
)
def test_missing_package_is_named_before_anything_is_written(
    name: str, module: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda wanted: None if wanted == module else object())
    for call in (lambda: formats.parse_report_formats(["html", name]), lambda: write_documents(tmp_path, [name])):
        with pytest.raises(UsageError) as error:
            call()
        assert f"pip install {package}" in error.value.hint
    assert list(tmp_path.iterdir()) == []
