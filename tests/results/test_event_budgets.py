"""Values of event files that declare more than they have are left out, and the others are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_STRING

from headstart.results.event_values import read_event_values
from headstart.telemetry.event_file import EventFile


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
