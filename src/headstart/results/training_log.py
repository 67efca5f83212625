"""Read plain training logs: what a script printed, with epochs and with names and numbers of accuracy and loss."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headstart.errors import DataError
from headstart.i18n import _
from headstart.report.logged_run import ACCURACY, LOSS, MAX_SHARE, TEST, TRAIN, UNNAMED, LoggedQuantity
from headstart.results.log_lines import read_lines_of_text, text_lines
from headstart.results.log_values import MAX_EPOCH, LogEntry, LogValue, table_entry
from headstart.results.tag_rules import Rate
from headstart.storage.files import JsonData

MAX_BYTES = 100_000_000
MAX_SHORT_LINES = 250_000  # a log of more lines must have long ones: time is needed for each
MIN_LINE_CHARACTERS = 40  # of more lines, on average
LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # those of `str.splitlines`
MAX_HEADER = 10_000  # letters of the header of a table
DELIMITERS = ",;\t"


@dataclass
class LogRun:
    """The values of one training in a log.

    Args:
        values: Value of each epoch, by quantity or learning rate; accuracies as shares of 1. They may be infinite or
            NaN.
        saved: Epochs in which a model was saved.
        shares: Those that the log gives with a per cent sign or as a fraction.
    """

    values: dict[LoggedQuantity | Rate, dict[int, float]] = field(default_factory=dict)
    saved: list[int] = field(default_factory=list)
    shares: set[LoggedQuantity | Rate] = field(default_factory=set)

    def add(self, epoch: int, values: Sequence[LogValue]) -> None:
        """Add values of an epoch; they replace earlier ones."""
        for value in values:
            self.values.setdefault(value.meaning, {})[epoch] = value.number
            if value.is_share:
                self.shares.add(value.meaning)


def read_training_log(path: Path) -> list[LogRun]:
    """Return the trainings in a log: text, a table with a header, or JSON.

    A training begins where the epochs begin again. Of several values of an epoch the last one counts, for example of
    lines per batch. If the log names the loss or accuracy on another split, the one without a split is that of train,
    as Keras names them.

    Raises:
        DataError: The file cannot be read as text, or has no epochs with known values.
    """
    text = _text(path)
    _require_long_lines(path, text)
    entries = _json_entries(text)
    if entries is None:
        entries = _table_entries(text) or _printed_table_entries(text) or list(read_lines_of_text(text_lines(text)))
    runs = _runs(entries)
    if not runs:
        raise DataError(
            _("{file} has no lines with an epoch and its accuracy or loss.", file=path),
            _('Lines such as "Epoch 3: train loss 0.52, val acc 0.81" are read, and tables with a column "epoch".'),
        )
    for run in runs:
        _name_train(run)
        _scale(run)
    return runs


def _text(path: Path) -> str:
    """Return the text of a file in UTF-8, UTF-16 with its mark, or GB18030."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(_("{file} cannot be read: {error}.", file=path, error=error.strerror or str(error)),
                        _("Check the path.")) from error  # fmt: skip
    if len(content) > MAX_BYTES:
        raise DataError(
            _("{file} has more than {count} MB.", file=path, count=MAX_BYTES // 1_000_000),
            _("Keep the lines with the epochs, for example with `grep -i epoch`."),
        )
    encodings = ["utf-16"] if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ["utf-8-sig", "gb18030"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise DataError(_("{file} is not a text file.", file=path), _("Name a log that a training script printed."))


def _require_long_lines(path: Path, text: str) -> None:
    """Raise DataError for a text of so many short lines that no training printed them."""
    lines = sum(map(text.count, LINE_ENDS))
    objects = text.count("{")
    if max(lines, objects) > MAX_SHORT_LINES and len(text) < MIN_LINE_CHARACTERS * max(lines, objects):
        raise DataError(
            _("{file} has {count:,} lines, and most are short.", file=path, count=max(lines, objects)),
            _("Keep the lines with the epochs, for example with `grep -i epoch`."),
        )


def _runs(entries: Sequence[LogEntry]) -> list[LogRun]:
    """Return the trainings of a log.

    A training begins where the epoch falls to the first one of the training before, or below. A smaller fall repeats
    epochs, as after a crash. A learning rate between two trainings is that of the second.
    """
    runs = [LogRun()]
    first = epoch = -1
    waiting: list[LogValue] = []  # rates in lines without an epoch
    for entry in entries:
        values = entry.values
        if entry.epoch is not None and entry.late and entry.epoch < epoch:
            values = [value for value in values if isinstance(value.meaning, LoggedQuantity)
                      and value.meaning.split == TEST]  # fmt: skip
        elif entry.epoch is not None:
            restarts = epoch >= 0 and entry.epoch <= first and entry.epoch < epoch
            if restarts:
                runs.append(LogRun())
            if restarts or epoch < 0:
                first = entry.epoch
            runs[-1].add(entry.epoch if restarts or epoch < 0 else epoch, waiting)
            waiting, epoch = [], entry.epoch
        elif epoch < 0 or all(isinstance(value.meaning, Rate) for value in values):
            waiting += [value for value in values if isinstance(value.meaning, Rate)]
            values = []
        if epoch >= 0:
            runs[-1].add(epoch, values)
            if entry.saved and epoch not in runs[-1].saved:
                runs[-1].saved.append(epoch)
    if epoch >= 0:
        runs[-1].add(epoch, waiting)
    return [run for run in runs if any(isinstance(meaning, LoggedQuantity) for meaning in run.values)]


def _table_entries(text: str) -> list[LogEntry]:
    """Return the rows of a table with a column "epoch"; [] if the text is none."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or len(lines[0]) > MAX_HEADER:
        return []
    for delimiter in DELIMITERS:
        header = next(csv.reader(lines[:1], delimiter=delimiter), [])
        if len(header) > 1 and "epoch" in [name.strip().lower() for name in header]:
            rows = csv.reader(lines[1:], delimiter=delimiter, quoting=csv.QUOTE_NONE)
            try:
                return [entry for row in rows if (entry := table_entry(_numbers(header, row)))]
            except csv.Error:  # a cell of 100 kB
                return []
    return []


def _numbers(header: Sequence[str], cells: Sequence[str]) -> list[tuple[str, float]]:
    return [(name, number) for name, cell in zip(header, cells, strict=False) if (number := _number(cell)) is not None]


def _printed_table_entries(text: str) -> list[LogEntry]:
    """Return the rows of a table that was printed in columns of spaces or between `|`, as fastai does; [] without one.

    The header begins with "epoch"; the table ends with the first line that has another number of columns.
    """
    entries: list[LogEntry] = []
    header: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip(" |").split("|")] if "|" in line else line.split()
        if len(cells) > 1 and cells[0].lower() == "epoch" and not any(map(_is_number, cells)):
            header = cells
        elif header and len(cells) == len(header) and _is_number(cells[0]):
            entries += [entry] if (entry := table_entry(_numbers(header, cells))) else []
        elif cells and cells[0].strip("-:= "):
            header = []
    return entries


def _is_number(cell: str) -> bool:
    return _number(cell) is not None


def _number(cell: str) -> float | None:
    """Return the number of a cell, without its `%`; None for another text."""
    try:
        return float(cell.strip().strip('"').removesuffix("%"))
    except ValueError:
        return None


def _json_entries(text: str) -> list[LogEntry] | None:
    """Return the objects with an epoch of a text in JSON, or of its lines that are JSON; None if there are none."""
    objects: list[JsonData] = []
    for part in [text] if text.lstrip().startswith("[") else text.splitlines():
        if part.lstrip().startswith(("{", "[")):
            try:
                content = json.loads(part)
            except (ValueError, RecursionError):
                continue
            objects += content if isinstance(content, list) else [content]
    with_epoch = [item for item in objects if isinstance(item, dict) and "epoch" in map(str.lower, item)]
    if not with_epoch:
        return None
    return [entry for item in with_epoch if (entry := table_entry(list(_fields(item))))]


def _fields(item: Mapping[str, JsonData], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of an object with their names, those of objects in it as `train/loss`."""
    for name, value in item.items():
        if isinstance(value, dict):
            yield from _fields(value, f"{prefix}{name}/")
        elif isinstance(value, float) or (isinstance(value, int) and abs(value) <= MAX_EPOCH):
            yield f"{prefix}{name}", float(value)


def _name_train(run: LogRun) -> None:
    """Turn a loss or accuracy without a split into that of train, if the log has it on another split too."""
    for measure in (LOSS, ACCURACY):
        splits = {meaning.split for meaning in run.values if isinstance(meaning, LoggedQuantity)
                  and meaning.measure == measure}  # fmt: skip
        unnamed, named = (LoggedQuantity(measure, split) for split in (UNNAMED, TRAIN))
        if unnamed in run.values and splits - {UNNAMED, TRAIN}:
            run.values.setdefault(named, run.values.pop(unnamed))


def _scale(run: LogRun) -> None:
    """Turn accuracies in per cent into shares."""
    for meaning, by_epoch in run.values.items():
        if isinstance(meaning, LoggedQuantity) and meaning.measure == ACCURACY and meaning not in run.shares:
            finite = [value for value in by_epoch.values() if math.isfinite(value)]
            if max(finite, default=0.0) > MAX_SHARE:
                run.values[meaning] = {epoch: value / 100 for epoch, value in by_epoch.items()}
