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
from headstart.report.logged_run import ACCURACY, LOSS, MAX_SHARE, SPLIT_WORDS, TRAIN, UNNAMED, LoggedQuantity
from headstart.results.log_lines import read_lines_of_text, text_lines
from headstart.results.log_values import LogEntry, LogValue, table_entry
from headstart.results.tag_rules import Rate
from headstart.storage.files import JsonData

MAX_BYTES = 100_000_000
DELIMITERS = ",;\t"


@dataclass
class LogRun:
    """The values of one training in a log.

    Args:
        values: Value of each epoch, by quantity or learning rate; accuracies as shares of 1. They may be infinite or
            NaN.
        saved: Epochs in which a model was saved.
        names: Words of the log that each was read from.
        shares: Those that the log gives with a per cent sign or as a fraction.
    """

    values: dict[LoggedQuantity | Rate, dict[int, float]] = field(default_factory=dict)
    saved: list[int] = field(default_factory=list)
    names: dict[LoggedQuantity | Rate, str] = field(default_factory=dict)
    shares: set[LoggedQuantity | Rate] = field(default_factory=set)

    def add(self, epoch: int, values: Sequence[LogValue]) -> None:
        """Add values of an epoch; they replace earlier ones."""
        for value in values:
            self.values.setdefault(value.meaning, {})[epoch] = value.number
            self.names.setdefault(value.meaning, value.name)
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
    runs = _runs(_json_entries(text) or _table_entries(text) or list(read_lines_of_text(text_lines(text))))
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


def _runs(entries: Sequence[LogEntry]) -> list[LogRun]:
    """Return the trainings of a log. A learning rate between two trainings is that of the second."""
    runs = [LogRun()]
    epoch: int | None = None
    waiting: list[LogValue] = []  # rates in lines without an epoch
    for entry in entries:
        if entry.epoch is not None:
            restarts = epoch is not None and entry.epoch < epoch
            if restarts:
                runs.append(LogRun())
            runs[-1].add(entry.epoch if restarts or epoch is None else epoch, waiting)
            waiting, epoch = [], entry.epoch
        elif epoch is None or all(isinstance(value.meaning, Rate) for value in entry.values):
            waiting += [value for value in entry.values if isinstance(value.meaning, Rate)]
        if epoch is not None:
            runs[-1].add(epoch, [value for value in entry.values if value not in waiting])
            if entry.saved and epoch not in runs[-1].saved:
                runs[-1].saved.append(epoch)
    if epoch is not None:
        runs[-1].add(epoch, waiting)
    return [run for run in runs if any(isinstance(meaning, LoggedQuantity) for meaning in run.values)]


def _table_entries(text: str) -> list[LogEntry]:
    """Return the rows of a table with a column "epoch"; [] if the text is none."""
    lines = [line for line in text.splitlines() if line.strip()]
    for delimiter in DELIMITERS:
        header = next(csv.reader(lines[:1], delimiter=delimiter), [])
        if len(header) > 1 and "epoch" in [name.strip().lower() for name in header]:
            rows = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)
            fields = [[(str(name), number) for name, cell in row.items() if (number := _number(cell)) is not None]
                      for row in rows]  # fmt: skip
            return [entry for row in fields if (entry := table_entry(row))]
    return []


def _number(cell: object) -> float | None:
    """Return the number of a cell, without its `%`; None for another text."""
    try:
        return float(str(cell).strip().removesuffix("%"))
    except ValueError:
        return None


def _json_entries(text: str) -> list[LogEntry]:
    """Return the objects with an epoch of a text in JSON, or of its lines that are JSON; [] if there are none."""
    objects: list[JsonData] = []
    for part in [text] if text.lstrip().startswith("[") else text.splitlines():
        if part.lstrip().startswith(("{", "[")):
            try:
                content = json.loads(part)
            except ValueError:
                continue
            objects += content if isinstance(content, list) else [content]
    fields = [list(_fields(item)) for item in objects if isinstance(item, dict)]
    return [entry for of_object in fields if (entry := table_entry(of_object))]


def _fields(item: Mapping[str, JsonData], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of an object with their names, those of objects in it as `train/loss`."""
    for name, value in item.items():
        if isinstance(value, dict):
            yield from _fields(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", float(value)


def _name_train(run: LogRun) -> None:
    """Turn a loss or accuracy without a split into that of train, if the log has it on another split too."""
    for measure in (LOSS, ACCURACY):
        splits = {meaning.split for meaning in run.values if isinstance(meaning, LoggedQuantity)
                  and meaning.measure == measure}  # fmt: skip
        unnamed, named = (LoggedQuantity(measure, split) for split in (UNNAMED, TRAIN))
        if unnamed in run.values and splits - {UNNAMED, TRAIN}:
            values, name = run.values.pop(unnamed), run.names.pop(unnamed)
            run.values.setdefault(named, values)
            run.names.setdefault(named, name)


def _scale(run: LogRun) -> None:
    """Turn accuracies in per cent into shares. Those of a run that do not say their unit are in the same one."""
    accuracies = [LoggedQuantity(ACCURACY, split) for split in SPLIT_WORDS]
    accuracies = [meaning for meaning in accuracies if meaning in run.values and meaning not in run.shares]
    finite = [value for meaning in accuracies for value in run.values[meaning].values() if math.isfinite(value)]
    if max(finite, default=0.0) > MAX_SHARE:
        for meaning in accuracies:
            run.values[meaning] = {epoch: value / 100 for epoch, value in run.values[meaning].items()}
