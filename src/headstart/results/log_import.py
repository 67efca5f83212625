"""Turn a training log into runs beside the others: folders with an event file that TensorBoard and the report read."""

from __future__ import annotations

import math
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from headstart.errors import UsageError
from headstart.i18n import Message, _, join, ngettext
from headstart.report.logged_run import LoggedQuantity
from headstart.results.event_runs import SAVED_TAG, meaning_words
from headstart.results.tag_rules import Rate
from headstart.results.training_log import LogRun, read_training_log
from headstart.storage import contained
from headstart.telemetry.event_file import EventFile
from headstart.text import join_list

LOG_COPY = "log.txt"  # copy of the log in the folder of a run


@dataclass(frozen=True)
class ImportedLog:
    """A training of a log as a run: its folder, and a sentence on what was read."""

    folder: Path
    summary: Message


def import_log(file: Path, runs: Path, name: str = "") -> list[ImportedLog]:
    """Write the trainings of a log as runs.

    A folder is named after the time of the log's last change and the name of the file, as `SummaryWriter` names its
    folders. It has a copy of the log and an event file with the tags of headstart's own runs. The log has no times, so
    that all values have the time of its last change.

    Args:
        file: A log that `training_log.read_training_log` reads.
        runs: Folder in which the folders are made.
        name: Name instead of that of the file.

    Raises:
        DataError: The file is no training log.
        UsageError: A folder exists already.
    """
    if name != Path(name).name or name in {".", ".."}:
        raise UsageError(
            _("{name!r} cannot be the name of a folder.", name=name), _("Use a name without slashes, and --runs.")
        )
    trainings = read_training_log(file)
    source = file.resolve()  # the user has named it, and it may be a link
    changed = source.stat().st_mtime
    stem = time.strftime("%b%d_%H-%M-%S_", time.localtime(changed)) + (name or file.stem)
    suffixes = [f"-{number}" for number in range(1, len(trainings) + 1)] if len(trainings) > 1 else [""]
    folders = [runs / (stem + suffix) for suffix in suffixes]
    for folder in folders:
        if folder.exists():
            raise UsageError(
                _("{folder} exists already.", folder=folder), _("Delete it to import the log again, or use --name.")
            )
    runs.mkdir(parents=True, exist_ok=True)
    for folder, training in zip(folders, trainings, strict=True):
        temporary = f"{folder.name}.{secrets.token_hex(8)}{contained.temp_suffix()}"
        new = contained.make_folder(runs, temporary, exist_ok=False)
        try:
            contained.copy(source.parent, source.name, new, LOG_COPY)
            _write_events(new / f"events.out.tfevents.{int(changed):010d}.log", training, changed)
            contained.rename(runs, temporary, folder.name)
        except BaseException:
            contained.remove_folder(runs, temporary)
            raise
    return [_imported(folder, training) for folder, training in zip(folders, trainings, strict=True)]


def _imported(folder: Path, training: LogRun) -> ImportedLog:
    epochs = set().union(*training.values.values())
    summary = ngettext(
        "{count} epoch: {quantities}.",
        "{count} epochs: {quantities}.",
        len(epochs),
        quantities=join_list(map(meaning_words, training.values)),
    )
    lost = sum(not math.isfinite(value) for by_epoch in training.values.values() for value in by_epoch.values())
    if lost:
        note = ngettext("{count} value is not finite.", "{count} values are not finite.", lost)
        summary = join([summary, note])
    return ImportedLog(folder, summary)


def _write_events(path: Path, training: LogRun, when: float) -> None:
    with EventFile(path) as file:
        file.write(Event(wall_time=when, file_version="brain.Event:2").SerializeToString())
        for meaning, by_epoch in training.values.items():
            for epoch, value in sorted(by_epoch.items()):
                _write(file, _tag(meaning), epoch, value, when)
        for epoch in training.saved:
            _write(file, SAVED_TAG, epoch, 1.0, when)


def _write(file: EventFile, tag: str, epoch: int, value: float, when: float) -> None:
    summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
    file.write(Event(wall_time=when, step=epoch, summary=summary).SerializeToString())


def _tag(meaning: LoggedQuantity | Rate) -> str:
    """Return the tag of headstart's own runs for a value, such as `accuracy/val`."""
    if isinstance(meaning, LoggedQuantity):
        return f"{meaning.measure}/{meaning.split}" if meaning.split else meaning.measure
    return f"lr/{meaning.part.replace(' ', '_')}" if meaning.part else "lr"
