"""Messages: English text, rendering from a catalog, plural forms, copies; what the command line prints is rendered."""

import ast
import copy
import gettext
import io
import pickle
import re
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headstart import i18n
from headstart.analysis.sentences import verdict_messages
from headstart.cli.main import main
from headstart.cli.render import print_study
from headstart.console import ConsoleReporter
from headstart.errors import HeadstartError, InterruptedRunError, MissingWeightsError, UsageError
from headstart.i18n import Message, _, join, ngettext, translated
from headstart.reporter import ArmStatus, StudyStatus
from headstart.results.study import StudyVerdict
from headstart.storage.schemas.verdict import Verdict
from tests.pseudo_catalog import CLOSE, OPEN, PACKAGE, PseudoCatalog, extracted_templates, has_words, words_left
from tests.varied_verdicts import ARMS, CLASS_NAME, EXAMPLE, NETWORK, varied_verdicts

TEMPLATES = {"_": 1, "ngettext": 2}  # number of templates by the function that makes a message
babel_pofile = pytest.importorskip("babel.messages.pofile")
babel_mofile = pytest.importorskip("babel.messages.mofile")

GERMAN = """
msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"

msgid "There is no folder {path}."
msgstr "Den Ordner {path} gibt es nicht."

msgid "{first:cap} is better than {second}."
msgstr "Besser als {second} ist {first}."

msgid "{count:,} run"
msgid_plural "{count:,} runs"
msgstr[0] "{count:,} Lauf"
msgstr[1] "{count:,} Läufe"

msgid "the last one"
msgstr "der letzte"
"""


@pytest.fixture(scope="module")
def german() -> gettext.GNUTranslations:
    """Return a catalog that Babel compiled."""
    catalog = babel_pofile.read_po(io.BytesIO(GERMAN.encode()), locale="de")
    compiled = io.BytesIO()
    babel_mofile.write_mo(compiled, catalog)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def test_text_of_a_message_is_english() -> None:
    message = _("{first:cap} is better than {second}.", first="scratch", second="imagenet")
    assert message == "Scratch is better than imagenet."
    assert [ngettext("{count:,} run", "{count:,} runs", n) for n in (0, 1, 1200)] == ["0 runs", "1 run", "1,200 runs"]


def test_catalog_may_change_the_order_of_values(german: gettext.GNUTranslations) -> None:
    message = _("{first:cap} is better than {second}.", first="scratch", second="imagenet")
    assert translated(message, german) == "Besser als imagenet ist scratch."
    assert translated(_("Not in the catalog: {n:.1f}.", n=0.25), german) == "Not in the catalog: 0.2."
    assert translated("a name", german) == "a name"


def test_values_that_are_messages_are_translated_too(german: gettext.GNUTranslations) -> None:
    inner = _(
        "{first:cap} is better than {second}.",
        first=_("the last one"),
        second=ngettext("{count:,} run", "{count:,} runs", 2),
    )
    both = join([inner, "", _("There is no folder {path}.", path="a{b}")])
    assert both == "The last one is better than 2 runs. There is no folder a{b}."
    assert translated(both, german) == "Besser als 2 Läufe ist der letzte. Den Ordner a{b} gibt es nicht."
    assert join([]) == ""


@given(st.text(), st.integers(-(10**9), 10**9))
def test_values_are_never_read_as_templates(text: str, number: int) -> None:
    assert _("{text}|{number}", text=text, number=number) == f"{text}|{number}"
    assert join([_("{text}", text=text), f"{number}"]) == (f"{text} {number}" if text else f"{number}")


def test_copies_keep_template_and_values(german: gettext.GNUTranslations) -> None:
    message = ngettext("{count:,} run", "{count:,} runs", 3)
    for other in (copy.copy(message), copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
        assert isinstance(other, Message) and other == message
        assert translated(other, german) == "3 Läufe"


def test_templates_are_literals() -> None:
    """Babel reads the source: it finds no template that is computed."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in TEMPLATES:
                for template in node.args[: TEMPLATES[node.func.id]]:
                    assert isinstance(template, ast.Constant) and template.value, f"{path}:{template.lineno}"


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> PseudoCatalog:
    """Return the catalog of the reader's language, which marks what it translates."""
    main(["--version"])  # imports the commands, whose help is rendered at import
    capsys.readouterr()
    marking = PseudoCatalog()
    monkeypatch.setattr(i18n, "_reader_catalog", lambda: marking)
    return marking


@pytest.mark.filterwarnings("ignore:html5lib:DeprecationWarning")  # imported by TensorBoard
@pytest.mark.parametrize(
    "words",
    [
        ["train", "nowhere"],
        ["train", "--nowhere"],
        ["train", "--lr"],
        ["train", "--lr", "nowhere"],
        ["train", "digits", "--start", "file:nowhere"],
        ["train", "digits", "--epochs", "nowhere"],
        ["compare", "digits", "--vary", "nowhere"],
        ["compare", "digits", "--arm", "scratch"],
        ["compare", "digits", "--arm", "scratch", "--arm", "file:nowhere"],
        ["compare", "--study", "nowhere"],
        ["compare", "--engine", "nowhere"],
        ["resume"],
        ["resume", "nowhere"],
        ["resume", "."],
        ["predict", "nowhere", "."],
        ["evaluate", "nowhere", "digits"],
        ["tensorboard", "nowhere"],
        ["tensorboard", "nowhere", "nowhere"],
        ["tensorboard", "--port", "70000"],
        ["diagnose"],
        ["diagnose", "nowhere"],
        ["diagnose", "nowhere", "--seeds", "3"],
        ["ablate", "nowhere"],
        ["ablate", "digits", "--network", "resnet18"],
        ["train", "--pretrained"],
        ["train", "--epochs", "3,10"],
        ["compare", "--lr", "1", "--lr", "2"],
        ["compare", "epochs=3"],
        ["train", "--quiet", "--verbose"],
        ["report", "nowhere"],
    ],
    ids=" ".join,
)
def test_errors_of_the_command_line_are_rendered_from_the_catalog(
    words: list[str],
    catalog: PseudoCatalog,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_info:
        main(words)
    assert exit_info.value.code in (2, 3, 6)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2, lines
    for line in lines:
        assert line.startswith(OPEN) and line.endswith(CLOSE), line
    assert {template for template in catalog.templates if has_words(template)} <= extracted_templates()


def test_report_of_progress_is_rendered_from_the_catalog(
    catalog: PseudoCatalog, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.console.PROGRESS_INTERVAL_S", 0.0)
    text = _("There is no folder {path}.", path="X")
    status = StudyStatus(text, 0.9, (ArmStatus("scratch", text, 1, 2, 0.5, 3.0),), text, text)
    with ConsoleReporter() as reporter:
        reporter.say(text)
        reporter.progress(text, 1, 2)
        reporter.study_status(status)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and all(line.startswith(OPEN) and words_left(line) == {"X"} for line in lines), lines


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(varied_verdicts())
def test_verdict_is_printed_from_the_catalog(
    catalog: PseudoCatalog, capsys: pytest.CaptureFixture[str], verdict: Verdict
) -> None:
    print_study(Path("/study"), verdict, as_json=False)
    shown = capsys.readouterr().out
    names = words_left(" ".join((*ARMS, NETWORK, CLASS_NAME, EXAMPLE, "val test /study/report.html /study/model")))
    assert words_left(shown) <= names | {name.capitalize() for name in names}, shown
    assert translated(verdict_messages(verdict).paragraph, catalog) in shown
    html = StudyVerdict(**dict(verdict))._repr_html_()
    assert words_left(re.sub(r"</?(h4|p|ul|li)>|&#x27;|&quot;|&gt;", "", html)) <= names | {
        name.capitalize() for name in names
    }
    assert {template for template in catalog.templates if has_words(template)} <= extracted_templates()


@pytest.mark.parametrize(
    "error",
    [
        UsageError(_("no {x}", x=1), _("use {y}", y=2)),
        MissingWeightsError(_("no {x}", x=1), _("use {y}", y=2), _("copy {z}", z=3)),
        InterruptedRunError(signal.SIGTERM, _("resume {y}", y=2)),
    ],
)
def test_copied_error_keeps_its_messages(error: HeadstartError) -> None:
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is type(error) and vars(copied) == vars(error) and str(copied) == str(error)
    assert (copied.message.values, copied.hint.values) == (error.message.values, error.hint.values)
