"""Output in a terminal, in a pipe and in a notebook."""

import io
from pathlib import Path

import pytest

from headstart.analysis.sentences import verdict_messages
from headstart.cli.render import print_study
from headstart.console import ConsoleReporter
from tests.verdicts import verdict


@pytest.mark.parametrize("columns", [40, 100])
def test_verdict_is_wrapped_between_words_in_a_terminal_only(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = verdict()
    messages = verdict_messages(result)
    print_study(Path("study"), result, as_json=False)
    piped = capsys.readouterr().out
    assert str(messages.paragraph) in piped.splitlines()

    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_study(Path("study"), result, as_json=False)
    wrapped = capsys.readouterr().out
    assert wrapped.split() == piped.split()
    _table, *paragraphs, _paths = wrapped.rstrip().split("\n\n")
    assert paragraphs[0].split() == str(messages.paragraph).split()
    lines = [line for paragraph in paragraphs for line in paragraph.splitlines()]
    assert max(map(len, lines)) <= columns < len(str(messages.paragraph))
    assert not [line for line in lines if line != line.strip()]


def test_notebooks_that_force_color_get_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("sys.stderr", stream := io.StringIO())
    with ConsoleReporter() as reporter:
        for done in range(3):
            reporter.progress("reading", done, 2)
    assert "\x1b" not in stream.getvalue()
