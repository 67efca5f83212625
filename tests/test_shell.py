"""Words of commands are read by a shell as they were meant, and have no control characters."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart import shell
from headstart.i18n import _
from headstart.printable import printable

HOSTILE = ["\x1b[31mred", "a\nrm -rf x", "a'b\\'\x07", "\x1b1", "é\x1b", "\u202egnp.exe", "caf\udce9", "$(x)`y`", "",
           "-x", "\x9b31m", "\u3000", "\\x1b", "it's"]  # fmt: skip
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.sampled_from(HOSTILE)


def read_by_bash(command: str) -> list[str]:
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True)
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


def test_text_that_is_no_name_of_a_file_is_quoted() -> None:
    """JSON may have surrogates that no file name has; they have no bytes in UTF-8, so the shell reads others."""
    for text in ("\ud800", "a\udbff\udfff", "\ud800\udce9"):
        assert shell.quote(text).isascii() and len(read_by_bash(shell.quote(text))) == 1


@settings(max_examples=25, deadline=None)
@given(st.lists(words, min_size=20, max_size=40))
def test_bash_reads_the_words(texts: list[str]) -> None:
    command = shell.join(texts)
    assert printable(command) == command and "\n" not in command  # what the terminal shows can be copied
    assert read_by_bash(command) == texts


@pytest.mark.parametrize("name", HOSTILE)
def test_fields_of_messages_are_quoted_in_the_same_way(name: str) -> None:
    assert _("{x:shell}", x=name) == shell.quote(name)
    assert _("{x:shell}", x=Path(name)) == shell.quote_path(Path(name))
    assert read_by_bash(shell.quote_path(name)) == [f"./{name}" if name.startswith("-") else name]


@pytest.mark.parametrize("name", ["photos", "my photos", "fotos/é"])
def test_usual_words_are_quoted_as_by_shlex(name: str) -> None:
    assert shell.join(["headstart", name]) == f"headstart {name if ' ' not in name and name.isascii() else repr(name)}"
