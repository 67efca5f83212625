"""Find the TensorBoard event files that other programs wrote in a folder, and read them as runs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from tensorboard.compat.proto.summary_pb2 import Summary

from headstart.errors import UsageError
from headstart.i18n import Message, _, verbatim
from headstart.report.histograms import KIND_WORDS, Kind
from headstart.report.logged_run import ACCURACY, MAX_SHARE, UNNAMED, LoggedQuantity, LoggedRun, Point, curve_words
from headstart.results.event_folders import find_event_files
from headstart.results.event_values import EventValues, Scalar, drawn_histograms, read_event_values
from headstart.results.registry import SPLITS
from headstart.results.tag_rules import Layer, Rate, match_curve, match_layer
from headstart.storage.schemas.metrics import SnapshotLine
from headstart.text import join_first, replacement_hint

MAX_NOTED_TAGS, MAX_LISTED_TAGS = 4, 20
SAVED_TAG = "model saved"  # scalar that is logged when a model was saved
DEFAULT_NAME = re.compile(
    r"(?P<month>[A-Z][a-z]{2})(?P<day>\d\d)_(?P<hour>\d\d)-(?P<minute>\d\d)-(?P<second>\d\d)_(?P<host>.+)"
)
HPARAMS_NAME = re.compile(r"\d{9,}(\.\d+)?")  # folder that `SummaryWriter.add_hparams` makes


def read_event_runs(folder: Path, rules: Mapping[str, LoggedQuantity | Rate] | None = None) -> list[LoggedRun]:
    """Return the runs in a folder whose event files other programs wrote, by their start.

    A run is a folder with event files. Folders that `SummaryWriter` makes for `add_scalars` and `add_hparams`, and
    those named after a split, as Keras makes them, belong to the run above them. A file whose steps start again is a
    run of its own.

    Args:
        folder: Folder that is searched, with its subfolders. Runs and studies of headstart are left out.
        rules: Meaning of the tags that fit a pattern, before the words of a tag are considered.

    Raises:
        UsageError: No tag fits a pattern.
    """
    series = {place: _series_of(files) for place, files in find_event_files(folder).items()}
    for place in sorted(series, key=lambda path: len(path.parts), reverse=True):
        _join_parent(series, place, folder)
    named = [
        (place, index, values)
        for place, parts in series.items()
        for index, values in enumerate(parts, 1)
        if values.scalars or values.histograms
    ]
    named.sort(key=lambda item: (item[2].started, str(item[0]), item[1]))
    _require_matches(rules or {}, {tag for _place, _index, values in named for tag in values.scalars})
    names = _names([(place, index if len(series[place]) > 1 else 0) for place, index, _values in named], folder)
    return [_run(name, place, values, rules or {}) for name, (place, _index, values) in zip(names, named, strict=True)]


def _require_matches(rules: Mapping[str, LoggedQuantity | Rate], tags: Collection[str]) -> None:
    for pattern in rules:
        if not any(tag == pattern or fnmatchcase(tag, pattern) for tag in tags):
            raise UsageError(
                _("No run has logged scalars under the tag {tag!r}.", tag=pattern),
                replacement_hint(pattern, tags)
                or _("The tags are {tags}.", tags=join_first(sorted(tags), MAX_LISTED_TAGS)),
            )


def _series_of(files: Iterable[Path]) -> list[EventValues]:
    """Return the values of files in one folder; a new series begins where steps start again."""
    series: list[EventValues] = []
    for values in sorted(map(read_event_values, files), key=lambda values: values.started):
        if series and not series[-1].restarts(values):
            series[-1].continue_with(values)
        else:
            series.append(values)
    return series


def _join_parent(series: dict[Path, list[EventValues]], place: Path, folder: Path) -> None:
    """Move the values of a folder that belongs to the run above it into this run, training by training."""
    if place == folder:
        return
    parent, remaining = place.parent, []
    is_split = _is_split_folder(series, place)
    for number, values in enumerate(series[place]):
        prefix = ""
        if is_split:
            prefix = f"{place.name}/"
        elif parent in series and HPARAMS_NAME.fullmatch(place.name) and values.settings:
            values.scalars.clear()  # copies of final values
        elif parent in series and values.scalars and (suffix := _scalars_suffix(place, values)):
            values.scalars = {f"{tag}/{suffix}": scalars for tag, scalars in values.scalars.items()}
        else:
            remaining.append(values)
            continue
        target = series.setdefault(parent, [])
        while len(target) <= number:
            target.append(EventValues())
        target[number].continue_with(values, prefix)
    series[place] = remaining


def _is_split_folder(series: Mapping[Path, Sequence[EventValues]], place: Path) -> bool:
    """Return whether a folder has the values of one split of a run, as Keras writes them.

    Its name is that of a split, its tags name none, and the run has other event files. `runs/test` with the tag
    `val_acc` is a run of its own.
    """
    if place.name.lower() not in SPLITS:
        return False
    beside = [other for other in series if other == place.parent or (other.parent == place.parent and other != place)]
    if not any(other == place.parent or other.name.lower() in SPLITS for other in beside):
        return False
    matches = [match_curve(tag) for values in series[place] for tag in values.scalars]
    meanings = [match.meaning for match in matches if match]
    return all(meaning.split == UNNAMED for meaning in meanings if isinstance(meaning, LoggedQuantity))


def _scalars_suffix(place: Path, values: EventValues) -> str:
    """Return the name of a series of `add_scalars`, whose folder is `TAG_NAME`; "" for another folder."""
    suffixes = {
        place.name.removeprefix(start)
        for tag in values.scalars
        if place.name.startswith(start := tag.replace("/", "_") + "_")
    }
    return suffixes.pop() if len(suffixes) == len(values.scalars) == 1 else ""


def _names(places: Sequence[tuple[Path, int]], folder: Path) -> list[Message]:
    """Return the name of each run: host and time of a folder that `SummaryWriter` named, else the path.

    Seconds, else the path, distinguish equal names.
    """
    names = [_name(place, folder, seconds=False) for place, _number in places]
    with_seconds = [_name(place, folder, seconds=True) for place, _number in places]
    for longer in (with_seconds, [_path_name(place, folder) for place, _number in places]):
        equal = {name for name, of_name in _by_name(names, places).items() if len(of_name) > 1}
        names = [other if name in equal else name for name, other in zip(names, longer, strict=True)]
    return [
        _("{name} ({number})", name=name, number=number) if number else name
        for name, (_place, number) in zip(names, places, strict=True)
    ]


def _by_name(names: Sequence[Message], places: Sequence[tuple[Path, int]]) -> dict[Message, set[Path]]:
    """Return the folders of each name."""
    folders: dict[Message, set[Path]] = {}
    for name, (place, _number) in zip(names, places, strict=True):
        folders.setdefault(name, set()).add(place)
    return folders


def _path_name(place: Path, folder: Path) -> Message:
    return verbatim(place.name if place == folder else place.relative_to(folder).as_posix())


def _name(place: Path, folder: Path, *, seconds: bool) -> Message:
    match = DEFAULT_NAME.fullmatch(place.name)
    if match is None:
        return _path_name(place, folder)
    time = f"{match['hour']}:{match['minute']}" + (f":{match['second']}" if seconds else "")
    return _(
        "{host}, {month} {day:d} {time}", host=match["host"], month=match["month"], day=int(match["day"]), time=time
    )


def _run(name: Message, place: Path, values: EventValues, rules: Mapping[str, LoggedQuantity | Rate]) -> LoggedRun:
    """Return the values of a run by what their tags stand for."""
    tags, notes = _read_tags([tag for tag in values.scalars if tag != SAVED_TAG], rules)
    read = {meaning: values.scalars[tag] for meaning, tag in tags.items()}
    snapshots = _snapshots(values)
    return LoggedRun(
        name,
        place,
        started=values.started,
        curves={meaning: _points(scalars, values.started, _scale(meaning, scalars))
                for meaning, scalars in read.items() if isinstance(meaning, LoggedQuantity)},
        rates={meaning.part: _points(scalars, values.started) for meaning, scalars in read.items()
               if isinstance(meaning, Rate)},
        snapshots=snapshots,
        saved=[scalar.step for scalar in values.scalars.get(SAVED_TAG, [])],
        sources={meaning_words(meaning): tag for meaning, tag in tags.items()} | _histogram_sources(values),
        settings=values.settings,
        other_tags=sorted(set(values.scalars) - set(tags.values()) - {SAVED_TAG}),
        notes=[*values.notes, *(note for tag in tags.values() for note in values.tag_notes.get(tag, [])), *notes],
    )  # fmt: skip


def _read_tags(
    tags: Iterable[str], rules: Mapping[str, LoggedQuantity | Rate]
) -> tuple[dict[LoggedQuantity | Rate, str], list[Message]]:
    """Return the tag that fits each quantity and rate best, and notes on those that several tags fit equally well."""
    fitting: dict[LoggedQuantity | Rate, list[tuple[float, str]]] = {}
    for tag in tags:
        match = match_curve(tag, rules)
        if match is not None:
            fitting.setdefault(match.meaning, []).append((match.further_words, tag))
    read, notes = {}, []
    for meaning, candidates in fitting.items():
        best = min(cost for cost, _tag in candidates)
        equal = [tag for cost, tag in candidates if cost == best]
        if len(equal) == 1 or best <= 0:
            read[meaning] = equal[0]
        if len(equal) > 1:
            words = {"quantity": meaning_words(meaning), "tags": join_first(equal, MAX_NOTED_TAGS)}
            notes.append(
                _("Several tags may be {quantity}: {tags}. Name one with --tag.", **words)
                if best > 0
                else _("Several tags are {quantity}: {tags}. The first one is shown.", **words)
            )
    return read, notes


def _histogram_sources(values: EventValues) -> dict[str, str]:
    """Return the first tag of the histograms of weights and of gradients, with the number of further ones."""
    tags: dict[Kind, list[str]] = {}
    for tag in values.histograms:
        tags.setdefault(match_layer(tag).kind, []).append(tag)
    return {_("histograms of {kind}", kind=KIND_WORDS[kind]): join_first(of_kind, 1) for kind, of_kind in tags.items()}


def meaning_words(meaning: LoggedQuantity | Rate) -> Message:
    """Return the name of what a tag stands for."""
    if isinstance(meaning, LoggedQuantity):
        return curve_words(meaning)
    return _("learning rate of {part}", part=meaning.part) if meaning.part else _("learning rate")


def _scale(meaning: LoggedQuantity, scalars: Sequence[Scalar]) -> float:
    """Return the factor that makes accuracies shares of 1. A run may log them in different units."""
    in_percent = meaning.measure == ACCURACY and max(scalar.value for scalar in scalars) > MAX_SHARE
    return 0.01 if in_percent else 1.0


def _points(scalars: Sequence[Scalar], started: float, factor: float = 1.0) -> list[Point]:
    return [Point(scalar.step, scalar.time - started, factor * scalar.value) for scalar in scalars]


def _snapshots(values: EventValues) -> list[SnapshotLine]:
    """Return the histograms by step; of several tags of a layer, those of the one with the most."""
    by_layer: dict[Layer, list[tuple[int, Summary.Value]]] = {}
    for tag, rows in values.histograms.items():
        layer = match_layer(tag)
        if len(rows) > len(by_layer.get(layer, ())):
            by_layer[layer] = rows
    by_step: dict[int, SnapshotLine] = {}
    for layer, rows in by_layer.items():
        for step, histogram in drawn_histograms(rows):
            empty = SnapshotLine(step=step, epoch=0, weights={}, gradients={}, gradient_norm={}, update_ratio={})
            line = by_step.setdefault(step, empty)
            (line.weights if layer.kind == "weights" else line.gradients)[layer.name] = histogram
    return [by_step[step] for step in sorted(by_step)]
