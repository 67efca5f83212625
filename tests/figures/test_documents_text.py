"""Texts of documents: escapes are read back, sources belong to what was used, and columns fit on a line."""

import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import docx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from headstart.config.registry.starts import SCHEMES
from headstart.config.run_config import RunConfig
from headstart.figures.documents import docx as docx_format
from headstart.figures.documents import markdown, tex
from headstart.figures.documents.build import build_document
from headstart.figures.documents.columns import COLUMN_GAP, LINE_LETTERS, column_widths, text_length
from headstart.figures.documents.model import (
    Blank,
    BulletList,
    Code,
    CrossReference,
    Document,
    DocumentFigure,
    DocumentTable,
    Heading,
    Paragraph,
    Source,
    SourceList,
    Target,
    cite,
    cited_keys,
    refer,
    text_parts,
)
from headstart.figures.documents.recipe import OPTIMIZER_SOURCES, for_each_group, recipe_sentences
from headstart.figures.documents.sources import SOURCES, cited_sources
from headstart.figures.documents.usage import scheme_of
from headstart.i18n import Value, _, join, translated, verbatim
from headstart.optim.registry import OPTIMIZERS, SCHEDULES
from headstart.report.page import read_inputs
from tests.handmade import run_result, write_run_files
from tests.messages import values_of

BEGAN = datetime(2026, 1, 2, tzinfo=UTC)
VISIBLE = st.characters(min_codepoint=33, max_codepoint=126)
words = st.lists(st.text(VISIBLE, min_size=1, max_size=12), min_size=1, max_size=6).map(" ".join)
SPECIAL_LETTERS = "外套コート±αé√|`"


def document(*blocks: object) -> Document:
    return Document(_("title"), BEGAN, blocks)  # type: ignore[arg-type]


def shown(text: bytes) -> list[tuple[str, str]]:
    """Return the kind and the text of every block with text of a Markdown document."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text.decode())
    return [
        (before.type, "".join(child.content for child in token.children or ()))
        for before, token in zip([None, *tokens], tokens, strict=False)
        if before is not None and token.type == "inline"
    ]


@given(words)
def test_markdown_shows_any_text_as_it_is(text: str) -> None:
    table = DocumentTable("t", _("caption"), ["name", "value"], [[text, "1"]])
    blocks = shown(markdown.render(document(Heading(text, 2), Paragraph(text), table), Path()))
    assert blocks[1] == ("heading_open", text)
    assert blocks[2] == ("paragraph_open", text)
    assert [cell for kind, cell in blocks if kind == "td_open"] == [text, "1"]


@given(words)
def test_tex_leaves_no_active_character(text: str) -> None:
    left = re.sub(r"\\(text\w+|ldots)\{\}|\\[{}$&#%_]|(?<=[-,?!])\{\}", "", tex.escape(text))
    assert not re.search(r"[\\{}$&#%_^~]", left)
    plain = set(text) - set("\\{}$&#%_^~<>|\"`'")
    assert [c for c in text if c in plain] == [c for c in left if c in plain]


def test_tex_shows_different_letters_differently() -> None:
    letters = [chr(code) for code in range(32, 127)] + list(SPECIAL_LETTERS)
    assert len({tex.escape(letter) for letter in letters}) == len(set(letters))
    assert tex.escape("外套") == "外套" and "CJK" in tex.PREAMBLE


@pytest.mark.parametrize("letters", ["--", "---", ",,", "''", "``", "?`", "!`", "<<", ">>"])
def test_tex_has_no_ligatures_in_names(letters: str) -> None:
    assert letters not in tex.escape(letters)


def test_text_is_divided_at_its_references() -> None:
    text = _("{name} in {figure} {sources}", name="a\nb", figure=refer(Target.FIGURE, "f"), sources=cite("x", "y"))
    assert text_parts(text) == [
        "a\\nb in ", CrossReference(Target.FIGURE, ("f",)), " ", CrossReference(Target.SOURCE, ("x", "y"))
    ]  # fmt: skip


FORGED = [f"\ue000{target}:{key}\ue001" for target in Target for key in ("t", "s")]


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize(
    "wrap", [str, verbatim, Path, lambda name: join([name]), lambda name: _("{x}", x=join([name]))]
)
def test_names_cannot_contain_marks_of_references(name: str, wrap: Callable[[str], Value]) -> None:
    escaped = name.replace("\ue000", r"\ue000").replace("\ue001", r"\ue001")
    source = Source("s", "S.", "https://s")
    text = _("{table} {name}", table=refer(Target.TABLE, "t"), name=wrap(name))
    cell = wrap(name)
    content = document(
        DocumentTable("t", _("caption"), ["x"], [[cell if isinstance(cell, str) else str(cell)]]), Paragraph(text),
        Code(name, "toml"), SourceList([source]),
    )  # fmt: skip
    blocks = shown(markdown.render(content, Path()))
    assert ("td_open", escaped) in blocks and ("paragraph_open", f"Table 1 {escaped}") in blocks
    assert escaped in markdown.render(content, Path()).decode().partition("```toml\n")[2]
    word = docx.Document(io.BytesIO(docx_format.render(content, Path())))
    assert word.tables[0].rows[1].cells[0].text == escaped
    assert [p.text for p in word.paragraphs].count(f"Table 1 {escaped}") == 1 and escaped in [
        p.text for p in word.paragraphs
    ]
    body = tex.render(content, Path()).decode().partition(r"\begin{document}")[2]
    assert body.count(r"\textbackslash{}ue000") == 3 and body.count(r"\ref{") == 1 and r"\cite" not in body


@pytest.mark.parametrize("text", ["a\udcffb", "\x00", "a\tb\r\nc", "\ufffe"])
def test_code_of_any_characters_is_a_document_in_every_format(text: str) -> None:
    content = document(Code(text, "toml"), Paragraph(_("{path}", path=Path("a\udcff"))))
    lines = Code(text, "toml").lines
    assert all(line.isprintable() for line in lines)
    assert "\n".join(lines) in markdown.render(content, Path()).decode()
    word = docx.Document(io.BytesIO(docx_format.render(content, Path())))
    assert "\n".join(lines) in [paragraph.text for paragraph in word.paragraphs]
    assert tex.render(content, Path()).decode()


OPTIONS = ["[a] b", "*star", "[", "*", "", "[-1ex]"]


def test_tex_reads_no_name_as_an_option() -> None:
    for row in OPTIONS:
        blank = Blank(_("title"), [verbatim(row)])
        long = DocumentTable("long", _("caption"), [row], [[row]] * 30)
        content = document(DocumentTable("t", _("caption"), [row], [[row], [row]]), long, BulletList([row]), blank,
                           Code(f"x\n{row}", "toml"))  # fmt: skip
        body = tex.render(content, Path()).decode().partition(r"\begin{document}")[2]
        commands = re.findall(r"(?:\\\\|\\item|\\\w+rule|\\\w+head|\\\w+foot)[ \n]*(.)", body)
        assert len(commands) > 40 and not {"[", "*"} & set(commands)


def test_tex_has_composed_letters_everywhere() -> None:
    name = "cafe\u0301 " + "u\u0308" * 20
    content = document(Paragraph(name), Code(name, "toml"), DocumentTable("t", _("caption"), ["x"], [[name]]))
    text = tex.render(content, Path()).decode()
    assert "\u0301" not in text and "\u0308" not in text and text.count("é") == 3
    assert text.count("ü") == 60


def test_references_are_numbers_in_the_order_of_the_document() -> None:
    sources = SourceList([Source("b", "B.", "https://b"), Source("a", "A.", "https://a")])
    tables = [DocumentTable(key, _("caption"), ["x"], [["1"]]) for key in ("first", "second")]
    text = _("{table}: {source}", table=refer(Target.TABLE, "second"), source=cite("a", "b"))
    content = document(Paragraph(text), *tables, sources)
    assert shown(markdown.render(content, Path()))[1] == ("paragraph_open", "Table 2: [1, 2]")
    assert r"Table~\ref{table:second}: \cite{a,b}" in tex.render(content, Path()).decode()


def plan(**settings: object) -> RunConfig:
    return RunConfig().changed(**{"network": "resnet18", "source": "photos", "crop": 0.08, **settings})  # type: ignore[arg-type]


def listed(folder: Path, *plans: RunConfig) -> set[str]:
    """Return the keys of the sources in the document on these runs, which all are cited in it."""
    for seed, one in enumerate(plans):
        write_run_files(folder / f"run-{seed}", one.changed(seed=seed), result=run_result())
    content = build_document(read_inputs(folder / "run-0" if len(plans) == 1 else folder), [], "png")
    (sources,) = (block.sources for block in content.blocks if isinstance(block, SourceList))
    body = markdown.render(content, folder).decode().rpartition("## References")[0]
    cited = {int(number) for group in re.findall(r"\\\[(\d+(?:, \d+)*)\\\]", body) for number in group.split(", ")}
    assert cited <= set(range(1, len(sources) + 1))
    return {source.key for source in sources}


def test_sources_are_complete_and_in_alphabetical_order() -> None:
    texts = [row.text for row in SOURCES]
    assert texts == sorted(texts, key=lambda text: text.replace("’", "").casefold())
    assert len({row.key for row in SOURCES}) == len(SOURCES)
    for row in SOURCES:
        (year,) = set(re.findall(r"\((\d{4})\)", row.text))
        assert row.key.endswith(year) and row.text.endswith(".")
        assert row.text.casefold().startswith(re.sub(r"\d+", "", row.key)[:4]) or row.key == "obrien1979"
        assert row.url.startswith("https://")


def test_only_cited_sources_are_listed() -> None:
    row = _("{x}", x=cite("wilson1927"))
    blocks = [
        Heading(_("{x}", x=cite("kumar2022"))), Paragraph(_("{x}", x=cite("goyal2017", "he2015"))), BulletList([row]),
        DocumentTable("t", _("{x}", x=cite("yun2019")), [_("{x}", x=cite("zhang2018"))],
                      [[_("{x}", x=cite("saxe2014"))]]),
        DocumentFigure("f", _("title"), _("{x}", x=cite("hunter2007")), Path("f.png")),
        Blank(_("title"), [_("{x}", x=cite("polyak1964"))]), Code("\ue000source:holm1979\ue001", ""),
        Paragraph("\ue000source:holm1979\ue001"),
    ]  # fmt: skip
    assert [source.key for source in cited_sources(blocks)] == [
        "goyal2017", "he2015", "hunter2007", "kumar2022", "polyak1964", "saxe2014", "wilson1927", "yun2019", "zhang2018"
    ]  # fmt: skip


EXPECTED = {
    "kumar2022": ({"tuning": "lp-ft"}, {"tuning": "full"}),
    "zhang2018": ({"mixup": 0.2}, {}),
    "yun2019": ({"cutmix": 1.0}, {}),
    "szegedy2016": ({"label_smoothing": 0.1}, {}),
    "szegedy2015": ({"crop": 0.5}, {"crop": 1.0}),
    "polyak1964": ({"optimizer": "sgd"}, {"optimizer": "sgd", "nesterov": True}),
    "loshchilov2017": ({"schedule": "cosine"}, {"schedule": "linear"}),
    "smith2019": ({"schedule": "one-cycle"}, {"schedule": "step"}),
    "ioffe2015": ({"norm": "batch"}, {"norm": "none"}),
    "he2015": ({"start": "scratch:zero-gamma"}, {"start": "scratch:torch"}),
    "goyal2017": ({"start": "scratch:zero-gamma"}, {"start": "scratch"}),
    "saxe2014": ({"start": "scratch:orthogonal"}, {"start": "scratch"}),
    "glorot2010": ({"start": "scratch:xavier"}, {"start": "scratch"}),
    "he2016": ({}, {"network": "timm:vit_tiny_patch16_224"}),
    "wightman2019": ({"start": "stats:timm:resnet18.a1_in1k"}, {"optimizer": "lion"}),
    "russakovsky2015": ({"start": "stats:imagenet"}, {"start": "scratch"}),
    "torchvision2016": ({"start": "imagenet"}, {"start": "scratch"}),
    "raghu2019": ({"start": "stats:imagenet"}, {"start": "imagenet"}),
    "alpaydin1998": ({"source": "digits:0-3"}, {}),
    **{key: ({"optimizer": name}, {"optimizer": "sgd" if name != "sgd" else "adam"})
       for name, (key,) in OPTIMIZER_SOURCES.items()},
}  # fmt: skip


@pytest.mark.parametrize("key", EXPECTED)
def test_source_is_listed_only_for_runs_that_used_it(key: str, tmp_path: Path) -> None:
    with_it, without_it = EXPECTED[key]
    assert key in listed(tmp_path / "with", plan(**with_it))
    assert key not in listed(tmp_path / "without", plan(**without_it))
    assert key in listed(tmp_path / "both", plan(**without_it), plan(**with_it))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_cited_sources_of_a_recipe_exist(optimizer: str, schedule: str) -> None:
    assert optimizer in OPTIMIZER_SOURCES
    for tuning, mixer in (("full", "mixup"), ("lp-ft", "cutmix"), ("frozen", "cutmix")):
        settings = {mixer: 0.5, "label_smoothing": 0.1, "warmup": "1ep", "tuning": tuning, "clip": 1.0, "ema": 0.9}
        one = plan(optimizer=optimizer, schedule=schedule, **settings)
        cited = cited_keys(Paragraph(sentence(one)) for sentence in recipe_sentences("val"))
        assert cited and cited <= {row.key for row in SOURCES}


def test_every_scheme_of_initial_weights_is_one_that_usage_knows() -> None:
    for scheme in SCHEMES:
        assert scheme_of(plan(start=f"scratch:{scheme}")) == scheme
    assert scheme_of(plan(start="scratch")) == "kaiming"
    assert scheme_of(plan(start="scratch", network="timm:vit_tiny_patch16_224")) == ""


@pytest.mark.parametrize(("settings", "word"), [({"patience": 3}, "subset"), ({"schedule": "plateau"}, "subset")])
def test_recipe_names_the_selection_split_of_the_data(settings: dict[str, object], word: str) -> None:
    texts = [translated(sentence(plan(**settings))) for sentence in recipe_sentences(word)]
    assert sum(f" {word}" in text for text in texts) == 1 and not any(" val" in text for text in texts)


def test_sentences_on_plans_name_the_arms_that_differ() -> None:
    plans = {"a": plan(lr=0.1), "b": plan(optimizer="adam"), "c": plan(lr=0.2)}
    sentences = for_each_group(plans, recipe_sentences("val")[0])
    assert len(sentences) == 2
    assert [set(values_of(text)) & {"a", "b", "c"} for text in sentences] == [{"a", "c"}, {"b"}]
    assert len(for_each_group(plans, recipe_sentences("val")[2])) == 1


@given(st.lists(st.lists(st.text("ab ", max_size=60), min_size=4, max_size=4), min_size=1, max_size=5))
def test_columns_fit_on_a_line(rows: list[list[str]]) -> None:
    widths = column_widths(rows)
    longest = [max(map(text_length, column)) for column in zip(*rows, strict=True)]
    assert sum(widths.letters) + COLUMN_GAP * 4 <= LINE_LETTERS + 1e-6
    assert widths.wrapped == (sum(longest) + COLUMN_GAP * 4 > LINE_LETTERS)
    assert widths.wrapped or list(widths.letters) == longest
