"""Values of event files that declare more than they have are left out, and the others are read."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_STRING

from headstart.results.event_values import read_event_values
from headstart.telemetry.event_file import MAX_RECORD_BYTES, EventFile, _checksum
from tests.memory import cost
from tests.messages import fields_of


def tensor(plugin: str, sizes: Sequence[int], values: Sequence[float], kind: int = DT_FLOAT) -> Event:
    event = Event(step=1)
    value = event.summary.value.add(tag="bad")
    value.metadata.plugin_data.plugin_name = plugin
    value.tensor.dtype = kind
    value.tensor.float_val.extend(values)
    for size in sizes:
        value.tensor.tensor_shape.dim.add(size=size)
    return event


def hyperparameters() -> Event:
    event = Event(step=1)
    value = event.summary.value.add(tag="bad")
    value.metadata.plugin_data.plugin_name = "hparams"
    value.metadata.plugin_data.content = b"\xff\xff"
    return event


@pytest.mark.parametrize(
    "event",
    [
        tensor("scalars", [500_000_000], [1.0]),
        tensor("scalars", [2**40], [1.0]),
        tensor("scalars", [-1], [1.0]),
        tensor("scalars", [2], [1.0, 2.0]),
        tensor("scalars", [], [], DT_STRING),
        tensor("histograms", [100_000_000, 3], [1.0]),
        tensor("histograms", [4], [1.0] * 4),
        hyperparameters(),
    ],
    ids=["large", "huge", "negative", "two numbers", "text", "histogram", "uneven histogram", "hyperparameters"],
)
def test_other_values_are_left_out(event: Event, tmp_path: Path) -> None:
    sound = Event(step=2)
    sound.summary.value.add(tag="sound", simple_value=0.5)
    with EventFile(tmp_path / "events.out.tfevents.1") as file:
        for one in (event, sound, tensor("scalars", [1], [0.25])):
            file.write(one.SerializeToString())
    values = read_event_values(tmp_path / "events.out.tfevents.1")
    assert {tag: [scalar.value for scalar in scalars] for tag, scalars in values.scalars.items()} == {
        "sound": [0.5],
        "bad": [0.25],
    }
    assert not values.histograms and not values.settings


@pytest.mark.parametrize("length", [MAX_RECORD_BYTES, 2**63])
def test_files_with_holes_are_not_read_whole(length: int, tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    sound = Event(step=2)
    sound.summary.value.add(tag="sound", simple_value=0.5)
    with EventFile(path) as file:
        file.write(sound.SerializeToString())
    header = struct.pack("<Q", length)
    with path.open("ab") as opened:
        before = opened.tell()
        opened.write(header + _checksum(header))
        opened.truncate(3_900_000_000)
    values = read_event_values(path)
    assert [scalar.value for scalar in values.scalars["sound"]] == [0.5]
    assert fields_of(values.notes[0])["position"] == before
    used = cost(
        "from headstart.results.event_values import read_event_values", f"read_event_values(Path({str(path)!r}))"
    )
    assert used.error == "-" and used.megabytes < 250
