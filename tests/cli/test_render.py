"""Verdicts in a terminal and in a pipe."""

from pathlib import Path

import pytest

from headstart.analysis.sentences import verdict_messages
from headstart.cli.render import print_study
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
    paragraph = wrapped.split("\n\n")[1]
    assert paragraph.split() == str(messages.paragraph).split()
    assert max(map(len, paragraph.splitlines())) <= columns < len(str(messages.paragraph))
