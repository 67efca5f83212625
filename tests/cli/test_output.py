"""Names with control sequences reach neither the terminal nor tables and CSV; what programs read stays exact."""

import ast
import csv
import io
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

import headstart
from headstart.cli import output
from headstart.cli.render import as_csv, as_table, print_study
from headstart.config.run_config import RunConfig
from headstart.console import ConsoleReporter
from headstart.data.tables.csv_reader import read_csv
from headstart.data.tables.options import TableOptions
from headstart.i18n import _
from headstart.inference.predictor import Prediction
from headstart.printable import printable_cell
from headstart.reporter import ArmStatus, StudyStatus
from headstart.text import formula_notes
from tests.messages import values_of
from tests.verdicts import arm_result, verdict

ESCAPES = ["\x1b[31m", "\x1b]0;title\x07", "\x9b31m", "\r", "\n", "\x00", "\x7f", "\u2028", "\u202e", "\u2066", "\b"]
EXACT = [
    "é",
    "外套 コート",
    "\u3000",
    "\xa0",
    "👩‍👧",
    "=1+1",
    "-1",
    "@x",
    "a,b",
    'a"b',
    "-x",
    " a ",
    "\u200f",
    "a\\x1b",
]
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # all but the ends of lines
NAME = "x\x1b[31mred\x9b1m\r\x07[bold]b[/bold]"
names = st.lists(st.sampled_from(ESCAPES + EXACT) | st.text(max_size=5), min_size=1).map("".join)


def test_messages_are_printed_without_the_layer_of_files() -> None:
    """On Windows the layer cannot be imported, and headstart prints that it runs under WSL only."""
    code = "import sys, headstart.cli.output; print('headstart.storage.descriptors' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_only_one_module_prints() -> None:
    """What is printed elsewhere would not be escaped; ruff allows `print` in this module alone."""
    for path in (Path(headstart.__file__).parent / "cli").glob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        prints = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert bool(prints) == (path.name == "output.py"), path


@given(names)
@example("a\\x1b")
def test_cells_of_csv_have_no_control_characters(name: str) -> None:
    cell = printable_cell(name)
    assert not CONTROL.search(cell) and "\n" not in cell
    assert cell == name or CONTROL.search(name) or "\n" in name or re.search("[\ud800-\udfff]", name)
    assert cell.encode().decode() == cell  # also of names that are not UTF-8


@pytest.mark.parametrize("name", EXACT)
def test_csv_of_predictions_is_read_back_exactly(name: str, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    predictions = [Prediction(f"{name}{end}.png", name, 0.75, (0.75, 0.25)) for end in "ab"]
    table.write_text(as_csv(predictions, [name, "other"]), encoding="utf-8")
    (first, *_) = csv.DictReader(io.StringIO(table.read_text(encoding="utf-8")))
    assert (first["image"], first["label"], first[f"p({name})"]) == (f"{name}a.png", name, "0.75")
    read = read_csv(table, TableOptions("image", "label"))
    assert list(read.column("image").values) == [f"{name}{end}.png" for end in "ab"]
    assert list(read.column("label").values) == [name] * 2


def test_tables_and_csv_of_predictions_have_no_control_characters() -> None:
    rows = [Prediction(NAME, NAME, 0.75, (0.75, 0.25)), Prediction(NAME, "", 0.0, (), _("{x}", x=NAME))]
    texts = ["\n".join(as_table(rows)), as_csv(rows, [NAME, "b"])]
    texts.append(as_csv([Prediction(NAME, NAME, 0.75, (), top=((NAME, 0.75),))], ()))
    for text in texts:
        assert not CONTROL.search(text) and text.count("\\x1b[31m") >= 3


def hostile_verdict() -> object:
    result = arm_result("imagenet")
    spec = result.spec.model_copy(update={"label": f"file:{NAME}", "start": f"file:{NAME}"})
    return verdict([result.model_copy(update={"spec": spec}), arm_result("scratch")])


PRINTED: dict[str, Callable[[], object]] = {
    "lines": lambda: output.print_lines([NAME, _("{x}", x=NAME)]),
    "wrapped": lambda: output.print_wrapped([NAME]),
    "paths": lambda: output.print_words([Path(NAME), NAME]),
    "json": lambda: output.print_json({NAME: NAME}),
    "errors": lambda: output.print_errors([NAME]),
    "traceback": lambda: output.print_traceback(headstart.DataError(_("{x}", x=NAME), _("{x}", x=NAME))),
    "toml": lambda: output.print_toml(RunConfig().changed(source=NAME).to_toml()),
    "study": lambda: print_study(Path(NAME), hostile_verdict(), as_json=False),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize("kind", PRINTED)
def test_names_are_printed_without_control_characters(
    kind: str, is_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    PRINTED[kind]()
    shown = "".join(capsys.readouterr())
    assert not CONTROL.search(shown) and "red" in shown
    if kind == "toml":
        assert tomllib.loads(shown)["data"]["source"] == NAME


@pytest.mark.parametrize("is_terminal", [False, True])
def test_progress_has_no_control_characters_and_no_markup_of_names(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    status = StudyStatus(NAME, 0.75, [ArmStatus(NAME, NAME, 1, 2, 0.5, None)], NAME, "")
    with ConsoleReporter() as reporter:
        if is_terminal:
            monkeypatch.setattr(reporter, "_console", Console(file=screen, force_terminal=True, width=200))
        reporter._last_line = -1e9
        reporter.progress(NAME, 1, 3)
        reporter.say(NAME)
        reporter.study_status(status)
    text = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", screen.getvalue().replace("\r", ""))  # of Rich
    assert not CONTROL.search(text) and text.count(r"x\x1b[31mred\x9b1m\r\x07[bold]b[/bold]") >= 3


@pytest.mark.parametrize(
    ("texts", "count"),
    [(["a", "-1", "+1", "-1e3", "x=1", ""], 0), (["=1", "@a", "-x", "+x", "＝1", "=1", "+1"], 5), (["-"], 1)],
)
def test_note_on_formulas_counts_the_names_that_are_no_numbers(texts: list[str], count: int) -> None:
    assert [values_of(note) for note in formula_notes(texts)] == ([[count]] if count else [])
