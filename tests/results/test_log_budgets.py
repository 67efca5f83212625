"""Training logs with long lines or many rows are read in linear time."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.errors import DataError
from headstart.report.logged_run import LOSS, UNNAMED, LoggedQuantity
from headstart.results import log_lines, log_values, training_log
from headstart.results.training_log import read_training_log
from tests.messages import fields_of

ANY_LOSS = LoggedQuantity(LOSS, UNNAMED)
SAVED = re.compile(
    r"\b(?:model|checkpoint|weights|best)\b[^,;|]*\bsav(?:ed|ing)\b|\bsav(?:ed|ing)\b|保存", re.IGNORECASE
)


@pytest.mark.parametrize(
    "words",
    ["best " * 200_000, "model saving, best " * 50_000, "accuracy on the " + "5 the " * 100_000, "loss on " * 100_000],
    ids=["saved", "saved and not", "names", "name"],
)
def test_long_lines_take_linear_time(words: str, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text(f"Epoch 1 loss 0.5 {words}\n")
    started = time.process_time()
    assert read_training_log(path)[0].values[ANY_LOSS] == {1: 0.5}
    assert time.process_time() - started < 5


def test_last_values_of_a_long_line_count(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("Epoch 1: " + "step loss 0.5 \b" * log_lines.MAX_LINE + "loss 0.25\n")
    assert read_training_log(path)[0].values[ANY_LOSS] == {1: 0.25}


@given(st.lists(st.sampled_from(["best", "model", "saved", "Saving", ",", ";", "|", " ", "保存", "x"]), max_size=12))
def test_saved_models_are_found_where_one_expression_finds_them(parts: list[str]) -> None:
    line = "".join(parts)
    match = SAVED.search(line)
    assert log_lines._saved_place(line) == (match.start() if match else None)


def test_names_of_columns_are_understood_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    understand = log_values.match_curve
    monkeypatch.setattr(log_values, "match_curve", lambda name: (names.append(name), understand(name))[1])
    log_values.matched.cache_clear()
    path = tmp_path / "log.csv"
    path.write_text("epoch,loss\n" + "".join(f"{number},0.5\n" for number in range(1000)))
    assert len(read_training_log(path)[0].values[ANY_LOSS]) == 1000
    assert sorted(names) == ["epoch", "loss"]


def test_columns_of_one_meaning_are_kept_once() -> None:
    entry = log_values.table_entry([("epoch", 3.0), ("loss", 1.0), ("Loss", 2.0), ("LOSS", 3.0)])
    assert entry is not None and [(value.meaning, value.number) for value in entry.values] == [(ANY_LOSS, 3.0)]


def test_table_with_a_cell_of_megabytes_is_no_log(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("epoch,loss\n" + "1" * 200_000)
    with pytest.raises(DataError):
        read_training_log(path)


@pytest.mark.parametrize("line", ["loss 1\n", "\r", "{\n", "\u2028", '{"epoch": 1}, '], ids=repr)
def test_many_short_lines_are_no_log(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_log, "MAX_SHORT_LINES", 100)
    path, opening = tmp_path / "log.txt", "[" if line.endswith(", ") else "Epoch 1 loss 0.5\n"
    closing = '{"epoch": 1, "loss": 0.5}]' if opening == "[" else ""
    path.write_text(opening + 99 * line + closing)
    assert read_training_log(path)
    path.write_text(opening + 101 * line + closing)
    with pytest.raises(DataError) as error:
        read_training_log(path)
    assert fields_of(error.value.message)["count"] > 100
    path.write_text("Epoch 1 loss 0.5\n" + 200 * f"loss 1 {'x' * 40}\n")
    assert read_training_log(path)
