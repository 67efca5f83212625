"""Overhead of the engines: seconds per empty job, over 100 jobs with warm workers."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from headstart.engines.engine import Engine
from headstart.engines.local import LocalEngine
from headstart.engines.processes import ProcessEngine
from headstart.errors import HeadstartError
from headstart.hardware import cpu
from headstart.reporter import NullReporter
from headstart.runs import job_protocol

JOB_COUNT = 100


def table() -> list[str]:
    """Return one row per engine: seconds per empty job, and seconds until the first answer."""

    def ray() -> Engine:
        from headstart.engines.ray import RayEngine

        return RayEngine("", NullReporter())

    factories: dict[str, Callable[[], Engine]] = {
        "local": lambda: LocalEngine(NullReporter()),
        "processes": lambda: ProcessEngine(cpu.usable_cores(), NullReporter()),
        "ray": ray,
    }
    rows = [f"{'engine':<10}{'s / empty job':>16}{'first answer s':>18}"]
    for name, make in factories.items():
        try:
            each, first = seconds(make)
        except HeadstartError as error:
            rows.append(f"{name:<10}{error.message}")
        else:
            rows.append(f"{name:<10}{each:>16.4f}{first:>18.2f}")
    return rows


def seconds(make: Callable[[], Engine]) -> tuple[float, float]:
    """Return the seconds per empty job, and those from the start of the engine to the first answer."""
    with tempfile.TemporaryDirectory() as parent:
        empty = job_protocol.encode_job(Path(parent), [])
        begin = time.perf_counter()
        engine = make()
        try:
            list(engine.run([empty]))
            first = time.perf_counter() - begin
            list(engine.run([empty] * 4 * cpu.usable_cores()))  # warm up every worker
            begin = time.perf_counter()
            assert len(list(engine.run([empty] * JOB_COUNT))) == JOB_COUNT
            return (time.perf_counter() - begin) / JOB_COUNT, first
        finally:
            engine.close()
