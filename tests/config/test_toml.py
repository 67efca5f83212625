"""TOML files: those of a user may be links and pipes, those of a study may not."""

import os
import threading
from pathlib import Path

import pytest

from headstart.config.toml import MAX_BYTES, read_toml
from headstart.errors import DataError, UsageError
from headstart.i18n import verbatim

KIND = verbatim("study")


def test_links_are_followed_only_for_files_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_bytes("a = 1\r\nb = 'ü'".encode())
    (tmp_path / "study.toml").symlink_to("own.toml")
    expected = {"a": 1, "b": "ü"}
    assert read_toml(tmp_path / "study.toml", KIND, DataError) == expected
    assert read_toml(tmp_path / "own.toml", KIND, DataError, root=tmp_path) == expected
    with pytest.raises(DataError, match="study"):
        read_toml(tmp_path / "study.toml", KIND, UsageError, root=tmp_path)


def test_a_pipe_of_the_user_is_read_and_one_in_a_study_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "study.toml")
    with pytest.raises(DataError, match="study"):
        read_toml(tmp_path / "study.toml", KIND, UsageError, root=tmp_path)
    writer = threading.Thread(target=lambda: (tmp_path / "study.toml").write_text("a = 1"))
    writer.start()
    assert read_toml(tmp_path / "study.toml", KIND, DataError) == {"a": 1}
    writer.join()


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "a = " + "{a=" * 100_000,
        "a" + ".a" * 200_000 + "=1",
        r'"\""' + ".a" * 1_001 + r'."\"" = 1',  # a key of many parts between escaped quotes
        "a = ",
    ],
)
def test_other_texts_are_errors_that_name_the_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(UsageError, match="study"):
        read_toml(tmp_path / "study.toml", KIND, DataError)


@pytest.mark.parametrize("is_inside", [True, False])
def test_very_large_and_missing_files_are_refused(tmp_path: Path, is_inside: bool) -> None:
    (tmp_path / "study.toml").write_bytes(b"#" * (MAX_BYTES + 1))
    for name in ("study.toml", "none.toml"):
        with pytest.raises(DataError, match=name.partition(".")[0]):
            read_toml(tmp_path / name, KIND, DataError, root=tmp_path if is_inside else None)
