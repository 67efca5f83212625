"""What an engine itself costs: seconds for each of 100 empty jobs, workers warm."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from headstart.engines import Engine
from headstart.engines.local import LocalEngine
from headstart.engines.processes import ProcessEngine
from headstart.errors import HeadstartError
from headstart.hardware import devices
from headstart.reporter import NullReporter
from headstart.runs import job_protocol

COUNT = 100


def table() -> list[str]:
    """Rows by engine: seconds for an empty job, and until the first one is answered."""

    def ray() -> Engine:
        from headstart.engines.ray import RayEngine

        return RayEngine("", NullReporter())

    made: dict[str, Callable[[], Engine]] = {
        "local": lambda: LocalEngine(NullReporter()),
        "processes": lambda: ProcessEngine(devices.usable_cores(), NullReporter()),
        "ray": ray,
    }
    rows = [f"{'engine':<10}{'s / empty job':>16}{'first answer s':>18}"]
    for name, make in made.items():
        try:
            each, first = seconds(make)
        except HeadstartError as error:
            rows.append(f"{name:<10}{error.message}")
        else:
            rows.append(f"{name:<10}{each:>16.4f}{first:>18.2f}")
    return rows


def seconds(make: Callable[[], Engine]) -> tuple[float, float]:
    """Of one of `COUNT` empty jobs, and from nothing to the first answer."""
    with tempfile.TemporaryDirectory() as parent:
        empty = job_protocol.text(Path(parent), [])
        begin = time.perf_counter()
        engine = make()
        try:
            list(engine.run([empty]))
            first = time.perf_counter() - begin
            list(engine.run([empty] * 4 * devices.usable_cores()))  # every worker has been asked once
            begin = time.perf_counter()
            assert len(list(engine.run([empty] * COUNT))) == COUNT
            return (time.perf_counter() - begin) / COUNT, first
        finally:
            engine.close()
